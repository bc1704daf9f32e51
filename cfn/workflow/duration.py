"""How long an execution can take at most, computed from the definition itself.

EXPRESS ends an execution after five minutes without asking: nothing is answered, nothing is parked. So the longest way
through the machine, with every attempt as long as its time limit and every wait as long as it can be, must end before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Step Functions quotas: an EXPRESS workflow runs at most five minutes.
EXPRESS_SECONDS = 300

# A rule of a Choice that holds once so many milliseconds have passed since the execution began: what comes after it in
# the Choice is only reached before that time.
_PATIENCE = re.compile(r"\$millis\(\) ?- ?\$toMillis\(\$states\.context\.Execution\.StartTime\) ?>= ?(\d+)")


@dataclass(frozen=True, slots=True)
class Way:
    """States in the order that they are entered, and what they take at most (seconds)."""

    seconds: float
    states: tuple[str, ...]


def task_seconds(state: Mapping[str, Any]) -> float:
    """All attempts of a task at its time limit, and all waits between them without jitter, which only shortens them.

    Raises KeyError for a task without TimeoutSeconds, which has no limit at all.
    """
    limit, seconds = state["TimeoutSeconds"], float(state["TimeoutSeconds"])
    for retrier in state.get("Retry", []):
        wait, longest = float(retrier["IntervalSeconds"]), float(retrier.get("MaxDelaySeconds", "inf"))
        for _attempt in range(retrier["MaxAttempts"]):
            seconds += min(wait, longest) + limit
            wait *= retrier["BackoffRate"]
    return seconds


def longest_way(definition: Mapping[str, Any]) -> Way:
    """The way that can take longest. A circle is only allowed behind a rule that ends it after some time.

    Raises ValueError, naming the states, for a circle that nothing ends.
    """
    states, start = definition["States"], definition["StartAt"]
    straight = _longest(states, start, ())
    guards = [(name, seconds) for name, state in states.items() for seconds, _next in _guarded(state)]
    if not guards:
        return straight
    # Whoever goes round does so before the patience ends, so the last round begins at that time at the latest.
    patience = max(seconds for _name, seconds in guards)
    again = max(
        (_longest(states, after, ()) for state in states.values() for _seconds, after in _guarded(state)),
        key=lambda way: way.seconds,
    )
    return max(straight, Way(patience + again.seconds, ("…", *again.states)), key=lambda way: way.seconds)


def _longest(states: Mapping[str, Any], name: str, before: tuple[str, ...]) -> Way:
    if name in before:
        raise ValueError(f"nothing ends the circle {' → '.join((*before[before.index(name) :], name))}")
    state, way = states[name], (*before, name)
    rest = max(
        (_longest(states, after, way) for after in _followers(state)), key=lambda each: each.seconds, default=None
    )
    if rest is None:
        return Way(_seconds(state), (name,))
    return Way(_seconds(state) + rest.seconds, (name, *rest.states))


def _seconds(state: Mapping[str, Any]) -> float:
    match state["Type"]:
        case "Task":
            return task_seconds(state)
        case "Wait":
            return float(state["Seconds"])
        case "Parallel":
            return max(longest_way(branch).seconds for branch in state["Branches"])
        case _:
            return 0.0


def followers(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every state that may come next: kind is "next", "choice", "default" or "catch"."""
    if "Next" in state:
        yield "next", state["Next"]
    for rule in state.get("Choices", []):
        yield "choice", rule["Next"]
    if "Default" in state:
        yield "default", state["Default"]
    for catcher in state.get("Catch", []):
        yield "catch", catcher["Next"]


def _followers(state: Mapping[str, Any]) -> Iterator[str]:
    guarded = {name for _seconds, name in _guarded(state)}
    return (name for _kind, name in followers(state) if name not in guarded)


def _guarded(state: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    """What a Choice only leads to before a number of seconds has passed."""
    seconds: float | None = None
    for rule in state.get("Choices", []):
        if seconds is not None:
            yield seconds, rule["Next"]
        elif found := _PATIENCE.search(str(rule.get("Condition", ""))):
            seconds = int(found[1]) / 1000
    if seconds is not None and "Default" in state:
        yield seconds, state["Default"]
