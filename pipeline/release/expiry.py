"""Environments that expire some time after their last change, as a tag of their stacks says.

A tag, because whoever may list the stacks sees it, from any machine and without the project's settings. It has the
duration, not a time: a time would be an update of the stacks for every release.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cfn.names import Names
from pipeline.environment.lifetime import EXPIRES_AFTER, parse_lifetime
from pipeline.release.environments import environments_of
from pipeline.stacks.state import StackAge, StackStatus, age_of


@dataclass(frozen=True, slots=True)
class Expiring:
    """An environment whose stacks have the tag.

    at       when it expires, in UTC; None if the tag cannot be read, which never deletes anything
    why_not  why the tag cannot be read
    busy     a stack is being changed
    """

    environment: str
    at: datetime | None
    why_not: str = ""
    busy: bool = False

    def is_due(self, now: datetime) -> bool:
        return self.at is not None and not self.busy and self.at <= now


def find_expiring(cloudformation: Any, names: Names) -> tuple[Expiring, ...]:
    """The environments of the project of ``names`` that expire, by name. Calls DescribeStacks for all stacks."""
    found: dict[str, list[StackAge]] = {}
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            for environment in environments_of(stack["StackName"], names):
                # Such a stack has no resources, and no tags.
                if stack["StackStatus"] != StackStatus.REVIEW_IN_PROGRESS:
                    found.setdefault(environment, []).append(age_of(stack))
    judged = (judge_expiry(name, found[name]) for name in sorted(found))
    return tuple(each for each in judged if each is not None)


def judge_expiry(environment: str, stacks: Iterable[StackAge]) -> Expiring | None:
    """When an environment expires; None if it never does.

    A stack without the tag was deployed before the setting, or after it was taken away: then nothing expires.
    """
    stacks = tuple(stacks)
    if not stacks or not all(EXPIRES_AFTER in each.tags for each in stacks):
        return None
    busy = any(each.busy for each in stacks)
    try:
        lifetime = max(parse_lifetime(each.tags[EXPIRES_AFTER]) for each in stacks)
    except ValueError as problem:
        return Expiring(environment, None, str(problem), busy)
    return Expiring(environment, max(each.changed for each in stacks).astimezone(UTC) + lifetime, busy=busy)
