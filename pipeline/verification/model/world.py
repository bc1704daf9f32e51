"""A state of the world, the moves between states, and what of the world is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.verification.model.steps import Effect, Local, Run, Step


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the exploration goes.

    executions  at most so many executions of one id
    faults      so many errors among all of them
    ticks       the clock moves so often, each time by one of ``clock`` (milliseconds)
    payloads    names and inputs; each execution has one of them
    alike       names of payloads that differ in nothing that matters: each is only used after the one before it
    twins       executions share one name and one clock: runs of one execution, which EXPRESS may start twice
    first       the number of the first execution, which names it
    late        a request whose answer was not awaited may reach the table at any later time
    states      the exploration gives up after so many
    """

    executions: int
    faults: int
    payloads: Mapping[str, Any]
    alike: tuple[str, ...] = ()
    clock: tuple[int, ...] = ()
    ticks: int = 0
    twins: bool = False
    first: int = 0
    late: bool = True
    states: int = 3_000_000


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution: what it is, where it stands, and what happened to it that matters later."""

    run: Run
    local: Local
    marks: frozenset[str]

    @property
    def ended(self) -> bool:
        return self.local[0] in ("done", "failed")


class World(NamedTuple):
    """A state of the world, with numbers of values where a value is meant."""

    executions: tuple[int, ...]
    table: int
    sent: int
    under_way: tuple[int, ...]
    clock: int
    ticks: int
    faults: int


@dataclass(frozen=True, slots=True)
class Move:
    """One line of a trace: who did what.

    execution  −1 for the clock, the table's own moves and late requests
    became     the execution after its move, with everything that the world forgets once it has ended
    sent       what was noted of requests of the move, as numbers of [execution's name, note]
    """

    execution: int
    steps: tuple[Step, ...]
    note: str = ""
    became: Execution | None = None
    sent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Abstraction:
    """What of the world is kept, because something reads it or a promise is about it. Less keeps fewer states.

    key_names   the attributes of the tables' key
    noted       what is remembered of a request that no other execution can see, or None; until its execution ends
    remembered  what is remembered of an answer that was given
    shown       a value without what is only shown to people, such as a time that nothing compares
    aged        an item at a time of the clock, such as one whose lease is over
    observed    the attributes that are kept; None keeps all
    swept       (place, item, time) → the requests by which an operator takes a lost claim and gives it back, or None
    expires     items, as ``item_place`` names them, that TTL may delete once they have the attribute ``expiry``
    """

    key_names: tuple[str, ...]
    noted: Callable[[Run, Effect, Any], Any]
    remembered: Callable[[Any], Any] = lambda output: output
    shown: Callable[[Any], Any] = lambda value: value
    aged: Callable[[Mapping[str, Any], int], Mapping[str, Any]] = lambda item, _now: item
    observed: frozenset[str] | None = None
    expiry: str = ""
    expires: frozenset[str] = frozenset()
    swept: Callable[[str, Mapping[str, Any], int], tuple[Any, Any] | None] | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    promise: str
    why: str


@dataclass(frozen=True, slots=True)
class Counterexample:
    violation: Violation
    moves: tuple[Move, ...]


@dataclass(slots=True)
class Explored:
    """What an exploration found."""

    states: int = 0
    complete: bool = True
    counterexamples: list[Counterexample] = field(default_factory=list)
    endings: dict[str, int] = field(default_factory=dict)
    tables: int = 0
    evaluations: int = 0
