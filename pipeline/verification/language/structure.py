"""What can be said of a definition without running it: dead states, dead ends, errors that nothing catches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.transactions.ways import followers
from pipeline.verification.language.integrations import QUERY_ERROR, errors_of, integration_of, matches
from pipeline.verification.language.machine import Machine, State, expressions, own_fields
from pipeline.verification.language.syntax import QueryError, parse

_NATURAL = ("ConditionalCheckFailedException",)


@dataclass(frozen=True, slots=True)
class Finding:
    """rule: a short stable name; refutes: whether it breaks a promise, or is only good to know."""

    rule: str
    state: str
    message: str
    refutes: bool


def inspect(machine: Machine) -> list[Finding]:
    """Every finding, in the order of the states."""
    reached = _reached(machine)
    found = [
        Finding("unreachable state", name, "no way leads to it", True) for name in machine.states if name not in reached
    ]
    found += [
        Finding("endless", name, "no way leads from it to an end", True)
        for name in machine.states
        if name in reached and name not in _ending(machine)
    ]
    for name, state in machine.states.items():
        found += _of_expressions(name, state)
        found += _of_catchers(name, state)
        found += _uncaught(name, state)
        if state["Type"] == "Choice" and "Default" not in state:
            message = "without a Default, an input that no rule takes ends the execution with States.NoChoiceMatched"
            found.append(Finding("no default", name, message, False))
    return found


def _reached(machine: Machine) -> set[str]:
    pending, seen = [machine.starts[("", 0)]], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        pending += [after for _kind, after in followers(machine.states[name])]
        pending += [machine.starts[scope] for scope in machine.branches(name)]
    return seen


def _ending(machine: Machine) -> set[str]:
    """The states from which an end of their machine can be reached."""
    ending = {
        name for name, state in machine.states.items() if state["Type"] in ("Succeed", "Fail") or state.get("End")
    }
    while True:
        more = {
            name
            for name, state in machine.states.items()
            if name not in ending and any(after in ending for _kind, after in followers(state))
        }
        if not more:
            return ending
        ending |= more


def _of_expressions(name: str, state: State) -> Iterator[Finding]:
    for text in expressions(own_fields(state)):
        try:
            parse(text)
        except QueryError as error:
            yield Finding("expression", name, str(error), True)


def _of_catchers(name: str, state: State) -> Iterator[Finding]:
    """Source: the States Language: States.ALL must appear alone and in the last catcher or retrier."""
    for field in ("Catch", "Retry"):
        rules: list[Any] = state.get(field, [])
        for number, rule in enumerate(rules):
            names = rule["ErrorEquals"]
            if "States.ALL" in names and (len(names) > 1 or number < len(rules) - 1):
                yield Finding("States.ALL", name, f"in {field}, States.ALL has to stand alone and last", True)
        for number, rule in enumerate(rules):
            for error in rule["ErrorEquals"]:
                earlier = any(matches(other["ErrorEquals"], error) for other in rules[:number])
                if earlier and not error.startswith("States."):
                    yield Finding("shadowed", name, f"{error} in {field} is matched by an earlier rule", False)


def _uncaught(name: str, state: State) -> Iterator[Finding]:
    if state["Type"] != "Task":
        return
    call = integration_of(state)
    names = [error for error in errors_of(call) if error.rpartition(".")[2] not in _NATURAL]
    if any(True for _text in expressions(own_fields(state))):
        names.append(QUERY_ERROR)
    missed = [
        error
        for error in names
        if not any(matches(catcher["ErrorEquals"], error) for catcher in state.get("Catch", []))
    ]
    if missed:
        shown = ", ".join(missed[:3]) + (f" and {len(missed) - 3} more" if len(missed) > 3 else "")
        yield Finding("uncaught", name, f"{call}: nothing catches {shown}", False)


_MILLIS = re.compile(r"\$millis\(\)")


def clock_steps(machine: Machine) -> tuple[int, ...]:
    """The durations in milliseconds that the machine's expressions add to the clock or compare with it, and one more.

    A time limit in data matters only through the two sides of it, so the model's clock moves by these steps.
    """
    found: set[int] = set()
    for state in machine.states.values():
        for text in expressions(own_fields(state)):
            for match in _MILLIS.finditer(text):
                behind = text[match.end() :]
                added = re.match(r"\s*\+\s*(\d{4,})", behind)
                compared = re.match(r"\s*-[^;,]*?[<>]=?\s*(\d{4,})", behind)
                found |= {int(each[1]) + 1 for each in (added, compared) if each}
    return tuple(sorted(found))
