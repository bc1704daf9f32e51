"""Every interleaving of a few executions over one table, breadth first, so that the first trace to a state is shortest.

A state of the world is eight small numbers: the executions, the table, the messages sent, requests that are still under
way, the clock, the clock's moves and the faults that are left. Each number stands for a value that exists once, and
what an execution does next is computed once for each execution, table and clock: most states cost a few look-ups.

Three reductions keep the number of states small and lose nothing:

- what no other execution can see happens at once (see ``semantics``);
- an execution begins with its first request, and executions are numbered in that order, since they differ in their
  payload alone;
- an execution that dies is one that takes no further step, so every state is also one where any of them has died.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.verification.language.integrations import Integration
from pipeline.verification.model.carried_out import EPOCH, Services
from pipeline.verification.model.semantics import Semantics
from pipeline.verification.model.steps import Local, Outcome, Run, Step
from pipeline.verification.model.world import (
    Abstraction,
    Bounds,
    Counterexample,
    Execution,
    Explored,
    Move,
    Violation,
    World,
)
from pipeline.verification.table.requests import Refusal

_UPDATE = Integration("dynamodb", "updateItem", "DynamoDB")
Judge = Callable[["Explorer", World, Move, World], Iterator[Violation]]
"""(explorer, before, move, after) → the promises that the move breaks.

Called for moves that change the table, send a message or end an execution: no other can break one.
"""


class Explorer:
    """Explores a machine within bounds."""

    def __init__(self, semantics: Semantics, bounds: Bounds, abstraction: Abstraction) -> None:
        self.semantics, self.bounds, self.values = semantics, bounds, semantics.values
        self.abstraction, self.services = abstraction, Services(semantics.values, abstraction)
        self.payloads = {name: self.values.add(value) for name, value in bounds.payloads.items()}
        self.executions: list[Execution] = []
        self._numbers: dict[Execution, int] = {}
        self._moves: dict[tuple[int, ...], list[tuple[Move, int, int, int | None, int]]] = {}
        self._begun: dict[tuple[Any, ...], list[tuple[Move, int, int, int | None, int]]] = {}
        self._ways_on: dict[tuple[Any, ...], list[tuple[Move, int, int]]] = {}
        self._arguments: dict[tuple[Any, ...], int] = {}
        self._notes: dict[tuple[Any, ...], int] = {}
        self._settled: dict[tuple[Any, ...], list[Outcome]] = {}

    # --- numbers ------------------------------------------------------------------------------------------------------

    def number(self, execution: Execution) -> int:
        if execution.ended:
            execution = self._past(execution)
        found = self._numbers.get(execution)
        if found is None:
            found = self._numbers[execution] = len(self.executions)
            self.executions.append(execution)
        return found

    def _past(self, execution: Execution) -> Execution:
        """Of an execution that has ended, only what it answered to which payload matters."""
        if execution.local[0] == "failed":
            return Execution(Run(-1, 0, execution.run.payload, 0, 0), ("failed", "", 0), frozenset())
        answer = self.values.add(self.abstraction.remembered(self.values[execution.local[1]]))
        return Execution(Run(-1, 0, execution.run.payload, 0, 0), ("done", answer), frozenset())

    def table(self, world: World) -> Mapping[str, Any]:
        items: Mapping[str, Any] = self.values[world.table]
        return items

    def sent(self, world: World) -> list[Any]:
        messages: list[Any] = self.values[world.sent]
        return messages

    # --- exploring ----------------------------------------------------------------------------------------------------

    def first(self) -> World:
        return World((), self.values.add({}), self.values.add([]), (), 0, self.bounds.ticks, self.bounds.faults)

    def explore(self, judge: Judge, *, stop_at_first: bool = True, first: World | None = None) -> Explored:
        """Breadth first from ``first``. Each promise is reported once, with its shortest trace."""
        # Hundreds of thousands of tuples that all stay: looking for garbage among them takes a third of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._explore(judge, stop_at_first, first)
        finally:
            if collecting:
                gc.enable()

    def _explore(self, judge: Judge, stop_at_first: bool, first: World | None) -> Explored:
        found = Explored()
        start = first or self.first()
        parents: dict[World, tuple[World, Move] | None] = {start: None}
        queue = deque([start])
        broken: set[str] = set()
        while queue:
            world = queue.popleft()
            for move, after in self.moves(world):
                is_new = after not in parents
                if is_new:
                    parents[after] = (world, move)
                became = move.became
                # Also where the world is known: a move that forgets how it came to its end may still break a promise.
                if world.table != after.table or (became is not None and (move.sent or became.ended)):
                    for violation in judge(self, world, move, after):
                        if violation.promise not in broken:
                            broken.add(violation.promise)
                            found.counterexamples.append(Counterexample(violation, (*_way(parents, world), move)))
                if (broken and stop_at_first) or len(parents) >= self.bounds.states:
                    found.complete = bool(broken and stop_at_first)
                    queue.clear()
                    break
                if is_new:
                    queue.append(after)
        found.states = len(parents)
        found.tables = len({world.table for world in parents})
        found.evaluations = self.semantics.scene.language.evaluations
        return found

    def moves(self, world: World) -> Iterator[tuple[Move, World]]:
        for index, number in enumerate(world.executions):
            for move, after, table, late, cost in self._of_execution(number, world.table, world.clock):
                if cost <= world.faults:
                    yield move, self._after(world, index, move, after, table, late, cost)
        if len(world.executions) < self.bounds.executions:
            count = len(world.executions)
            for name in self._may_begin(world):
                for move, after, table, late, cost in self._beginnings(count, name, world.table, world.clock):
                    if cost <= world.faults:
                        yield move, self._after(world, count, move, after, table, late, cost)
        for at, request in enumerate(world.under_way):
            _result, table = self.services.carry_out(request, world.table)
            rest = world.under_way[:at] + world.under_way[at + 1 :]
            integration, _arguments = self.services.requests[request]
            move = Move(-1, (), f"the late {integration} reaches the table")
            yield move, world._replace(table=self.services.at_age(table, world.clock), under_way=rest)
        if world.ticks and world.executions:
            for by in self.bounds.clock:
                clock = world.clock + by
                table = self.services.at_age(world.table, clock)
                yield (
                    Move(-1, (), f"{by / 1000:g} s pass"),
                    world._replace(table=table, clock=clock, ticks=world.ticks - 1),
                )
        expiry = self.abstraction.expiry
        for place, item in self.table(world).items() if expiry else ():
            if expiry in item and place in self.abstraction.expires:
                rest_items = {name: each for name, each in self.table(world).items() if name != place}
                yield Move(-1, (), f"TTL deletes the item {place}"), world._replace(table=self.values.add(rest_items))

        if self.abstraction.swept is not None:
            yield from self._sweeps(world, self.abstraction.swept)

    def _sweeps(
        self, world: World, swept: Callable[[str, Mapping[str, Any], int], tuple[Any, Any] | None]
    ) -> Iterator[tuple[Move, World]]:
        """A lost claim is taken; it may be given back at any time later, or never."""
        for place, item in self.table(world).items():
            found = swept(place, item, EPOCH + world.clock)
            if found is not None:
                take, give_back = (self.services.number(_UPDATE, self.values.add(each)) for each in found)
                _result, table = self.services.carry_out(take, world.table)
                after = world._replace(
                    table=self.services.at_age(table, world.clock),
                    under_way=tuple(sorted((*world.under_way, give_back))),
                )
                yield Move(-1, (), "redrive --lost takes the claim"), after

    def _may_begin(self, world: World) -> Iterator[str]:
        """The payloads that one more execution may have."""
        begun = {self.executions[each].run.payload for each in world.executions}
        alike = self.bounds.alike
        for name, payload in self.payloads.items():
            before = [each for each in alike[: alike.index(name)] if each in self.payloads] if name in alike else []
            # Twins are runs of one execution, so they have one input.
            twin = not self.bounds.twins or not begun or payload in begun
            if twin and all(self.payloads[each] in begun for each in before):
                yield name

    def _beginnings(
        self, count: int, payload_name: str, table: int, clock: int
    ) -> list[tuple[Move, int, int, int | None, int]]:
        """As ``_of_execution``, for an execution that begins, as one more than ``count``, with its first request."""
        key = (count, payload_name, table, clock)
        known = self._begun.get(key)
        if known is None:
            known = self._begun[key] = list(self._begin(count, payload_name, table, clock))
        return known

    def _begin(
        self, count: int, payload_name: str, table: int, clock: int
    ) -> Iterator[tuple[Move, int, int, int | None, int]]:
        bounds, index = self.bounds, self.bounds.first + count
        # Names may be used again, so all executions have one; what follows it is the UUID of their ARN.
        name = "execution:A" if bounds.twins else f"execution:{chr(65 + index)}"
        skew = 0 if bounds.twins else index
        run = Run(index, self.values.add(name), self.payloads[payload_name], EPOCH + clock, skew)
        note = f"begins with {payload_name}"
        for outcome in self.settle(run, self.semantics.start(run), clock, bounds.faults):
            execution = Execution(run, outcome.local, outcome.marks)
            sent, number = self.services.sent(run, outcome.effects), self.number(execution)
            if execution.ended:
                yield Move(index, outcome.steps, note, execution, sent), number, table, None, outcome.cost
                continue
            for more, after, changed, late, cost in self._of_execution(number, table, clock):
                steps, all_sent = (*outcome.steps, *more.steps), (*sent, *more.sent)
                yield Move(index, steps, note, more.became, all_sent), after, changed, late, outcome.cost + cost

    def _after(
        self, world: World, index: int, move: Move, execution: int, table: int, late: int | None, cost: int
    ) -> World:
        """index: which of the world's executions moved. Executions stand in the order of their numbers."""
        executions = tuple(sorted((*world.executions[:index], execution, *world.executions[index + 1 :])))
        under_way = world.under_way if late is None else tuple(sorted((*world.under_way, late)))
        sent = self._with_sent(world.sent, move)
        return World(executions, table, sent, under_way, world.clock, world.ticks, world.faults - cost)

    def _with_sent(self, sent: int, move: Move) -> int:
        """The notes after a move: those of an execution that has ended are forgotten, since they were judged."""
        if move.became is None:
            return sent
        ended = move.became.ended and not self.bounds.twins
        if not move.sent and not (ended and self.values[sent]):
            return sent
        key = (sent, move.sent, move.became.run.name if ended else -1)
        if key not in self._notes:
            notes = [*self.values[sent], *(self.values[each] for each in move.sent)]
            gone = self.values[move.became.run.name] if ended else None
            self._notes[key] = self.values.add(sorted((each for each in notes if each[0] != gone), key=str))
        return self._notes[key]

    # --- one execution ------------------------------------------------------------------------------------------------

    def settle(self, run: Run, local: Local, clock: int, budget: int, *, resumed: bool = False) -> list[Outcome]:
        """Where an execution may stand when it has done all that no other can see."""
        key = (run, local, clock, budget, resumed)
        known = self._settled.get(key)
        if known is not None:
            return known
        done: dict[tuple[Any, ...], Outcome] = {}
        seen: set[tuple[Any, ...]] = set()
        pending = [Outcome((), local)]
        while pending:
            now = pending.pop(0)
            outcomes = self.semantics.step(
                run, now.local, EPOCH + clock, budget - now.cost, resumed=resumed and now.local == local
            )
            if outcomes is None:
                done.setdefault((now.local, now.cost, now.effects, now.marks), now)
                continue
            for each in outcomes:
                after = Outcome(
                    (*now.steps, *each.steps), each.local, now.cost + each.cost, (*now.effects, *each.effects),
                    now.marks | each.marks,
                )  # fmt: skip
                mark = (after.local, after.cost, after.effects, after.marks)
                if mark not in seen:
                    seen.add(mark)
                    pending.append(after)
        known = self._settled[key] = list(done.values())
        return known

    def _of_execution(self, number: int, table: int, clock: int) -> list[tuple[Move, int, int, int | None, int]]:
        """(move, execution, table, late request, faults) of each move of one execution, whatever faults it takes."""
        key = (number, table, clock)
        known = self._moves.get(key)
        if known is None:
            known = self._moves[key] = list(self._compute(number, table, clock))
        return known

    def _compute(self, number: int, table: int, clock: int) -> Iterator[tuple[Move, int, int, int | None, int]]:
        execution = self.executions[number]
        if execution.ended:
            return
        for path, place in self.semantics.requests(execution.local):
            if self.semantics.pauses(place):
                for move, after, cost in self._goes_on(number, path, place, ("resumed",), clock):
                    yield move, after, table, None, cost
                continue
            request = self._asked(execution.run, place, clock)
            result, changed = self.services.carry_out(request, table)
            for way, then, late in self._ways(place, request, result, table, changed):
                for move, after, cost in self._goes_on(number, path, place, way, clock):
                    yield move, after, then, late, cost

    def _asked(self, run: Run, place: Local, clock: int) -> int:
        key = (run, place, clock)
        if key not in self._arguments:
            arguments = self.semantics.arguments(run, place, EPOCH + clock)
            self._arguments[key] = self.services.number(self.semantics.calls[place[1]], arguments)
        return self._arguments[key]

    def _ways(
        self, place: Local, request: int, result: Any, table: int, changed: int
    ) -> Iterator[tuple[tuple[Any, ...], int, int | None]]:
        """(how it goes on, table, late request) of everything that can become of a request to the table."""
        yield ("result", result), changed, None
        faults = self.semantics.faults[place[1]]
        for number, fault in enumerate(faults):
            if not fault.happened:
                yield ("fault", number), table, None
            elif changed != table:
                yield ("lost" if fault.retried else "fault", number), changed, None
        if changed != table and not any(fault.retried for fault in faults):
            # The service's own client tries again below Step Functions.
            again, twice = self.services.carry_out(request, changed)
            yield ("twice", again), twice, None
        if self.bounds.late and self.semantics.calls[place[1]].action != "getItem":
            for number, fault in enumerate(faults):
                if fault.happened and not fault.retried:
                    yield ("late", number), table, request

    def _goes_on(
        self, number: int, path: tuple[int, ...], place: Local, way: tuple[Any, ...], clock: int
    ) -> list[tuple[Move, int, int]]:
        """(move, execution, faults): where an execution may stand after its request went that way."""
        key = (number, path, way, clock)
        known = self._ways_on.get(key)
        if known is None:
            execution = self.executions[number]
            outcomes = self._outcomes(execution.run, place, way, EPOCH + clock)
            known = self._ways_on[key] = [each for one in outcomes for each in self._then(execution, path, one, clock)]
        return known

    def _outcomes(self, run: Run, place: Local, way: tuple[Any, ...], now: int) -> list[Outcome]:
        semantics, name = self.semantics, place[1]
        match way:
            case ("resumed",):
                return semantics.step(run, place, now, self.bounds.faults, resumed=True) or []
            case ("result", result):
                return self._answered(run, place, now, result)
            case ("twice", result):
                step = Step(name, "is carried out twice")
                return [_later(each, (step, *each.steps), 1) for each in self._answered(run, place, now, result)]
            case ("lost", index):
                return [Outcome((Step(name, "loses its response", semantics.faults[name][index].error),), place, 1)]
            case ("late", index):
                fault = semantics.faults[name][index]
                step = Step(name, "is given up while its request is under way", fault.error)
                return [_later(each, (step, *each.steps[1:]), 0) for each in semantics.fail(run, place, now, fault)]
            case (_, index):
                return semantics.fail(run, place, now, semantics.faults[name][index])
        raise AssertionError(way)

    def _answered(self, run: Run, place: Local, now: int, result: Any) -> list[Outcome]:
        if isinstance(result, Refusal):
            call = self.semantics.calls[place[1]]
            return self.semantics.refuse(run, place, now, f"{call.prefix}.{result.error}", result.cause)
        return self.semantics.complete(run, place, now, result)

    def _then(
        self, execution: Execution, path: tuple[int, ...], outcome: Outcome, clock: int
    ) -> Iterator[tuple[Move, int, int]]:
        run, faults = execution.run, self.bounds.faults
        for placed in self.semantics.replaced(run, execution.local, path, outcome, EPOCH + clock):
            if placed.cost > faults:
                continue
            for settled in self.settle(run, placed.local, clock, faults - placed.cost):
                marks = execution.marks | placed.marks | settled.marks
                became = Execution(run, settled.local, marks)
                sent = self.services.sent(run, (*placed.effects, *settled.effects))
                move = Move(run.index, (*placed.steps, *settled.steps), became=became, sent=sent)
                yield move, self.number(became), placed.cost + settled.cost

    def notes(self, world: World, move: Move, run: Run) -> list[Any]:
        """What was noted so far of ``run``, which moved; the move included."""
        name, noted = self.values[run.name], [*self.values[world.sent], *(self.values[each] for each in move.sent)]
        return [note for whose, note in noted if whose == name]


def _way(parents: Mapping[World, tuple[World, Move] | None], world: World) -> tuple[Move, ...]:
    """The moves of the shortest way to a world."""
    moves: list[Move] = []
    while (before := parents[world]) is not None:
        world, move = before
        moves.append(move)
    return tuple(reversed(moves))


def _later(outcome: Outcome, steps: tuple[Step, ...], cost: int) -> Outcome:
    return Outcome(steps, outcome.local, outcome.cost + cost, outcome.effects, outcome.marks)
