"""Find resources that a deleted stack left behind, so that a new stack can import them.

A retained table, repository or log group keeps its name, so a stack that creates it again fails. CloudFormation imports
resources that the template names and retains on deletion (API_CreateChangeSet, ImportExistingResources).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

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


def find_existing(clients: Callable[[str], Any], template_body: str) -> tuple[str, ...]:
    """Logical ids of the ``data_resources`` whose names exist, for ``WantedStack.existing``.

    clients  gives the boto3 client of a service, such as ``Target.client``

    Only useful if there is no stack; the names of a deployed stack's own resources exist too.
    """
    named = [each for each, _ in _named_resources(template_body)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda each: exists(clients, each.resource_type, each.name), named)
        return tuple(each.logical_id for each, is_there in zip(named, found, strict=True) if is_there)


def exists(clients: Callable[[str], Any], resource_type: str, name: str) -> bool:
    """Whether a table, queue, repository or log group with this name exists."""
    return _LOOKUPS[resource_type].exists(clients, name)


def with_retained(template_body: str, logical_ids: Collection[str]) -> str:
    """The template with a retaining ``DeletionPolicy`` on these resources; unchanged if they have one. Pure.

    CloudFormation imports only resources that are retained.
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
    """How to look up a type. name: the property that holds the name; exists: whether one with that name exists."""

    name: str
    exists: Callable[[Callable[[str], Any], str], bool]


def call_succeeds(call: Callable[[], Any], *absent: str) -> bool:
    """Whether ``call`` succeeds; False for an error code in ``absent``."""
    try:
        call()
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") in absent:
            return False
        raise
    return True


def _table_exists(clients: Callable[[str], Any], name: str) -> bool:
    return call_succeeds(lambda: clients("dynamodb").describe_table(TableName=name), "ResourceNotFoundException")


def _repository_exists(clients: Callable[[str], Any], name: str) -> bool:
    ecr = clients("ecr")
    return call_succeeds(lambda: ecr.describe_repositories(repositoryNames=[name]), "RepositoryNotFoundException")


def _log_group_exists(clients: Callable[[str], Any], name: str) -> bool:
    groups = clients("logs").describe_log_groups(logGroupNamePrefix=name).get("logGroups", [])
    return any(each["logGroupName"] == name for each in groups)


def _queue_exists(clients: Callable[[str], Any], name: str) -> bool:
    sqs = clients("sqs")
    absent = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
    return call_succeeds(lambda: sqs.get_queue_url(QueueName=name), *absent)


_LOOKUPS = {
    "AWS::DynamoDB::Table": _Lookup("TableName", _table_exists),
    "AWS::ECR::Repository": _Lookup("RepositoryName", _repository_exists),
    "AWS::Logs::LogGroup": _Lookup("LogGroupName", _log_group_exists),
    "AWS::SQS::Queue": _Lookup("QueueName", _queue_exists),
}
