"""What is known of a machine before it runs: each Task's faults, variables that matter, states with no way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.transactions.ways import followers
from pipeline.verification.language.integrations import Integration, errors_of, matches, may_have_happened, passes
from pipeline.verification.language.machine import WHOLE, Machine, State
from pipeline.verification.model.steps import Fault

_NATURAL = ("ConditionalCheckFailedException", "ValidationException")


def retrier(state: State, error: str) -> int | None:
    for number, each in enumerate(state.get("Retry", [])):
        if matches(each["ErrorEquals"], error, task=state["Type"] == "Task"):
            return number if each.get("MaxAttempts", 3) > 0 else None
    return None


def catcher_of(state: State, error: str) -> int | None:
    return next(
        (
            number
            for number, each in enumerate(state.get("Catch", []))
            if matches(each["ErrorEquals"], error, task=state["Type"] == "Task")
        ),
        None,
    )


def faults_of(state: State, call: Integration, *, modelled: bool) -> Iterator[Fault]:
    """One fault for each way that an error of the integration can take.

    modelled  the model has the tables, so a failed condition comes of itself and is no fault
    """
    found: dict[tuple[Any, ...], Fault] = {}
    # A function raises what it likes: a name that a rule waits for is one that it may raise.
    rules = [*state.get("Retry", []), *state.get("Catch", [])] if call.service in ("lambda", "activity") else []
    named = [error for rule in rules for error in rule["ErrorEquals"] if not error.startswith("States.")]
    for error in dict.fromkeys([*errors_of(call), *named]):
        if modelled and error.rpartition(".")[2] in _NATURAL:
            continue
        retried, catcher = retrier(state, error) is not None, catcher_of(state, error)
        # Whether a retry, or the error itself, is a reason to give up.
        excuse = retried or not passes(error)
        found.setdefault((catcher, False, excuse), Fault(error, False, False, excuse))
        if may_have_happened(error):
            found.setdefault((catcher, True, excuse), Fault(error, False, True, excuse))
            if retried:
                found.setdefault(("retried",), Fault(error, True, True, False))
    yield from found.values()


def live_variables(machine: Machine, reads: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The variables that may be read in a state or after it; a state that differs in others only is the same state."""
    own = {name: {each[1:] for each in found if each.startswith("$")} for name, found in reads.items()}
    live = {name: set(found) for name, found in own.items()}
    changed = True
    while changed:
        changed = False
        for name, state in machine.states.items():
            after = [each for _kind, each in followers(state)]
            after += [start for scope, start in machine.starts.items() if scope[0] == name]
            # What a branch's own outer state reads later is read after the branch.
            outer = machine.scopes[name][0]
            more = set().union(*(live[each] for each in after)) if after else set()
            if outer:
                more |= live[outer]
            if not more <= live[name]:
                live[name] |= more
                changed = True
    return {name: frozenset(found) for name, found in live.items()}


def last_resort(machine: Machine) -> frozenset[str]:
    """The states from which no way leads to a success, other than those that only end."""
    good = {name for name, state in machine.states.items() if state["Type"] == "Succeed" or state.get("End")}
    changed = True
    while changed:
        changed = False
        for name, state in machine.states.items():
            if name not in good and any(after in good for _kind, after in followers(state)):
                good.add(name)
                changed = True
    return frozenset(name for name in machine.states if name not in good and machine.scopes[name] == WHOLE)
