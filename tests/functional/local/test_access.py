"""The embedded AWS answers signed requests of the identities that it issued keys to, and nothing else."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pipeline.local.emulator.admission import TOKEN_HEADER
from pipeline.local.host.control import local_session
from pipeline.local.processes import descendants
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Registry, digest, make_role

SCAN = {"X-Amz-Target": "DynamoDB_20120810.Scan", "Content-Type": "application/x-amz-json-1.0"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CREATE_USER = b"Action=CreateUser&Version=2010-05-08&UserName=intruder"
CREATE_FUNCTION = json.dumps(
    {"FunctionName": "intruder", "Runtime": "python3.13", "Handler": "i.h", "Code": {"ZipFile": ""}, "Role": "r"}
).encode()
MANIFEST = b'{"schemaVersion": 2}'
# What the attacks of a web page or of another user look like: method, path, headers, body.
ATTACKS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "scan the table": ("POST", "/", SCAN, b'{"TableName": "transaction-state-dev"}'),
    "create an IAM user": ("POST", "/", FORM, CREATE_USER),
    "create an IAM user by a link": ("GET", f"/?{CREATE_USER.decode()}", {}, b""),
    "create a function": ("POST", "/2015-03-31/functions", {"Content-Type": "application/json"}, CREATE_FUNCTION),
    "push a blob": ("POST", "/v2/intruder/blobs/uploads/", {}, b""),
    "push a manifest": ("PUT", "/v2/intruder/manifests/latest", {}, MANIFEST),
    "pull a manifest": ("GET", "/v2/function/manifests/latest", {}, b""),
    "list repositories": ("GET", "/v2/_catalog", {}, b""),
    "reset": ("POST", "/_ministack/reset", {}, b""),
    "read parked messages": ("GET", "/_ministack/sqs/messages", {}, b""),
    "change the configuration": ("POST", "/_ministack/config", {}, b'{"stepfunctions._SFN_WAIT_SCALE": "0"}'),
    "read a function's code": ("GET", "/_ministack/lambda-code/function", {}, b""),
    "submit to an API": (
        "POST",
        "/_aws/execute-api/12345678/transactions",
        {"Content-Type": "application/json"},
        b"{}",
    ),
    "list APIs": ("GET", "/v2/apis", {}, b""),
    "change an authorizer": ("PATCH", "/v2/apis/12345678/authorizers/12345678", {}, b"{}"),
    "pull from a repository called apis": ("GET", "/v2/apis/manifests/latest", {}, b""),
    "answer for a custom resource": ("PUT", "/_ministack/cfn-response/guessed", {}, b'{"Status": "SUCCESS"}'),
    "look at the health": ("GET", "/_localstack/health", {}, b""),
    "list buckets": ("GET", "/", {}, b""),
    "preflight": ("OPTIONS", "/", {"Access-Control-Request-Method": "POST"}, b""),
}
# Keys that ministack itself takes for the root without looking at the signature.
WEAK_KEYS = ["test", "", "000000000000", "AKIAIOSFODNN7EXAMPLE"]


def ask(
    aws: EmbeddedAws, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    host, _, port = aws.registry_host.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def signed(aws: EmbeddedAws, headers: Mapping[str, str], body: bytes, host: str = "") -> dict[str, str]:
    """The headers of a POST to DynamoDB that the root signs, for ``host``."""
    host = host or aws.registry_host
    request = AWSRequest("POST", f"http://{host}/", data=body, headers={**headers, "Host": host})
    SigV4Auth(Credentials(aws.access_key_id, aws.secret_access_key), "dynamodb", aws.region).add_auth(request)
    return dict(request.headers)


def refused(answer: tuple[int, dict[str, str], bytes]) -> bool:
    status, headers, _ = answer
    assert not [name for name in headers if name.startswith("access-control-")]
    return status in (400, 401, 403)


@pytest.fixture(scope="module", autouse=True)
def untouched(embedded_aws: EmbeddedAws) -> Any:
    """Whatever the attacks were answered, nothing came of them."""
    yield
    assert "intruder" not in {user["UserName"] for user in embedded_aws.client("iam").list_users()["Users"]}
    assert "intruder" not in {
        each["FunctionName"] for each in embedded_aws.client("lambda").list_functions()["Functions"]
    }
    assert embedded_aws.client("ecr").describe_repositories() is not None


@pytest.mark.parametrize("name", ATTACKS)
def test_a_request_without_credentials_is_refused(embedded_aws: EmbeddedAws, name: str) -> None:
    assert refused(ask(embedded_aws, *ATTACKS[name]))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("key", WEAK_KEYS)
def test_a_key_that_was_not_issued_is_refused(embedded_aws: EmbeddedAws, name: str, key: str) -> None:
    method, path, headers, body = ATTACKS[name]
    request = AWSRequest(method, f"{embedded_aws.endpoint}{path}", data=body, headers=headers)
    SigV4Auth(Credentials(key, "test"), "iam", "us-east-1").add_auth(request)
    assert refused(ask(embedded_aws, method, path, dict(request.headers), body))
    basic = {"Authorization": "Basic " + base64.b64encode(b"AWS:ministack-auth-token").decode()}
    assert refused(ask(embedded_aws, method, path, headers | basic, body))


@pytest.mark.parametrize("key", WEAK_KEYS)
def test_a_client_learns_that_its_key_is_not_known(embedded_aws: EmbeddedAws, key: str) -> None:
    for service, call in (
        ("dynamodb", "list_tables"), ("iam", "list_users"), ("s3", "list_buckets"), ("ec2", "describe_vpcs"),
        ("lambda", "list_functions"), ("sqs", "list_queues"), ("cloudwatch", "list_metrics"),
    ):  # fmt: skip
        stranger = embedded_aws.client(service, aws_access_key_id=key or "x", aws_secret_access_key="test")
        with pytest.raises(ClientError) as error:
            getattr(stranger, call)()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 401, 403)


def test_the_root_needs_its_secret(embedded_aws: EmbeddedAws) -> None:
    impostor = embedded_aws.client("dynamodb", aws_secret_access_key="x" * 40)
    with pytest.raises(ClientError, match=r"InvalidSignature|SignatureDoesNotMatch"):
        impostor.list_tables()
    with pytest.raises(ClientError):
        embedded_aws.client("dynamodb", aws_session_token="made up").list_tables()
    with pytest.raises(ClientError):
        embedded_aws.client("s3", config=Config(signature_version=UNSIGNED)).list_buckets()


@pytest.mark.parametrize(
    "header",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:8080"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Mode": "no-cors"}],
    ids=str,
)  # fmt: skip
def test_a_web_page_is_refused_even_with_the_right_signature(embedded_aws: EmbeddedAws, header: dict[str, str]) -> None:
    body = b"{}"
    headers = signed(embedded_aws, SCAN | {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, body)
    assert ask(embedded_aws, "POST", "/", headers, body)[0] == 200
    assert refused(ask(embedded_aws, "POST", "/", headers | header, body))
    health = {TOKEN_HEADER: embedded_aws.token}
    assert ask(embedded_aws, "GET", "/_ministack/health", health)[0] == 200
    assert refused(ask(embedded_aws, "GET", "/_ministack/health", health | header))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "aws", ""])
def test_another_host_name_is_refused_even_with_the_right_signature(embedded_aws: EmbeddedAws, host: str) -> None:
    name = host.format(port=embedded_aws.registry_host.partition(":")[2])
    body = b"{}"
    headers = signed(embedded_aws, SCAN | {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, body, name or "x")
    assert refused(ask(embedded_aws, "POST", "/", headers | {"Host": name}, body))


def test_a_loopback_name_is_as_good_as_its_address(embedded_aws: EmbeddedAws) -> None:
    port = embedded_aws.registry_host.partition(":")[2]
    client = embedded_aws.client("dynamodb", endpoint_url=f"http://localhost:{port}")
    assert "TableNames" in client.list_tables()


def test_a_web_socket_is_closed(embedded_aws: EmbeddedAws) -> None:
    host, _, port = embedded_aws.registry_host.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b" 101 " not in connection.recv(4096)


def test_a_user_and_a_role_are_who_their_keys_say(embedded_aws: EmbeddedAws) -> None:
    iam = embedded_aws.client("iam")
    iam.create_user(UserName="reader")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="reader", PolicyName="own", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    settings = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    assert "Buckets" in embedded_aws.client("s3", **settings).list_buckets()
    with pytest.raises(ClientError, match="AccessDenied"):
        embedded_aws.client("iam", **settings).create_user(UserName="intruder")
    with pytest.raises(ClientError):
        embedded_aws.client("s3", **settings | {"aws_secret_access_key": "x" * 40}).list_buckets()
    iam.update_access_key(UserName="reader", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    with pytest.raises(ClientError):
        embedded_aws.client("s3", **settings).list_buckets()


def test_a_presigned_url_works_until_it_is_changed(embedded_aws: EmbeddedAws) -> None:
    s3 = embedded_aws.client("s3", config=Config(signature_version="s3v4"))
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="a b", Body=b"content")
    url = s3.generate_presigned_url("get_object", {"Bucket": "presigned", "Key": "a b"}, ExpiresIn=60)
    path = url.removeprefix(embedded_aws.endpoint)
    assert ask(embedded_aws, "GET", path)[::2] == (200, b"content")
    assert refused(ask(embedded_aws, "GET", path.replace("Expires=60", "Expires=61")))
    assert refused(ask(embedded_aws, "GET", path, {"Origin": "https://evil.example"}))


def login(aws: EmbeddedAws, **settings: Any) -> dict[str, str]:
    data = aws.client("ecr", **settings).get_authorization_token()["authorizationData"][0]
    assert data["expiresAt"].timestamp() > time.time() + 11 * 3600
    return {"Authorization": f"Basic {data['authorizationToken']}"}


def test_a_registry_asks_for_a_login_as_docker_expects(embedded_aws: EmbeddedAws) -> None:
    status, headers, _ = ask(embedded_aws, "GET", "/v2/")
    assert (status, headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
    own = login(embedded_aws)
    assert ask(embedded_aws, "GET", "/v2/", own)[0] == 200
    another = {"Authorization": "Basic " + base64.b64encode(b"root:" + b"x" * 64).decode()}
    assert ask(embedded_aws, "GET", "/v2/", another)[0] == 401
    assert refused(ask(embedded_aws, "GET", "/v2/", own | {"Origin": "https://evil.example"}))


def test_a_registry_login_has_the_permissions_of_its_caller(embedded_aws: EmbeddedAws) -> None:
    Registry(embedded_aws, b"").repository("shared")
    allowed = [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"},
    ]
    principal = {"AWS": f"arn:aws:iam::{embedded_aws.account}:root"}
    iam = embedded_aws.client("iam")
    role = make_role(embedded_aws, "puller", *allowed)
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:*"}]}
    iam.update_assume_role_policy(RoleName="puller", PolicyDocument=json.dumps(trust))
    session = embedded_aws.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    names = {"AccessKeyId": "aws_access_key_id", "SecretAccessKey": "aws_secret_access_key",
             "SessionToken": "aws_session_token"}  # fmt: skip
    own = login(embedded_aws, **{name: session[each] for each, name in names.items()})
    assert ask(embedded_aws, "GET", f"/v2/shared/manifests/{digest(b'absent')}", own)[0] == 404
    assert ask(embedded_aws, "PUT", "/v2/shared/manifests/latest", own, MANIFEST)[0] == 403
    assert ask(embedded_aws, "POST", "/v2/shared/blobs/uploads/", own)[0] == 403
    assert ask(embedded_aws, "POST", "/v2/shared/blobs/uploads/", login(embedded_aws))[0] == 202


def test_another_account_of_the_machine_has_a_registry_of_its_own(embedded_aws: EmbeddedAws) -> None:
    """Its root signs with the secret of the first root, and no account has access to another's registry."""
    Registry(embedded_aws, b"").repository("kept-apart")
    other = {"aws_access_key_id": "333333333333"}
    assert embedded_aws.client("sts", **other).get_caller_identity()["Account"] == "333333333333"
    with pytest.raises(ClientError):
        embedded_aws.client("sts", **other, aws_secret_access_key="another").get_caller_identity()
    assert embedded_aws.client("ecr", **other).describe_repositories()["repositories"] == []
    own = login(embedded_aws, **other)
    path = f"/v2/kept-apart/manifests/{digest(b'absent')}"
    here = f"{embedded_aws.account}.dkr.ecr.us-east-1.amazonaws.com"
    for query in ("", f"?ns={here}", "?ns=", f"?ns=&ns={here}", f"?ns={here}.evil.example"):
        assert ask(embedded_aws, "GET", path + query, own)[0] == 403, query
    there = "?ns=333333333333.dkr.ecr.us-east-1.amazonaws.com"
    assert ask(embedded_aws, "GET", path + there, own)[0] == 404
    assert ask(embedded_aws, "GET", path + there, login(embedded_aws))[0] == 403


@pytest.mark.parametrize("path", ["/_ministack/sqs/messages", "/_ministack/health", "/_localstack/health"])
def test_administrative_paths_are_for_the_host_alone(embedded_aws: EmbeddedAws, path: str) -> None:
    assert refused(ask(embedded_aws, "GET", path, {TOKEN_HEADER: "x"}))
    assert refused(ask(embedded_aws, "GET", path, signed(embedded_aws, {}, b"")))
    assert not refused(ask(embedded_aws, "GET", path, {TOKEN_HEADER: embedded_aws.token}))


def test_a_folder_has_one_key_and_each_folder_another(tmp_path: Path) -> None:
    with local_session(tmp_path / "one") as first:
        pass
    with local_session(tmp_path / "one") as again, local_session(tmp_path / "two") as second:
        assert again.access_key_id == first.access_key_id
        assert again.secret_access_key == first.secret_access_key
        assert again.token != first.token
        assert second.secret_access_key != first.secret_access_key
        assert first.secret_access_key not in repr(first)
        replaced = replace(EmbeddedAws.of(second), secret_access_key=first.secret_access_key)
        with pytest.raises(ClientError):
            replaced.client("sts").get_caller_identity()
        sts = boto3.client(
            "sts", endpoint_url=again.endpoint, region_name="us-east-1", aws_access_key_id=again.access_key_id,
            aws_secret_access_key=again.secret_access_key,
        )  # fmt: skip
        assert sts.get_caller_identity()["Account"] == "000000000000"


def test_the_credentials_of_the_shell_reach_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "of-the-user")
    with local_session(tmp_path / "local") as local:
        for pid in (local.pid, *descendants(local.pid)):
            assert b"of-the-user" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_no_other_user_can_enter_the_folder_or_read_its_files(embedded_aws: EmbeddedAws) -> None:
    assert stat.S_IMODE(embedded_aws.folder.stat().st_mode) == 0o700
    for path in embedded_aws.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == ".gitignore", path
    for folder in ("state", "s3", "tmp", "work"):
        for path in (embedded_aws.folder / folder).rglob("*"):
            assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
