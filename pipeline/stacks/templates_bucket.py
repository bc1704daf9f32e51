"""A bucket for templates that are too large for a request.

One bucket serves all environments of an account and region. It is created on first use, and its objects expire, because
CloudFormation reads a template only when a change set is created. See docs/decisions/large-templates.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import StackError
from pipeline.core.events import Note, Report, ignore
from pipeline.oci.values import Digest

# A change set is created within a minute; a week leaves time to inspect the template.
EXPIRES_DAYS = 7
# Another run may be creating the bucket at the same time, and S3 is eventually consistent.
_ATTEMPTS = 6
_UNDER_WAY = frozenset({"NoSuchBucket", "OperationAborted"})
# The prefix of the bucket's name; account and region follow.
TEMPLATES_BUCKET = "transaction-pipeline-templates"


@dataclass(frozen=True, slots=True)
class TemplatesBucket:
    """The name of the bucket, and the account and partition that must own it."""

    name: str
    account: str
    partition: str

    @property
    def policy(self) -> str:
        """Denies access without TLS; the account's roles grant access."""
        arn = f"arn:{self.partition}:s3:::{self.name}"
        statement = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def templates_bucket(clients: Callable[[str], Any]) -> TemplatesBucket:
    """The bucket of the caller's account and region, which may not exist yet. One call."""
    caller = clients("sts").get_caller_identity()
    account, region = caller["Account"], clients("s3").meta.region_name
    partition = caller["Arn"].split(":")[1]
    return TemplatesBucket(f"{TEMPLATES_BUCKET}-{account}-{region}", account, partition)


def find_bucket(clients: Callable[[str], Any]) -> str | None:
    """The name of the bucket; None if it does not exist or the caller may not access it."""
    bucket = templates_bucket(clients)
    try:
        clients("s3").head_bucket(Bucket=bucket.name, ExpectedBucketOwner=bucket.account)
    except ClientError:
        return None  # for information only
    return bucket.name


def upload_template(clients: Callable[[str], Any], template_body: str, report: Report = ignore) -> str:
    """Upload a template and return its ``TemplateURL``. Creates the bucket if needed.

    clients  gives the client of a service, such as ``Target.client``

    The key is the digest of the content, so a repeated upload only renews the expiry. Raises StackError if the bucket
    belongs to another account or the caller may not access it.
    """
    s3, bucket = clients("s3"), templates_bucket(clients)
    _ensure(s3, bucket, report)
    content = template_body.encode()
    key = f"{Digest.of(content).hex}.json"
    s3.put_object(
        Bucket=bucket.name,
        Key=key,
        Body=content,
        ContentType="application/json",
        ExpectedBucketOwner=bucket.account,
    )
    # Path style, because a loopback address cannot have the bucket in its host name.
    return f"{s3.meta.endpoint_url}/{bucket.name}/{key}"


def _ensure(s3: Any, bucket: TemplatesBucket, report: Report) -> None:
    """Create the bucket, or complete its settings if an earlier creation was interrupted."""
    for attempt in range(_ATTEMPTS):
        try:
            if _is_whole(s3, bucket):
                return
            _make(s3, bucket)
            report(Note(f"created the bucket {bucket.name} for templates that are too large for a request"))
            return
        except ClientError as problem:
            if error_code(problem) not in _UNDER_WAY or attempt == _ATTEMPTS - 1:
                raise
            interruption.sleep(0.5 * 2**attempt)


def _is_whole(s3: Any, bucket: TemplatesBucket) -> bool:
    """Whether the bucket exists with all its settings, of which the lifecycle rule is the last."""
    try:
        s3.get_bucket_lifecycle_configuration(Bucket=bucket.name, ExpectedBucketOwner=bucket.account)
    except ClientError as problem:
        if error_code(problem) in ("NoSuchBucket", "NoSuchLifecycleConfiguration"):
            return False
        if error_code(problem) == "AccessDenied":
            # S3 answers the same for a bucket of another account (S3 user guide, "bucket owner condition").
            why = f"{problem}: it belongs to another account, or the caller may not access it"
            raise _unusable(bucket, why) from problem
        raise
    return True


def _make(s3: Any, bucket: TemplatesBucket) -> None:
    """Create the bucket, then its settings, the lifecycle rule last; any of them may exist already."""
    region = s3.meta.region_name
    # us-east-1 is the default and must not be given as a constraint (API_CreateBucket).
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=bucket.name, ObjectOwnership="BucketOwnerEnforced", **place)
    except ClientError as problem:
        if error_code(problem) == "BucketAlreadyExists":
            raise _unusable(bucket, "another account owns a bucket of that name") from problem
        if error_code(problem) != "BucketAlreadyOwnedByYou":
            raise
    own = {"Bucket": bucket.name, "ExpectedBucketOwner": bucket.account}
    s3.put_public_access_block(
        **own,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_encryption(
        **own,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    s3.put_bucket_policy(**own, Policy=bucket.policy)
    s3.put_bucket_lifecycle_configuration(
        **own,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "templates-expire",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "Expiration": {"Days": EXPIRES_DAYS},
                }
            ]
        },
    )


def _unusable(bucket: TemplatesBucket, why: str) -> StackError:
    return StackError(
        f"the template was not uploaded to the bucket {bucket.name}",
        why,
        "Allow the caller the actions in docs/decisions/large-templates.md. If another account owns the bucket, deploy"
        " the output of `synth --out DIR` through a bucket of yours: aws cloudformation deploy --s3-bucket YOURS",
    )
