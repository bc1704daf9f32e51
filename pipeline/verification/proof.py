"""Verifies a definition: what its structure shows, and explorations of growing breadth against the promises.

A definition that claims and decides ids, as the transaction workflow does, is held against ``promises``. Any other is
explored as one execution whose input and whose services' answers are unknown: which ends it has, and whether an
expression fails whatever the data are.
"""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.events import Report, ignore, step
from pipeline.verification import samples
from pipeline.verification.language.durations import EXPRESS_SECONDS, Longest, longest_way
from pipeline.verification.language.integrations import QUERY_ERROR, Integration
from pipeline.verification.language.interned import UNKNOWN, Values
from pipeline.verification.language.machine import Machine, read_machine
from pipeline.verification.language.structure import Finding, clock_steps, inspect
from pipeline.verification.model.exploration import Explorer, Judge
from pipeline.verification.model.semantics import Semantics
from pipeline.verification.model.steps import Answer
from pipeline.verification.model.world import Abstraction, Bounds, Counterexample, Execution, Move, Violation, World
from pipeline.verification.promises import Promises, semantics_of

# State transitions, and the start of the execution itself.
_TRANSITION_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Scope:
    """One exploration.

    wide     every class of answers
    rejects  validation may reject
    exact    nothing is left out
    swept    an operator searches for lost claims at any time
    """

    name: str
    bounds: Bounds
    wide: bool = False
    rejects: bool = True
    exact: bool = False
    swept: bool = False


@dataclass(frozen=True, slots=True)
class Explored:
    """What one scope showed. ends: how often each end was met, counted by distinct ends of an execution."""

    scope: str
    states: int
    tables: int
    evaluations: int
    seconds: float
    complete: bool
    ends: Mapping[str, int]
    visited: frozenset[str]
    counterexamples: tuple[Counterexample, ...]


@dataclass(slots=True)
class Proof:
    machine: Machine
    promised: bool
    findings: list[Finding]
    longest: Longest
    explored: list[Explored] = field(default_factory=list)
    faults: int = 2

    @property
    def cut_short(self) -> bool:
        """Whether some state may not have been entered for want of explorations, or of a second fault."""
        return not self.explored or self.faults < 2 or not all(each.complete for each in self.explored)

    @property
    def unvisited(self) -> list[str]:
        """The states that no exploration entered, if none was cut short."""
        if self.cut_short or self.counterexamples:
            return []
        visited = frozenset[str]().union(*(each.visited for each in self.explored))
        return [name for name in self.machine.states if name not in visited]

    @property
    def counterexamples(self) -> list[Counterexample]:
        """One for each promise that is broken, the shortest."""
        shortest: dict[str, Counterexample] = {}
        for each in (example for scope in self.explored for example in scope.counterexamples):
            known = shortest.get(each.violation.promise)
            if known is None or _length(each) < _length(known):
                shortest[each.violation.promise] = each
        return list(shortest.values())

    @property
    def refuted(self) -> list[str]:
        """The names of what is refuted, empty for a proof."""
        names = [f"{finding.rule}: {finding.state}" for finding in self.findings if finding.refutes]
        names += [each.violation.promise for each in self.counterexamples]
        names += [f"unreachable state: {name}" for name in self.unvisited]
        if self.too_long:
            names.append("an execution ends within five minutes")
        if not all(each.complete for each in self.explored) and not self.counterexamples:
            names.append("the exploration is complete")
        return list(dict.fromkeys(names))

    @property
    def too_long(self) -> bool:
        return self.promised and self.longest.seconds + _TRANSITION_SECONDS >= EXPRESS_SECONDS


def _length(example: Counterexample) -> tuple[int, int]:
    return len(example.moves), sum(len(move.steps) for move in example.moves)


def has_promises(definition: Mapping[str, Any]) -> bool:
    """Whether a definition claims and decides ids, by the names of the attributes and states of a record."""
    text = json.dumps(definition)
    return all(name in text for name in ("claim_token", "lease_until", "'DECIDED'", "'CLAIMED'", "fingerprint"))


def scopes(machine: Machine, *, executions: int, faults: int, ticks: int = 2) -> list[Scope]:
    """Executions of one id with ``faults`` errors among them, one of every kind of input, and one that runs twice.

    Three and more executions get answers that decide in two ways only.
    """
    clock = clock_steps(machine)
    usual: Mapping[str, Any] = {"payloads": samples.PAYLOADS, "alike": samples.ALIKE, "clock": clock}
    sealed: Mapping[str, Any] = {
        "payloads": samples.SEALED,
        "alike": tuple(samples.SEALED),
        "clock": clock,
        "ticks": ticks,
    }
    every_input = Bounds(1, min(faults, 1), samples.ODD, clock=clock, ticks=1)
    found = []
    if executions >= 2:
        twice = Bounds(2, faults, ticks=min(ticks, 1), twins=True, **usual)
        found = [
            Scope("two executions", Bounds(2, faults, ticks=ticks, **usual)),
            Scope("two runs of one execution", twice),
            Scope("two executions, payloads with card numbers", Bounds(2, min(faults, 1), **sealed)),
            Scope("two executions and redrive --lost", Bounds(2, min(faults, 1), ticks=ticks, **usual), swept=True),
        ]
    found.append(Scope("one execution, every input and answer", every_input, wide=True, exact=True))
    found += [
        Scope(f"{count} executions", Bounds(count, faults, ticks=ticks, **usual), rejects=False)
        for count in range(3, executions + 1)
    ]
    return found


def verify(
    definition: Mapping[str, Any],
    *,
    executions: int = 3,
    faults: int = 2,
    ticks: int = 2,
    inputs: Sequence[Any] = (),
    stop_at_first: bool = False,
    first: str = "",
    report: Report = ignore,
) -> Proof:
    """Everything that is explored of a definition. Raises VerificationError for what is no definition.

    inputs         for a definition without promises: inputs to explore instead of an unknown one
    stop_at_first  do not look for more once something is refuted
    first          the name of the exploration to begin with; the others follow in their order
    report         called when an exploration begins and ends
    """
    machine = read_machine(definition)
    proof = Proof(machine, has_promises(definition), inspect(machine), longest_way(machine), faults=faults)
    if proof.promised:
        planned = scopes(machine, executions=executions, faults=faults, ticks=ticks)
        for scope in sorted(planned, key=lambda each: each.name != first):
            if stop_at_first and (
                proof.counterexamples or any(each.refutes for each in proof.findings) or proof.too_long
            ):
                break
            with step(report, "explore", scope.name):
                proof.explored.append(_explore_promises(machine, scope, stop_at_first))
    else:
        with step(report, "explore", "one execution"):
            proof.explored.append(_explore_any(machine, inputs, faults))
    return proof


def _explore_promises(machine: Machine, scope: Scope, stop_at_first: bool) -> Explored:
    promises = Promises(Values(), scope.bounds.payloads, exact=scope.exact, twins=scope.bounds.twins)
    answers = functools.partial(samples.answers, wide=scope.wide, rejects=scope.rejects)
    semantics = semantics_of(machine, promises, answers)
    explorer = Explorer(semantics, scope.bounds, promises.abstraction(swept=scope.swept))
    return _run(scope.name, explorer, promises.judge, stop_at_first)


def _explore_any(machine: Machine, inputs: Sequence[Any], faults: int) -> Explored:
    payloads = {f"input {number + 1}": value for number, value in enumerate(inputs)} or {"any input": UNKNOWN}

    def answers(_state: str, _call: Integration, _arguments: Any) -> Sequence[Answer]:
        return [Answer("", UNKNOWN)]

    semantics = Semantics(machine, Values(), answers, lambda _call, _arguments: False, modelled=False)
    bounds = Bounds(1, faults, payloads, states=200_000)
    return _run("one execution", Explorer(semantics, bounds, Abstraction(("",), lambda *_given: None)), _defined, False)


def _defined(explorer: Explorer, _before: World, move: Move, _after: World) -> Iterator[Violation]:
    if move.became is not None and move.became.local[0] == "failed" and move.became.local[1] == QUERY_ERROR:
        state = next((step.state for step in reversed(move.steps) if step.how == "fails"), "")
        cause = str(explorer.values[move.became.local[2]])
        yield Violation(f"the expressions of {state} are defined", cause[:400])


def _end(explorer: Explorer, ended: Execution) -> str:
    if ended.local[0] == "failed":
        error = "an unknown error" if ended.local[1] == UNKNOWN else ended.local[1] or "an error without a name"
        return f"fails with {error}"
    answer = explorer.values[ended.local[1]]
    outcome = answer.get("outcome") if isinstance(answer, dict) else None
    return f"answers {outcome}" if outcome else "succeeds"


def _run(name: str, explorer: Explorer, judge: Judge, stop_at_first: bool) -> Explored:
    ends: Counter[str] = Counter()
    seen: set[Any] = set()

    def counting(same: Explorer, before: World, move: Move, after: World) -> Iterator[Violation]:
        became = move.became
        if became is not None and became.ended and became not in seen:
            seen.add(became)
            ends[_end(same, became)] += 1
        yield from judge(same, before, move, after)

    started = time.perf_counter()
    found = explorer.explore(counting, stop_at_first=stop_at_first)
    seconds = time.perf_counter() - started
    return Explored(
        name, found.states, found.tables, found.evaluations, seconds, found.complete, dict(sorted(ends.items())),
        frozenset(explorer.semantics.visited), tuple(found.counterexamples),
    )  # fmt: skip
