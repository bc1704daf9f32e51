"""How long an execution can take at most: every attempt as long as its limit, every wait as long as it can be.

An EXPRESS execution that runs into its five minutes is ended without a catcher: nothing is answered and nothing parked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.transactions.ways import followers
from pipeline.verification.language.integrations import integration_of
from pipeline.verification.language.machine import WHOLE, Machine, Scope, State

# Step Functions quotas: an EXPRESS workflow runs at most five minutes.
EXPRESS_SECONDS = 300
# Lambda quotas: a function runs at most fifteen minutes, with or without a time limit of the Task.
_FUNCTION_SECONDS = 900
# A rule of a Choice that holds once so many milliseconds have passed since the execution began: what comes after it in
# the Choice is only reached before that time.
_PATIENCE = re.compile(r"\$millis\(\)\s*-\s*\$toMillis\(\$states\.context\.Execution\.StartTime\)\s*>=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Longest:
    """seconds: infinite where nothing bounds it, for the reason in ``unbounded``; states: in the order of the way."""

    seconds: float
    states: tuple[str, ...]
    unbounded: str = ""


def longest_way(machine: Machine) -> Longest:
    """The way through the machine that can take longest."""
    return _longest(machine, WHOLE)


def _longest(machine: Machine, scope: Scope) -> Longest:
    start = machine.starts[scope]
    straight = _from(machine, start, {}, ())
    guards = [seconds for name in machine.members(scope) for seconds, _next in _guarded(machine.states[name])]
    if not guards:
        return straight
    # Each round begins before the patience ends, so the last one begins at that time at the latest.
    again = [
        _from(machine, after, {}, ())
        for name in machine.members(scope)
        for _seconds, after in _guarded(machine.states[name])
    ]
    last = max(again, key=lambda way: way.seconds)
    late = Longest(max(guards) + last.seconds, ("…", *last.states), last.unbounded)
    return max(straight, late, key=lambda way: way.seconds)


def _from(machine: Machine, name: str, known: dict[str, Longest], before: tuple[str, ...]) -> Longest:
    if name in before:
        circle = " → ".join((*before[before.index(name) :], name))
        return Longest(math.inf, (name,), f"nothing ends the circle {circle}")
    if name not in known:
        state = machine.states[name]
        guarded = {after for _seconds, after in _guarded(state)}
        ways = [
            _from(machine, after, known, (*before, name)) for _kind, after in followers(state) if after not in guarded
        ]
        rest = max(ways, key=lambda way: way.seconds, default=Longest(0.0, ()))
        own, reason = _state_seconds(machine, name)
        known[name] = Longest(own + rest.seconds, (name, *rest.states), reason or rest.unbounded)
    return known[name]


def _state_seconds(machine: Machine, name: str) -> tuple[float, str]:
    """(seconds with every retry, why they have no bound)"""
    state = machine.states[name]
    match state["Type"]:
        case "Task":
            once, reason = _task_seconds(name, state)
        case "Wait":
            given = state.get("Seconds")
            if isinstance(given, (int, float)):
                return float(given), ""
            return math.inf, f"{name} waits until a time that its data gives"
        case "Parallel" | "Map":
            inner = [_longest(machine, scope) for scope in machine.branches(name)]
            longest = max(inner, key=lambda way: way.seconds)
            once, reason = longest.seconds, longest.unbounded
        case _:
            return 0.0, ""
    seconds = once
    for retrier in state.get("Retry", []):
        wait, limit = float(retrier.get("IntervalSeconds", 1)), float(retrier.get("MaxDelaySeconds", math.inf))
        for _attempt in range(retrier.get("MaxAttempts", 3)):
            seconds += min(wait, limit) + once
            wait *= float(retrier.get("BackoffRate", 2.0))
    return seconds, reason


def _task_seconds(name: str, state: State) -> tuple[float, str]:
    limit = state.get("TimeoutSeconds")
    call = integration_of(state)
    if isinstance(limit, (int, float)):
        return float(limit), ""
    if call.service == "lambda" and not call.waits and limit is None:
        return float(_FUNCTION_SECONDS), ""
    return math.inf, f"{name} has no TimeoutSeconds" if limit is None else f"the TimeoutSeconds of {name} is computed"


def _guarded(state: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    """What a Choice only leads to before a number of seconds has passed."""
    seconds: float | None = None
    for rule in state.get("Choices", []):
        if seconds is not None and "Next" in rule:
            yield seconds, rule["Next"]
        elif found := _PATIENCE.search(str(rule.get("Condition", ""))):
            seconds = int(found[1]) / 1000
    if seconds is not None and "Default" in state:
        yield seconds, state["Default"]
