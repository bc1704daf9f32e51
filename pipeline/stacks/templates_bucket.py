"""Templates that are too large to be sent: a bucket of the account from which CloudFormation reads them.

One bucket serves all environments of an account and region. It is made when a template first needs it, and what is in
it expires by itself: CloudFormation reads a template once, when a change set is made. Why a bucket, and why so:
docs/decisions/large-templates.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core import interruption
from pipeline.core.errors import StackError
from pipeline.core.events import Note, Report, ignore
from pipeline.oci.values import Digest

# A change set is made within the same minute; this leaves time to look at what was sent.
EXPIRES_DAYS = 7
# Another run may be making the bucket at the same moment; S3 takes some seconds to agree with itself.
_ATTEMPTS = 6
_UNDER_WAY = frozenset({"NoSuchBucket", "OperationAborted"})


# The name of the bucket begins with this; account and region follow.
TEMPLATES_BUCKET = "transaction-pipeline-templates"


@dataclass(frozen=True, slots=True)
class TemplatesBucket:
    """The bucket's name, and the account and partition to which it must belong."""

    name: str
    account: str
    partition: str

    @property
    def policy(self) -> str:
        """TLS only, for everybody. Who may read and write is up to the account's own roles."""
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
    """The bucket of the caller's account and region, whether it is there or not; one call."""
    caller = clients("sts").get_caller_identity()
    account, region = caller["Account"], clients("s3").meta.region_name
    partition = caller["Arn"].split(":")[1]
    return TemplatesBucket(f"{TEMPLATES_BUCKET}-{account}-{region}", account, partition)


def find_bucket(clients: Callable[[str], Any]) -> str | None:
    """The bucket's name when it is there and the caller may see it."""
    bucket = templates_bucket(clients)
    try:
        clients("s3").head_bucket(Bucket=bucket.name, ExpectedBucketOwner=bucket.account)
    except ClientError:
        return None  # told of for information only
    return bucket.name


def upload_template(clients: Callable[[str], Any], template_body: str, report: Report = ignore) -> str:
    """Put a template where CloudFormation can read it, and give its ``TemplateURL``; makes the bucket when needed.

    clients  gives the client of a service, such as ``Target.client``

    The object is named by its content, so equal templates are one and a run that is repeated changes nothing. It is
    sent each time all the same, which costs one call and begins its time anew. Raises StackError when a bucket of that
    name is somebody else's or closed to the caller.
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
    # By path, as on a loopback address, where a bucket cannot be part of the host's name.
    return f"{s3.meta.endpoint_url}/{bucket.name}/{key}"


def _ensure(s3: Any, bucket: TemplatesBucket, report: Report) -> None:
    """Make the bucket unless it is there; finish one whose making was interrupted."""
    for attempt in range(_ATTEMPTS):
        try:
            if _is_whole(s3, bucket):
                return
            _make(s3, bucket)
            report(Note(f"made the bucket {bucket.name} for templates that CloudFormation takes only from there"))
            return
        except ClientError as problem:
            if _code(problem) not in _UNDER_WAY or attempt == _ATTEMPTS - 1:
                raise
            interruption.sleep(0.5 * 2**attempt)


def _is_whole(s3: Any, bucket: TemplatesBucket) -> bool:
    """Whether the bucket is there with all its settings: the lifecycle rule is the last of them."""
    try:
        s3.get_bucket_lifecycle_configuration(Bucket=bucket.name, ExpectedBucketOwner=bucket.account)
    except ClientError as problem:
        if _code(problem) in ("NoSuchBucket", "NoSuchLifecycleConfiguration"):
            return False
        if _code(problem) == "AccessDenied":
            # S3 says the same of a bucket that belongs to another account (S3 user guide, "bucket owner condition").
            why = f"{problem}: it belongs to another account, or the caller may not use it"
            raise _unusable(bucket, why) from problem
        raise
    return True


def _make(s3: Any, bucket: TemplatesBucket) -> None:
    """The bucket and then its settings, each of which may be there already; the lifecycle rule last."""
    region = s3.meta.region_name
    # The API's oldest region is the default and has no name as a constraint (API_CreateBucket).
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=bucket.name, ObjectOwnership="BucketOwnerEnforced", **place)
    except ClientError as problem:
        if _code(problem) == "BucketAlreadyExists":
            raise _unusable(bucket, "another account has a bucket of that name") from problem
        if _code(problem) != "BucketAlreadyOwnedByYou":
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
        f"the template was not put into the bucket {bucket.name}",
        why,
        "Give the caller the permissions of docs/decisions/large-templates.md. If the bucket is not yours, deploy what"
        " `synth --out DIR` writes through one that is: aws cloudformation deploy --s3-bucket YOURS",
    )


def _code(problem: ClientError) -> str:
    return str(problem.response.get("Error", {}).get("Code", ""))
