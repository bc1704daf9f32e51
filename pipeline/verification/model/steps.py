"""The parts of a trace: an execution, the steps that it takes, and the faults and answers that it may meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.verification.language.integrations import Integration

Local = tuple[Any, ...]
"""The position of an execution; see ``semantics``."""
Path = tuple[int, ...]
"""Which branch of which branch."""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution.

    payload, name  numbers of values; the name with the UUID that its ARN ends in
    started        the clock
    skew           milliseconds that its own clock is ahead, so that two executions never write the same time unless the
                   model wants it
    """

    index: int
    name: int
    payload: int
    started: int
    skew: int


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace. how: "enters", "succeeds", "fails", "loses", "late", "twice", "answers", "ends"."""

    state: str
    how: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Errors of a Task that lead the same way, with one of their names.

    retried  the error is tried again and succeeds then; only meaningful after the request took effect
    happened the request took effect
    excuse   a submission that is parked because of it is parked for a reason: the error does not pass, or every
             attempt met it
    """

    error: str
    retried: bool
    happened: bool
    excuse: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function or service may answer. cost: 1 for an answer that is a fault of the function."""

    label: str
    value: Any
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """A request that no other execution can see, or whose order does not matter to it."""

    integration: Integration
    arguments: int


@dataclass(frozen=True, slots=True)
class Outcome:
    steps: tuple[Step, ...]
    local: Local
    cost: int = 0
    effects: tuple[Effect, ...] = ()
    marks: frozenset[str] = frozenset()


Answers = Callable[[str, Integration, Any], Sequence[Answer]]
"""(state, what it calls, its arguments) → what may be answered."""


def extended(outcome: Outcome, **changes: Any) -> Outcome:
    return Outcome(
        outcome.steps,
        changes.get("local", outcome.local),
        outcome.cost + changes.get("cost", 0),
        (*changes.get("effects", ()), *outcome.effects),
        outcome.marks | changes.get("marks", frozenset()),
    )


def joined(first: Outcome, then: Outcome) -> Outcome:
    """Both, one after the other."""
    return Outcome(
        (*first.steps, *then.steps), then.local, first.cost + then.cost, (*first.effects, *then.effects),
        first.marks | then.marks,
    )  # fmt: skip
