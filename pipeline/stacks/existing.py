"""Find resources that a deleted stack left behind, so that a new stack can import them.

A retained table, queue, repository or log group keeps its name, so a stack that creates it again fails. They are
imported by an explicit IMPORT change set with their identifiers. ImportExistingResources would adopt by name only those
whose identifier is not read-only, and a queue's is its URL (API_CreateChangeSet; resource schemas, primaryIdentifier).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.stacks.plan import ExistingResource

_AT_ONCE = 8
RETAINING = ("Retain", "RetainExceptOnCreate")


@dataclass(frozen=True, slots=True)
class RetainedResource:
    """A resource with a fixed name that may outlive its stack."""

    logical_id: str
    resource_type: str
    name: str


def retained_resources(template_body: str) -> tuple[RetainedResource, ...]:
    """The resources of a template that outlive its stack by their ``DeletionPolicy``. Pure."""
    return tuple(each for each, policy in _named_resources(template_body) if policy in RETAINING)


def data_resources(template_body: str) -> tuple[RetainedResource, ...]:
    """The tables, queues, repositories and log groups of a template, which hold data and can be imported. Pure."""
    return tuple(each for each, _ in _named_resources(template_body))


def find_existing(clients: Callable[[str], Any], template_body: str) -> tuple[ExistingResource, ...]:
    """The ``data_resources`` whose names exist, for ``WantedStack.existing``.

    clients  gives the boto3 client of a service, such as ``Target.client``

    Only useful if there is no stack; the names of a deployed stack's own resources exist too.
    """
    named = [each for each, _ in _named_resources(template_body)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda each: find_identifier(clients, each.resource_type, each.name), named)
        return tuple(
            ExistingResource(each.logical_id, each.resource_type, identifier)
            for each, identifier in zip(named, found, strict=True)
            if identifier is not None
        )


def find_identifier(clients: Callable[[str], Any], resource_type: str, name: str) -> Mapping[str, str] | None:
    """The identifier of the table, queue, repository or log group with this name; None if there is none."""
    return _LOOKUPS[resource_type].identifier(clients, name)


def import_template(template_body: str, existing: Collection[ExistingResource]) -> str:
    """A template with nothing but the existing resources and their literal properties, for an IMPORT change set. Pure.

    An import creates nothing, so its template has no resource that is not imported, and no output; it does not change
    what it imports, so properties that refer to other resources may wait for the update that follows. Until that update
    nothing that is imported is deleted with the stack (CloudFormation user guide, Import AWS resources).
    """
    resources = json.loads(template_body).get("Resources", {})
    reduced = {
        each.logical_id: {
            "Type": each.resource_type,
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                name: value
                for name, value in resources[each.logical_id].get("Properties", {}).items()
                if _is_literal(value)
            },
        }
        for each in existing
    }
    return json.dumps({"Resources": reduced}, sort_keys=True, separators=(",", ":"))


def _is_literal(value: Any) -> bool:
    """Whether a property's value is free of intrinsic functions."""
    match value:
        case dict():
            return not any(key == "Ref" or key.startswith("Fn::") for key in value) and all(
                map(_is_literal, value.values())
            )
        case list():
            return all(map(_is_literal, value))
    return True


def with_retained(template_body: str, logical_ids: Collection[str]) -> str:
    """The template with a retaining ``DeletionPolicy`` on these resources; unchanged if they have one. Pure.

    CloudFormation keeps only such resources when it deletes a stack.
    """
    template = json.loads(template_body)
    resources = template.get("Resources", {})
    lacking = [
        logical_id
        for logical_id in logical_ids
        if logical_id in resources and resources[logical_id].get("DeletionPolicy") not in RETAINING
    ]
    if not lacking:
        return template_body
    for logical_id in lacking:
        resource = resources[logical_id]
        resource["DeletionPolicy"] = "Retain"
        # A changed policy alone may not count as a change (AWS documentation, DeletionPolicy); metadata does.
        resource["Metadata"] = {**resource.get("Metadata", {}), "KeptOnDeletion": True}
    return json.dumps(template, sort_keys=True, separators=(",", ":"))


def _named_resources(template_body: str) -> Iterator[tuple[RetainedResource, str]]:
    """(resource, deletion policy) of each importable resource with a fixed name."""
    resources: Mapping[str, Any] = json.loads(template_body).get("Resources", {})
    for logical_id, each in resources.items():
        lookup = _LOOKUPS.get(each.get("Type"))
        if lookup and isinstance(name := each.get("Properties", {}).get(lookup.name), str):
            yield RetainedResource(logical_id, each["Type"], name), each.get("DeletionPolicy", "Delete")


@dataclass(frozen=True, slots=True)
class _Lookup:
    """How to look up a type.

    name        the property that holds the name
    identifier  finds the primary identifier by the name
    """

    name: str
    identifier: Callable[[Callable[[str], Any], str], Mapping[str, str] | None]


def call_succeeds(call: Callable[[], Any], *absent: str) -> bool:
    """Whether ``call`` succeeds; False for an error code in ``absent``."""
    try:
        call()
    except ClientError as problem:
        if error_code(problem) in absent:
            return False
        raise
    return True


def _table(clients: Callable[[str], Any], name: str) -> Mapping[str, str] | None:
    found = call_succeeds(lambda: clients("dynamodb").describe_table(TableName=name), "ResourceNotFoundException")
    return {"TableName": name} if found else None


def _repository(clients: Callable[[str], Any], name: str) -> Mapping[str, str] | None:
    ecr = clients("ecr")
    found = call_succeeds(lambda: ecr.describe_repositories(repositoryNames=[name]), "RepositoryNotFoundException")
    return {"RepositoryName": name} if found else None


def _log_group(clients: Callable[[str], Any], name: str) -> Mapping[str, str] | None:
    groups = clients("logs").describe_log_groups(logGroupNamePrefix=name).get("logGroups", [])
    return {"LogGroupName": name} if any(each["logGroupName"] == name for each in groups) else None


def _queue(clients: Callable[[str], Any], name: str) -> Mapping[str, str] | None:
    try:
        return {"QueueUrl": clients("sqs").get_queue_url(QueueName=name)["QueueUrl"]}
    except ClientError as problem:
        if error_code(problem) in _NO_QUEUE:
            return None
        raise


_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
_LOOKUPS = {
    "AWS::DynamoDB::Table": _Lookup("TableName", _table),
    "AWS::ECR::Repository": _Lookup("RepositoryName", _repository),
    "AWS::Logs::LogGroup": _Lookup("LogGroupName", _log_group),
    "AWS::SQS::Queue": _Lookup("QueueName", _queue),
}
# The types that are imported; ``doctor`` reports others whose name exists as errors.
IMPORTABLE = tuple(_LOOKUPS)
