"""The bucket for templates that are too large for a request, against S3's service model.

Each answer is held against botocore's model, and so is each request, with its exact parameters where they matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cfn.render import TEMPLATE_BODY_MAX
from pipeline.core.errors import StackError
from pipeline.core.events import Event, Note
from pipeline.oci.values import Digest
from pipeline.stacks import Create, Upload, WantedStack, apply_stack
from pipeline.stacks.templates_bucket import find_bucket, upload_template

ACCOUNT = "123456789012"
BODY = '{"Resources": {}}'
KEY = f"{Digest.of(BODY.encode()).hex}.json"


class Aws:
    """STS and S3 of one region, with queued responses."""

    def __init__(self, region: str, partition: str) -> None:
        self.region = region
        self.bucket = f"transaction-pipeline-templates-{ACCOUNT}-{region}"
        self.own: dict[str, Any] = {"Bucket": self.bucket, "ExpectedBucketOwner": ACCOUNT}
        self._made: dict[str, Any] = {}
        self._stubbers: dict[str, Stubber] = {}
        for service in ("s3", "sts"):
            client = boto3.client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
            self._made[service] = client
            self._stubbers[service] = Stubber(client)
            self._stubbers[service].activate()
        arn = f"arn:{partition}:sts::{ACCOUNT}:assumed-role/deployer/me"
        self._stubbers["sts"].add_response("get_caller_identity", {"Account": ACCOUNT, "Arn": arn, "UserId": "x"})

    def client(self, service: str) -> Any:
        return self._made[service]

    def takes(self, call: str, answer: dict[str, Any] | None = None, **expected: Any) -> None:
        self._stubbers["s3"].add_response(call, answer or {}, expected)

    def refuses(self, call: str, code: str, **expected: Any) -> None:
        self._stubbers["s3"].add_client_error(call, code, "no", expected_params=expected)

    def takes_settings(self) -> None:
        """Queue all settings of a new bucket, in order; the lifecycle rule comes last and marks it complete."""
        blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self.takes("put_public_access_block", **self.own, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True))
        encrypted = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        self.takes("put_bucket_encryption", **self.own, ServerSideEncryptionConfiguration=encrypted)
        self.takes("put_bucket_policy", **self.own, Policy=ANY)
        self.takes("put_bucket_lifecycle_configuration", **self.own, LifecycleConfiguration=ANY)

    def takes_template(self) -> None:
        self.takes("put_object", **self.own, Key=KEY, Body=BODY.encode(), ContentType="application/json")

    def assert_done(self) -> None:
        for stubber in self._stubbers.values():
            stubber.assert_no_pending_responses()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.core.interruption.sleep", lambda _seconds: None)


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws("eu-central-1", "aws")
    yield aws
    aws.assert_done()


WHOLE = {
    "Rules": [{"ID": "templates-expire", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}}]
}


def test_an_existing_bucket_costs_one_call(aws: Aws) -> None:
    aws.takes("get_bucket_lifecycle_configuration", WHOLE, **aws.own)
    aws.takes_template()
    url = upload_template(aws.client, BODY)
    assert url == f"https://s3.eu-central-1.amazonaws.com/{aws.bucket}/{KEY}"


@pytest.mark.parametrize(
    ("region", "partition", "place"),
    [
        ("us-east-1", "aws", {}),
        ("eu-central-1", "aws", {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}),
        ("cn-north-1", "aws-cn", {"CreateBucketConfiguration": {"LocationConstraint": "cn-north-1"}}),
    ],
)
def test_the_bucket_is_created_on_first_use(region: str, partition: str, place: dict[str, Any]) -> None:
    aws, events = Aws(region, partition), list[Event]()
    aws.refuses("get_bucket_lifecycle_configuration", "NoSuchBucket", **aws.own)
    aws.takes("create_bucket", Bucket=aws.bucket, ObjectOwnership="BucketOwnerEnforced", **place)
    policies: list[dict[str, Any]] = []
    aws.client("s3").meta.events.register(
        "provide-client-params.s3.PutBucketPolicy", lambda params, **_: policies.append(json.loads(params["Policy"]))
    )
    aws.takes_settings()
    aws.takes_template()
    upload_template(aws.client, BODY, events.append)
    aws.assert_done()
    assert [event.text for event in events if isinstance(event, Note)] == [
        f"created the bucket {aws.bucket} for templates that are too large for a request"
    ]
    ((statement,),) = (policy["Statement"] for policy in policies)
    assert statement["Effect"] == "Deny"
    assert statement["Resource"] == [f"arn:{partition}:s3:::{aws.bucket}", f"arn:{partition}:s3:::{aws.bucket}/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(aws.bucket) <= 63


def test_an_interrupted_creation_is_completed(aws: Aws) -> None:
    aws.refuses("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", **aws.own)
    aws.refuses(
        "create_bucket", "BucketAlreadyOwnedByYou", Bucket=aws.bucket, ObjectOwnership="BucketOwnerEnforced",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )  # fmt: skip
    aws.takes_settings()
    aws.takes_template()
    upload_template(aws.client, BODY)


@pytest.mark.parametrize("code", ["OperationAborted", "NoSuchBucket"])
def test_concurrent_creations_both_succeed(aws: Aws, code: str) -> None:
    place = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    aws.refuses("get_bucket_lifecycle_configuration", "NoSuchBucket", **aws.own)
    aws.refuses("create_bucket", code, Bucket=aws.bucket, ObjectOwnership="BucketOwnerEnforced", **place)
    aws.takes("get_bucket_lifecycle_configuration", WHOLE, **aws.own)
    aws.takes_template()
    upload_template(aws.client, BODY)


def test_a_bucket_of_another_account_is_not_used(aws: Aws) -> None:
    aws.refuses("get_bucket_lifecycle_configuration", "AccessDenied", **aws.own)
    with pytest.raises(StackError, match="belongs to another account, or the caller may not access it"):
        upload_template(aws.client, BODY)


def test_a_bucket_name_taken_by_another_account_is_refused(aws: Aws) -> None:
    place = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    aws.refuses("get_bucket_lifecycle_configuration", "NoSuchBucket", **aws.own)
    aws.refuses("create_bucket", "BucketAlreadyExists", Bucket=aws.bucket, ObjectOwnership=ANY, **place)
    with pytest.raises(StackError, match=r"another account owns a bucket of that name.*synth.*--s3-bucket"):
        upload_template(aws.client, BODY)


@pytest.mark.parametrize("found", [True, False])
def test_only_an_existing_bucket_is_found(aws: Aws, found: bool) -> None:
    if found:
        aws.takes("head_bucket", **aws.own)
    else:
        aws.refuses("head_bucket", "404", **aws.own)
    assert find_bucket(aws.client) == (aws.bucket if found else None)


def sent(body: str, upload: Upload | None) -> dict[str, Any]:
    """The request for a change set, which the service refuses."""
    cfn = boto3.client("cloudformation", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    requests: list[dict[str, Any]] = []
    cfn.meta.events.register(
        "provide-client-params.cloudformation.CreateChangeSet", lambda params, **_: requests.append(dict(params))
    )
    with Stubber(cfn) as stubber:
        stubber.add_client_error("create_change_set", "LimitExceededException", "enough")
        with pytest.raises(cfn.exceptions.LimitExceededException):
            apply_stack(cfn, Create(WantedStack("pipeline-dev", body)), upload=upload)
    return requests[0]


def of_size(size: int) -> str:
    """A template of ``size`` bytes with a two-byte character."""
    empty = json.dumps({"Description": "é", "Resources": {}}, ensure_ascii=False)
    return empty.replace("é", "é" + "x" * (size - len(empty.encode())))


@pytest.mark.parametrize("upload", [None, lambda body: f"https://there/{len(body)}"])
def test_a_template_that_fits_is_sent(upload: Upload | None) -> None:
    body = of_size(TEMPLATE_BODY_MAX)
    request = sent(body, upload)
    assert request["TemplateBody"] == body
    assert "TemplateURL" not in request


def test_a_larger_template_is_uploaded() -> None:
    body = of_size(TEMPLATE_BODY_MAX + 1)
    request = sent(body, lambda given: f"https://there/{len(given)}")
    assert request["TemplateURL"] == f"https://there/{len(body)}"
    assert "TemplateBody" not in request


def test_a_larger_template_without_a_bucket_is_an_error() -> None:
    cfn = boto3.client("cloudformation", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(cfn), pytest.raises(StackError, match=r"51,201 bytes, a request holds 51,200"):
        apply_stack(cfn, Create(WantedStack("pipeline-dev", of_size(TEMPLATE_BODY_MAX + 1))))
