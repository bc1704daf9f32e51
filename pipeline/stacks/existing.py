"""Resources that an earlier stack left behind and that would block a new one by their names: find them for adoption.

A retained table, repository or log group keeps its name, so a stack that makes it again fails. CloudFormation adopts
those whose template names them and retains them on deletion (API_CreateChangeSet, ImportExistingResources).
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
    """A resource of a template that outlives its stack, under a name that is fixed."""

    logical_id: str
    resource_type: str
    name: str


def retained_resources(template_body: str) -> tuple[RetainedResource, ...]:
    """The resources of a template that outlive its stack because their ``DeletionPolicy`` says so. Pure."""
    return tuple(each for each, policy in _named_resources(template_body) if policy in RETAINING)


def data_resources(template_body: str) -> tuple[RetainedResource, ...]:
    """The resources of a template that hold data and can be adopted later: tables, queues, repositories, logs. Pure."""
    return tuple(each for each, _ in _named_resources(template_body))


def find_existing(clients: Callable[[str], Any], template_body: str) -> tuple[str, ...]:
    """Logical ids of the template's resources whose fixed name exists; for ``WantedStack.existing`` at a creation.

    clients  gives the boto3 client of a service, such as ``Target.client``

    Looks for types that CloudFormation can adopt and that are ever kept: tables, queues, repositories, log groups. Only
    worth its calls where there is no stack: in one that stands, its own resources exist.
    """
    named = [each for each, _ in _named_resources(template_body)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        exist = pool.map(lambda each: _LOOKUPS[each.resource_type].exists(clients, each.name), named)
        return tuple(each.logical_id for each, exists in zip(named, exist, strict=True) if exists)


def with_retained(template_body: str, logical_ids: Collection[str]) -> str:
    """The template with ``DeletionPolicy: Retain`` on those resources that have none that retains; else as it is. Pure.

    CloudFormation adopts only such resources, and leaves only such ones behind.
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
        # A policy alone may not count as a change (AWS documentation, DeletionPolicy); metadata does.
        resource["Metadata"] = {**resource.get("Metadata", {}), "KeptOnDeletion": True}
    return json.dumps(template, sort_keys=True, separators=(",", ":"))


def _named_resources(template_body: str) -> Iterator[tuple[RetainedResource, str]]:
    """Resources of types that can be adopted, under a fixed name, each with its deletion policy."""
    resources: Mapping[str, Any] = json.loads(template_body).get("Resources", {})
    for logical_id, each in resources.items():
        lookup = _LOOKUPS.get(each.get("Type"))
        if lookup and isinstance(name := each.get("Properties", {}).get(lookup.name), str):
            yield RetainedResource(logical_id, each["Type"], name), each.get("DeletionPolicy", "Delete")


@dataclass(frozen=True, slots=True)
class _Lookup:
    """How a type is called and looked up: the property with its name, and the question whether it exists."""

    name: str
    exists: Callable[[Callable[[str], Any], str], bool]


def _answers(call: Callable[[], Any], *absent: str) -> bool:
    try:
        call()
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") in absent:
            return False
        raise
    return True


def _table_exists(clients: Callable[[str], Any], name: str) -> bool:
    return _answers(lambda: clients("dynamodb").describe_table(TableName=name), "ResourceNotFoundException")


def _repository_exists(clients: Callable[[str], Any], name: str) -> bool:
    ecr = clients("ecr")
    return _answers(lambda: ecr.describe_repositories(repositoryNames=[name]), "RepositoryNotFoundException")


def _log_group_exists(clients: Callable[[str], Any], name: str) -> bool:
    groups = clients("logs").describe_log_groups(logGroupNamePrefix=name).get("logGroups", [])
    return any(each["logGroupName"] == name for each in groups)


def _queue_exists(clients: Callable[[str], Any], name: str) -> bool:
    sqs = clients("sqs")
    absent = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
    return _answers(lambda: sqs.get_queue_url(QueueName=name), *absent)


_LOOKUPS = {
    "AWS::DynamoDB::Table": _Lookup("TableName", _table_exists),
    "AWS::ECR::Repository": _Lookup("RepositoryName", _repository_exists),
    "AWS::Logs::LogGroup": _Lookup("LogGroupName", _log_group_exists),
    "AWS::SQS::Queue": _Lookup("QueueName", _queue_exists),
}
