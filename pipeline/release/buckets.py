"""The buckets of an environment that is deleted: CloudFormation deletes only empty ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.core.events import Report, step
from pipeline.stacks import RetainedResource
from pipeline.stacks.existing import RETAINING

BUCKET = "AWS::S3::Bucket"
EMPTIED = "EmptiedOnDeletion"  # in the metadata of an event's bucket
_AT_ONCE = 1000  # objects of one DeleteObjects (API_DeleteObjects)


def stack_buckets(cloudformation: Any, stack: str, template_body: str) -> tuple[RetainedResource, ...]:
    """The buckets of a stack's events that its template does not retain, by their names in the account."""
    resources = json.loads(template_body).get("Resources", {}) if template_body else {}
    ours = {
        logical_id
        for logical_id, each in resources.items()
        if each.get("Type") == BUCKET
        and each.get("Metadata", {}).get(EMPTIED)
        and each.get("DeletionPolicy") not in RETAINING
    }
    if not ours:
        return ()
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    return tuple(
        RetainedResource(each["LogicalResourceId"], BUCKET, each["PhysicalResourceId"])
        for page in pages
        for each in page["StackResourceSummaries"]
        if each["LogicalResourceId"] in ours and each.get("PhysicalResourceId")
    )


def empty_bucket(clients: Callable[[str], Any], name: str, report: Report) -> None:
    """Delete every version of every object of a bucket; one that is gone is empty."""
    s3 = clients("s3")
    with step(report, "empty", name) as running:
        deleted = 0
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
                found = [
                    {"Key": each["Key"], "VersionId": each["VersionId"]}
                    for kind in ("Versions", "DeleteMarkers")
                    for each in page.get(kind, [])
                ]
                for start in range(0, len(found), _AT_ONCE):
                    s3.delete_objects(Bucket=name, Delete={"Objects": found[start : start + _AT_ONCE], "Quiet": True})
                deleted += len(found)
        except ClientError as problem:
            if error_code(problem) != "NoSuchBucket":
                raise
        running.detail = f"{deleted:,} objects deleted"
