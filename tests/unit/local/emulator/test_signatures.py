"""What botocore's clients sign is verified as they send it, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

from pipeline.local.emulator.signatures import SKEW, Claim, Refused, Request, read_claim, verify

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
Call = Callable[[Any], object]


def sent(service: str, call: Call, token: str | None = None) -> Request:
    """A call as botocore sends it."""
    client = boto3.client(
        service, endpoint_url="http://127.0.0.1:4566", region_name="eu-west-1", aws_access_key_id=KEY,
        aws_secret_access_key=SECRET, aws_session_token=token, config=Config(inject_host_prefix=False),
    )  # fmt: skip
    requests: list[AWSPreparedRequest] = []

    def keep(request: AWSPreparedRequest, **_more: Any) -> AWSResponse:
        requests.append(request)
        raise InterruptedError

    client.meta.events.register("before-send", keep)
    with pytest.raises(InterruptedError):
        call(client)
    return arrived(requests[0])


def arrived(request: AWSPreparedRequest) -> Request:
    parts = urlsplit(request.url)
    headers = [
        (name.lower(), value if isinstance(value, str) else value.decode()) for name, value in request.headers.items()
    ]
    if not any(name == "host" for name, _ in headers):
        headers.append(("host", parts.netloc))
    body = request.body or b""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else body.read()
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return Request(request.method, target, headers, content)


CALLS: dict[str, tuple[str, Call]] = {
    "json": ("dynamodb", lambda client: client.get_item(TableName="t", Key={"id": {"S": "é"}})),
    "query": ("iam", lambda client: client.create_user(UserName="a+b c/d")),
    "ec2": ("ec2", lambda client: client.describe_vpcs(VpcIds=["vpc-1"])),
    "rest": ("lambda", lambda client: client.get_function(FunctionName="arn:aws:lambda:eu-west-1:1:function:f:live")),
    "rest with a query": ("lambda", lambda client: client.invoke(FunctionName="f", Qualifier="$LATEST", Payload=b"{}")),
    "s3 get": ("s3", lambda client: client.get_object(Bucket="bucket", Key="a b/ü+~.json", VersionId="x=y")),
    "s3 put": ("s3", lambda client: client.put_object(Bucket="bucket", Key="k", Body=b"content")),
    "cbor": ("cloudwatch", lambda client: client.list_metrics(Namespace="n")),
}


def check(request: Request, secret: str = SECRET, now: datetime | None = None) -> Claim:
    claim = read_claim(request)
    verify(request, claim, secret, now or datetime.now(UTC))
    return claim


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("token", [None, "a session/token="])
def test_what_botocore_signs_is_verified(name: str, token: str | None) -> None:
    request = sent(*CALLS[name], token=token)
    claim = check(request)
    assert (claim.access_key, claim.region, claim.token) == (KEY, "eu-west-1", token or "")


def without(request: Request, name: str) -> Request:
    return replace(request, headers=[each for each in request.headers if each[0] != name])


def with_header(request: Request, name: str, value: str) -> Request:
    return replace(request, headers=[*without(request, name).headers, (name, value)])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "change",
    [
        lambda request: replace(request, method="DELETE"),
        lambda request: replace(request, target=request.target + "x"),
        lambda request: replace(request, target=request.target + ("&" if "?" in request.target else "?") + "more=1"),
        lambda request: replace(request, body=request.body + b" "),
        lambda request: with_header(request, "host", "evil.example:4566"),
        lambda request: with_header(request, "x-amz-date", "20260101T000000Z"),
        lambda request: with_header(request, "x-amz-security-token", "another"),
    ],
    ids=["method", "path", "query", "body", "host", "date", "token"],
)
def test_what_was_changed_on_its_way_is_refused(name: str, change: Callable[[Request], Request]) -> None:
    request = sent(*CALLS[name], token="token")
    check(request)
    with pytest.raises(Refused):
        check(change(request))


def test_another_secret_and_another_key_are_refused() -> None:
    request = sent(*CALLS["json"])
    with pytest.raises(Refused, match="does not match"):
        check(request, "another secret")
    assert read_claim(with_header(request, "authorization", request.header("authorization").replace(KEY, "AKIAOTHER")))


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic QVdTOng=", "AWS AKIA:signature", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/d",
     "AWS4-HMAC-SHA256 Credential=a/20260101/r/s/aws4_request, SignedHeaders=host, Signature=",
     "AWS4-HMAC-SHA256 Credential=a/20260101/r/s/aws4_request, SignedHeaders=x-amz-date, Signature=00",
     "AWS4-ECDSA-P256-SHA256 Credential=a/20260101/s/aws4_request, SignedHeaders=host, Signature=00"],
)  # fmt: skip
def test_what_is_no_signature_of_version_4_is_refused(authorization: str) -> None:
    headers = [("host", "127.0.0.1"), ("authorization", authorization), ("x-amz-date", "20260101T000000Z")]
    with pytest.raises(Refused):
        read_claim(Request("GET", "/", headers))


@pytest.mark.parametrize(("offset", "accepted"), [(-SKEW * 0.9, True), (-SKEW * 1.1, False), (SKEW * 1.1, False)])
def test_a_request_is_valid_for_a_quarter_of_an_hour(offset: timedelta, accepted: bool) -> None:
    request, now = sent(*CALLS["json"]), datetime.now(UTC) - offset
    if accepted:
        check(request, now=now)
    else:
        with pytest.raises(Refused) as refused:
            check(request, now=now)
        assert refused.value.code == "RequestTimeTooSkewed"


def presigned(service: str, seconds: int) -> Request:
    if service == "s3":
        client = boto3.client(
            "s3", endpoint_url="http://127.0.0.1:4566", region_name="eu-west-1", aws_access_key_id=KEY,
            aws_secret_access_key=SECRET, config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )  # fmt: skip
        url = client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k 1"}, ExpiresIn=seconds)
        return arrived(AWSRequest("GET", url).prepare())
    request = AWSRequest("GET", "http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15")
    SigV4QueryAuth(Credentials(KEY, SECRET), "sts", "eu-west-1", expires=seconds).add_auth(request)
    return arrived(request.prepare())


@pytest.mark.parametrize("service", ["s3", "sts"])
def test_a_presigned_url_is_valid_until_it_expires(service: str) -> None:
    request, now = presigned(service, 3600), datetime.now(UTC)
    check(request, now=now + timedelta(minutes=59))
    for later, change in (
        (timedelta(minutes=61), request),
        (timedelta(), replace(request, target=request.target.replace("Expires=3600", "Expires=7200"))),
        (timedelta(), replace(request, target=request.target + "&more=1")),
        (timedelta(), with_header(request, "host", "evil.example")),
    ):
        with pytest.raises(Refused):
            check(change, now=now + later)
    with pytest.raises(Refused, match="expired"):
        check(presigned(service, 8 * 24 * 3600))
