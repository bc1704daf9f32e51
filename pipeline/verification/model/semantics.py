"""What one execution does next: the States Language over JSONata, with everything that a Task may meet.

An execution's place in the machine is a *local*, a nested tuple of texts and numbers of values:

    ("at", state, input, variables, entered)
    ("in", state, input, variables, entered, locals of the branches or items)
    ("done", output)
    ("failed", error, cause)

``step`` carries out what no other execution can see. It stops before a request to the shared table, which
``exploration`` interleaves with those of other executions. A retry is not counted: a request that failed without effect
and is tried again is one that comes later, so a fault is either the loss of a response that is tried again, or the end
of all attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.transactions.ways import followers
from pipeline.verification.language.integrations import QUERY_ERROR, Integration, integration_of
from pipeline.verification.language.interned import UNDEFINED, UNKNOWN, Values
from pipeline.verification.language.machine import Machine, Scope, State
from pipeline.verification.language.syntax import CLOCK, QueryError
from pipeline.verification.model.faults import catcher_of, faults_of, last_resort, live_variables, retrier
from pipeline.verification.model.scene import Scene
from pipeline.verification.model.steps import (
    Answers,
    Effect,
    Fault,
    Local,
    Outcome,
    Path,
    Run,
    Step,
    extended,
    joined,
)

MAP_ITEMS = 3
FAULT_CAUSE = "a fault of the model"


class Semantics:
    """shared: whether other executions can see what a request (integration, arguments) reads or writes.

    modelled  the tables that requests are about are part of the model
    """

    def __init__(
        self,
        machine: Machine,
        values: Values,
        answers: Answers,
        shared: Callable[[Integration, Any], bool],
        *,
        stop_for_clock: bool = False,
        shown: Callable[[int], int] = lambda number: number,
        same_errors: bool = False,
        modelled: bool = True,
    ) -> None:
        self.machine, self.values, self.answers, self.shared = machine, values, answers, shared
        self._shown = shown
        self.scene = Scene(machine, values)
        self.visited: set[str] = set()
        self.unknown, self.nothing = values.add(UNKNOWN), values.add({})
        self.calls = {name: integration_of(state) for name, state in machine.states.items() if state["Type"] == "Task"}
        self.faults = {
            name: tuple(faults_of(machine.states[name], call, modelled=modelled)) for name, call in self.calls.items()
        }
        reads = {name: self.scene.reads(state) for name, state in machine.states.items()}
        self._enters = frozenset(name for name, own in reads.items() if "context.State.EnteredTime" in own)
        self._pauses = frozenset(
            name
            for name, state in machine.states.items()
            if stop_for_clock
            and state["Type"] == "Choice"
            and any(CLOCK in self.scene.reads({"Condition": rule.get("Condition", "")}) for rule in state["Choices"])
        )
        self._live = live_variables(machine, reads)
        self.last_resort = last_resort(machine)
        self._blind = same_errors and all(
            machine.states[name]["Type"] in ("Task", "Fail", "Wait") for name in self.last_resort
        )
        self._errors: dict[int, int] = {}

    # --- where an execution stands ------------------------------------------------------------------------------------

    def start(self, run: Run) -> Local:
        return self._enter(self.machine.starts[("", 0)], run.payload, self.nothing, run.started + run.skew)

    def _enter(self, name: str, given: int, variables: int, clock: int) -> Local:
        self.visited.add(name)
        live = self._live[name]
        kept = self.values.add({each: value for each, value in self.values[variables].items() if each in live})
        if name in self.last_resort and self._blind:
            given, kept = self._same_error(given), self._same_error(kept)
        return ("at", name, self._shown(given), self._shown(kept), clock if name in self._enters else 0)

    def _same_error(self, number: int) -> int:
        """Where every way ends in a failure and none is chosen by data, it does not matter which error led there."""
        if number not in self._errors:
            value = self.values[number]
            if isinstance(value, dict):
                value = {
                    name: "an error" if name in ("Error", "Cause") or str(each) in self.machine.states else each
                    for name, each in value.items()
                }
            self._errors[number] = self.values.add(value)
        return self._errors[number]

    def requests(self, local: Local) -> Iterator[tuple[Path, Local]]:
        """Where an execution that does not step waits: before a shared request, or for the clock."""
        if local[0] == "at":
            yield (), local
        elif local[0] == "in":
            for number, child in enumerate(local[5]):
                for path, place in self.requests(child):
                    yield (number, *path), place

    def pauses(self, place: Local) -> bool:
        return place[1] in self._pauses

    # --- steps --------------------------------------------------------------------------------------------------------

    def step(self, run: Run, local: Local, clock: int, budget: int, *, resumed: bool = False) -> list[Outcome] | None:
        """What may come next; None where the execution has ended or waits for ``request``."""
        match local[0]:
            case "at":
                return self._step_state(run, local, clock, budget, resumed)
            case "in":
                return self._step_inner(run, local, clock, budget)
            case _:
                return None

    def _step_state(self, run: Run, place: Local, clock: int, budget: int, resumed: bool) -> list[Outcome] | None:
        _kind, name, given, _variables, _entered = place
        state = self.machine.states[name]
        if name in self._pauses and not resumed:
            return None
        if name not in self.machine.jsonata and state["Type"] != "Task":
            return self._step_jsonpath(run, place, clock)
        match state["Type"]:
            case "Task":
                return self._step_task(run, place, clock, budget)
            case "Choice":
                return self._step_choice(run, place, clock)
            case "Parallel" | "Map":
                return self._open(run, place, clock)
            case "Fail":
                return [self._fail_state(run, place, clock)]
            case "Succeed":
                return self._leave(run, place, clock, state, given, "")
            case "Wait":
                try:
                    for field in ("Seconds", "Timestamp"):
                        if field in state:
                            self.scene.fill(run, place, clock, state[field])
                except QueryError as error:
                    return self._error(run, place, clock, QUERY_ERROR, str(error))
        return self._leave(run, place, clock, state, given, "")

    def _step_task(self, run: Run, place: Local, clock: int, budget: int) -> list[Outcome] | None:
        name = place[1]
        call = self.calls[name]
        try:
            arguments = self.arguments(run, place, clock)
        except QueryError as error:
            return self._error(run, place, clock, QUERY_ERROR, str(error))
        value = self.values[arguments]
        if self.values.known(arguments) and self.shared(call, value):
            return None
        effect = () if call.is_function else (Effect(call, arguments),)
        outcomes = []
        for answer in self.answers(name, call, value):
            if answer.cost <= budget:
                marks = frozenset({"excused"}) if answer.cost else frozenset[str]()
                for after in self.complete(run, place, clock, self.values.add(answer.value), answer.label):
                    outcomes.append(extended(after, cost=answer.cost, effects=effect, marks=marks))
        if budget:
            for fault in self.faults[name]:
                if fault.retried or (fault.happened and not effect):
                    # Tried again without an effect between is the same as success. A message is sent twice by it.
                    if not (fault.retried and fault.happened and call.service in ("sqs", "sns")):
                        continue
                    for after in self.complete(run, place, clock, self.nothing, f"after {fault.error} was tried again"):
                        outcomes.append(extended(after, cost=1, effects=effect * 2))
                    continue
                for after in self.fail(run, place, clock, fault):
                    outcomes.append(extended(after, effects=effect if fault.happened else ()))
        return outcomes

    def fail(self, run: Run, place: Local, clock: int, fault: Fault) -> list[Outcome]:
        """The end of a request's attempts by ``fault``; its effect is the caller's to apply."""
        name = place[1]
        marks = frozenset({"excused"} if fault.excuse else ())
        if name in self.last_resort or self.calls[name].service == "sqs":
            marks |= {name}
        how = "loses its response" if fault.happened else "fails"
        outcomes = self._error(run, place, clock, fault.error, FAULT_CAUSE, how=how, retry=False)
        return [extended(each, cost=1, marks=marks) for each in outcomes]

    def _step_choice(self, run: Run, place: Local, clock: int) -> list[Outcome]:
        _kind, name, given, _variables, _entered = place
        state = self.machine.states[name]
        maybe: list[Outcome] = []
        for rule in state["Choices"]:
            try:
                held = self.scene.fill(run, place, clock, rule["Condition"])
                value = self.values[held]
                if value is not True and value is not False and self.values.known(held):
                    raise QueryError(f"a Condition of {name} gave no boolean, saw: {str(value)[:100]!r}")
            except QueryError as error:
                return maybe + self._error(run, place, clock, QUERY_ERROR, str(error))
            if value is not False:
                chosen = self._leave(run, place, clock, rule, given, rule["Next"])
                if value is True:
                    return maybe + chosen
                maybe += chosen
        if "Default" in state:
            return maybe + self._leave(run, place, clock, state, given, state["Default"])
        return maybe + self._error(run, place, clock, "States.NoChoiceMatched", "no rule held and there is no Default")

    def _step_jsonpath(self, run: Run, place: Local, clock: int) -> list[Outcome]:
        _kind, name, given, _variables, _entered = place
        state = self.machine.states[name]
        known = _unknown(state)
        match state["Type"]:
            case "Choice":
                outcomes = []
                for _kind, after in followers(state):
                    outcomes += self._leave(run, place, clock, known, given, after)
                if "Default" not in state:
                    outcomes += self._error(
                        run, place, clock, "States.NoChoiceMatched", "no rule may hold, and there is no Default"
                    )
                return outcomes
            case "Fail":
                return [self._fail_state(run, place, clock)]
            case "Parallel" | "Map":
                return self._open(run, place, clock)
        following = "" if state["Type"] == "Succeed" else state.get("Next", "")
        return self._leave(run, place, clock, {**known, "Next": following}, given, following)

    def _fail_state(self, run: Run, place: Local, clock: int) -> Outcome:
        state, found = self.machine.states[place[1]], []
        for field in ("Error", "Cause"):
            try:
                value: Any = self.values[self.scene.fill(run, place, clock, state.get(field, ""))]
            except QueryError as problem:
                return Outcome((Step(place[1], "ends"),), ("failed", QUERY_ERROR, self.values.add(str(problem))))
            found.append(value)
        error, cause = found
        return Outcome((Step(place[1], "ends"),), ("failed", str(error), self.values.add(cause)))

    # --- inner machines -----------------------------------------------------------------------------------------------

    def _open(self, run: Run, place: Local, clock: int) -> list[Outcome]:
        name = place[1]
        state = self.machine.states[name]
        scopes = self.machine.branches(name)
        if state["Type"] == "Parallel":
            try:
                inside = self._given(run, place, clock, state)
            except QueryError as error:
                return self._error(run, place, clock, QUERY_ERROR, str(error))
            starts = [(scope, inside) for scope in scopes]
            return [self._opened(place, starts, clock)]
        try:
            items = self._items(run, place, clock, state)
        except QueryError as error:
            return self._error(run, place, clock, QUERY_ERROR, str(error))
        if items is None:
            return [self._opened(place, [], clock), self._opened(place, [(scopes[0], self.unknown)], clock)]
        return [self._opened(place, [(scopes[0], item) for item in items[:MAP_ITEMS]], clock)]

    def _opened(self, place: Local, starts: Sequence[tuple[Scope, int]], clock: int) -> Outcome:
        _kind, name, given, variables, entered = place
        children = tuple(self._enter(self.machine.starts[scope], inside, variables, clock) for scope, inside in starts)
        return Outcome((Step(name, "enters"),), ("in", name, given, variables, entered, children))

    def _given(self, run: Run, place: Local, clock: int, state: State) -> int:
        if place[1] not in self.machine.jsonata:
            return self.unknown
        return self.scene.fill(run, place, clock, state["Arguments"]) if "Arguments" in state else int(place[2])

    def _items(self, run: Run, place: Local, clock: int, state: State) -> list[int] | None:
        if place[1] not in self.machine.jsonata or "ItemReader" in state:
            return None
        number = self.scene.fill(run, place, clock, state["Items"]) if "Items" in state else int(place[2])
        value = self.values[number]
        if not self.values.known(number):
            return None
        if not isinstance(value, list):
            raise QueryError(f"Items of {place[1]} gave no array, saw: {str(value)[:100]!r}")
        items = []
        for index, item in enumerate(value[:MAP_ITEMS]):
            if "ItemSelector" in state:
                roots = {
                    **self.scene.roots(run, place, clock),
                    "context.Map.Item": self.values.add({"Index": index, "Value": item}),
                }
                items.append(self.scene.language.fill(state["ItemSelector"], roots))
            else:
                items.append(self.values.add(item))
        return items

    def _step_inner(self, run: Run, local: Local, clock: int, budget: int) -> list[Outcome] | None:
        children = local[5]
        for number, child in enumerate(children):
            outcomes = self.step(run, child, clock, budget)
            if outcomes is not None:
                return [each for outcome in outcomes for each in self.replaced(run, local, (number,), outcome, clock)]
        if all(child[0] == "done" for child in children):
            return self._close(run, local, clock)
        return None

    def _close(self, run: Run, local: Local, clock: int) -> list[Outcome]:
        _kind, name, given, variables, entered, children = local
        place = ("at", name, given, variables, entered)
        result = self.values.add([self.values[child[1]] for child in children])
        return self._finish(run, place, clock, result, ())

    def replaced(self, run: Run, local: Local, path: Path, outcome: Outcome, clock: int) -> list[Outcome]:
        """``local`` with what became of the execution at ``path``; a branch that failed takes the others with it."""
        if not path:
            return [outcome]
        _kind, name, given, variables, entered, children = local
        number, *rest = path
        inner = self.replaced(run, children[number], tuple(rest), outcome, clock)
        result = []
        for each in inner:
            if each.local[0] == "failed":
                place = ("at", name, given, variables, entered)
                cause = self.values[each.local[2]]
                after = self._error(run, place, clock, each.local[1], cause if isinstance(cause, str) else str(cause))
                result += [joined(each, more) for more in after]
            else:
                changed = (*children[:number], each.local, *children[number + 1 :])
                result.append(extended(each, local=("in", name, given, variables, entered, changed)))
        return result

    # --- results ------------------------------------------------------------------------------------------------------

    def arguments(self, run: Run, place: Local, clock: int) -> int:
        """The arguments of the request of the Task at ``place``. Raises QueryError."""
        state = self.machine.states[place[1]]
        if place[1] not in self.machine.jsonata:
            return self.unknown
        return self.scene.fill(run, place, clock, state["Arguments"]) if "Arguments" in state else int(place[2])

    def complete(self, run: Run, place: Local, clock: int, result: int, label: str = "") -> list[Outcome]:
        """The Task at ``place`` has its result."""
        if place[1] not in self.machine.jsonata:
            result = self.unknown
        return self._finish(run, place, clock, result, (Step(place[1], "succeeds", label),))

    def refuse(self, run: Run, place: Local, clock: int, error: str, cause: str) -> list[Outcome]:
        """The service answers the Task's request with an error of its own."""
        return self._error(run, place, clock, error, cause)

    def _finish(self, run: Run, place: Local, clock: int, result: int, steps: tuple[Step, ...]) -> list[Outcome]:
        state = self.machine.states[place[1]]
        fields = state if place[1] in self.machine.jsonata else _unknown(state)
        return self._leave(run, place, clock, fields, result, state.get("Next", ""), result=result, steps=steps)

    def _leave(
        self,
        run: Run,
        place: Local,
        clock: int,
        fields: State,
        default: int,
        following: str,
        *,
        result: int = UNDEFINED,
        error: int = UNDEFINED,
        steps: tuple[Step, ...] | None = None,
    ) -> list[Outcome]:
        """Output and Assign of ``fields``, then the next state or the end of the machine."""
        following = following or (fields.get("Next", "") if fields.get("Type") not in ("Choice", "Succeed") else "")
        steps = (Step(place[1], "enters"),) if steps is None else steps
        try:
            roots = self.scene.roots(run, place, clock, result, error)
            output = self.scene.language.fill(fields["Output"], roots) if "Output" in fields else default
            variables = self.scene.assigned(fields.get("Assign"), place[3], roots)
        except QueryError as problem:
            if error != UNDEFINED:
                return [Outcome(steps, ("failed", QUERY_ERROR, self.values.add(str(problem))))]
            return [
                joined(Outcome(steps, place), each)
                for each in self._error(run, place, clock, QUERY_ERROR, str(problem))
            ]
        local = self._enter(following, output, variables, clock) if following else ("done", output)
        return [Outcome(steps, local)]

    def _error(
        self, run: Run, place: Local, clock: int, error: str, cause: str, *, how: str = "fails", retry: bool = True
    ) -> list[Outcome]:
        """An error of a state: another try where it has one, and its catcher, or the end of the machine."""
        name = place[1]
        state = self.machine.states[name]
        steps = (Step(name, how, error),)
        outcomes = []
        if retry and state["Type"] in ("Parallel", "Map") and retrier(state, error) is not None:
            outcomes.append(Outcome((Step(name, "is tried again", error),), place))
        catcher = catcher_of(state, error)
        if catcher is None:
            return [*outcomes, Outcome(steps, ("failed", error, self.values.add(cause)))]
        output = self.values.add({"Error": error, "Cause": cause})
        fields = state["Catch"][catcher]
        if name not in self.machine.jsonata:
            fields = _unknown(fields)
        return outcomes + self._leave(run, place, clock, fields, output, fields["Next"], error=output, steps=steps)


def _unknown(fields: State) -> State:
    """What a state, a rule or a catcher in JSONPath gives: its paths are not evaluated."""
    assigned = {name.removesuffix(".$"): UNKNOWN for name in fields.get("Assign", {})}
    return {"Output": UNKNOWN, "Assign": assigned, "Next": fields.get("Next", "")}
