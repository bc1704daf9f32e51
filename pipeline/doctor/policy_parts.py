"""A policy in parts that each fit into a managed policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Characters of a managed policy, white space not counted ("IAM and AWS STS quotas", IAM user guide).
MANAGED_POLICY_MAX = 6_144


def policy_parts(policy: Mapping[str, Any], most: int = MANAGED_POLICY_MAX) -> tuple[dict[str, Any], ...]:
    """Policies of at most ``most`` characters that together allow exactly what ``policy`` allows.

    A statement that does not fit is divided by its actions or its resources, whichever are longer. Raises ValueError
    if one action on one resource is too long.
    """
    parts: list[list[Any]] = [[]]
    for statement in policy["Statement"]:
        for piece in _fitting(policy, statement, most):
            if _length(policy, [*parts[-1], piece]) > most:
                parts.append([])
            parts[-1].append(piece)
    return tuple({**policy, "Statement": statements} for statements in parts)


def _fitting(policy: Mapping[str, Any], statement: Mapping[str, Any], most: int) -> Iterator[Mapping[str, Any]]:
    if _length(policy, [statement]) <= most:
        yield statement
        return
    several = [key for key in ("Action", "Resource") if len(statement[key]) > 1]
    if not several:
        raise ValueError(f"a statement on {statement['Resource'][0]} has more than {most:,} characters")
    divided = max(several, key=lambda key: sum(map(len, statement[key])))
    middle = len(statement[divided]) // 2
    for half in (statement[divided][:middle], statement[divided][middle:]):
        yield from _fitting(policy, {**statement, divided: half}, most)


def _length(policy: Mapping[str, Any], statements: list[Any]) -> int:
    return len(json.dumps({**policy, "Statement": statements}, separators=(",", ":")))
