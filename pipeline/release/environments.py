"""Which environments an account and region have, to recognise a misspelt one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import Names
from pipeline.core.errors import SettingsError, StackError
from pipeline.core.shown import first_few
from pipeline.stacks import read_stack


@dataclass(frozen=True, slots=True)
class Environments:
    """The project's environments that exist, and those whose stacks were deleted in the last 90 days."""

    existing: frozenset[str]
    deleted: frozenset[str] = frozenset()


def find_environments(cloudformation: Any, names: Names) -> Environments | None:
    """The environments of the project of ``names``; None if the caller may not list stacks.

    ListStacks has a deleted stack for 90 days (API_ListStacks).
    """
    existing: set[str] = set()
    deleted: set[str] = set()
    try:
        for page in cloudformation.get_paginator("list_stacks").paginate():
            for stack in page["StackSummaries"]:
                gone = stack["StackStatus"] == "DELETE_COMPLETE"
                (deleted if gone else existing).update(environments_of(stack["StackName"], names))
    except ClientError:
        return None
    return Environments(frozenset(existing), frozenset(deleted - existing))


def environments_of(stack: str, names: Names) -> Iterator[str]:
    """The environment that a stack of the project belongs to; nothing for another stack."""
    for own in (names.registry_stack, names.pipeline_stack):
        prefix = own.removesuffix(names.environment)
        try:
            if stack.startswith(prefix):
                yield replace(names, environment=stack.removeprefix(prefix)).environment
        except SettingsError:
            continue  # another program's stack


def require_environment(cloudformation: Any, names: Names, what: str) -> None:
    """Raise StackError if the environment does not exist. what: "dev was not pruned"."""
    if not read_stack(cloudformation, names.registry_stack).status.gone:
        return
    found = find_environments(cloudformation, names)
    others = found.existing if found is not None else ()
    raise StackError(
        what,
        f"there is no environment {names.environment}" + (f"; there are {first_few(others, 20)}" if others else ""),
        "Correct --environment, or the region.",
    )


def require_known(found: Environments | None, environment: str, what: str) -> None:
    """Raise StackError for an environment that never existed beside others that do: its name is misspelt.

    A deleted environment is known, so that deleting it twice succeeds. Without other environments nothing can be
    meant instead.
    """
    if found is None or environment in found.existing | found.deleted or not found.existing:
        return
    raise StackError(
        what,
        f"there is no environment {environment}, and none was deleted in the last 90 days; there are"
        f" {first_few(found.existing, 20)}",
        "Correct --environment, or the region.",
    )
