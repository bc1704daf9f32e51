"""Resources that an earlier stack left behind and that would block a new one by their names: find them for adoption.

A retained table, repository or log group keeps its name, so a stack that makes it again fails. CloudFormation adopts
those whose template names them and retains them on deletion (API_CreateChangeSet, ImportExistingResources).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

RETAINING = ("Retain", "RetainExceptOnCreate")


@dataclass(frozen=True, slots=True)
class RetainedResource:
    """A resource of a template that outlives its stack, under a name that is fixed."""

    logical_id: str
    resource_type: str
    name: str


def retained_resources(template_body: str) -> tuple[RetainedResource, ...]:
    """The resources of a template that a deleted stack may have left behind. Pure."""
    resources: Mapping[str, Any] = json.loads(template_body).get("Resources", {})
    return tuple(
        RetainedResource(logical_id, each["Type"], name)
        for logical_id, each in resources.items()
        if each.get("DeletionPolicy") in RETAINING
        and each.get("Type") in _LOOKUPS
        and isinstance(name := each.get("Properties", {}).get(_LOOKUPS[each["Type"]].name), str)
    )


def find_existing(clients: Callable[[str], Any], template_body: str) -> tuple[str, ...]:
    """Logical ids of the template's retained resources that exist; for ``WantedStack.existing`` before a creation.

    clients  gives the boto3 client of a service, such as ``Target.client``
    """
    return tuple(
        each.logical_id
        for each in retained_resources(template_body)
        if _LOOKUPS[each.resource_type].exists(clients, each.name)
    )


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


_LOOKUPS = {
    "AWS::DynamoDB::Table": _Lookup("TableName", _table_exists),
    "AWS::ECR::Repository": _Lookup("RepositoryName", _repository_exists),
    "AWS::Logs::LogGroup": _Lookup("LogGroupName", _log_group_exists),
}
