"""A definition in the Amazon States Language, read once: every state by its name, and what the model does not cover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import VerificationError
from pipeline.transactions.ways import followers

State = Mapping[str, Any]
Scope = tuple[str, int]
"""A state machine inside a Parallel or a Map: the outer state and which of its branches; ("", 0) is the whole."""

WHOLE: Scope = ("", 0)
TYPES = ("Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map")


@dataclass(frozen=True, slots=True)
class Machine:
    """states: every state, also those of branches, by name, which is unique in a definition.

    scopes      name of a state → the machine that it belongs to
    starts      the first state of each machine
    jsonata     names of the states that are written in JSONata; the others are in JSONPath
    unmodelled  constructs whose meaning the model does not have, each as a sentence
    """

    definition: Mapping[str, Any]
    states: Mapping[str, State]
    scopes: Mapping[str, Scope]
    starts: Mapping[Scope, str]
    jsonata: frozenset[str]
    unmodelled: tuple[str, ...]

    def branches(self, name: str) -> list[Scope]:
        return [scope for scope in self.starts if scope[0] == name]

    def members(self, scope: Scope) -> list[str]:
        return [name for name, own in self.scopes.items() if own == scope]


@dataclass(slots=True)
class _Reading:
    states: dict[str, State] = field(default_factory=dict)
    scopes: dict[str, Scope] = field(default_factory=dict)
    starts: dict[Scope, str] = field(default_factory=dict)
    jsonata: set[str] = field(default_factory=set)
    unmodelled: dict[str, None] = field(default_factory=dict)


def read_machine(definition: Any) -> Machine:
    """Raises VerificationError, naming the state, for what is no definition at all."""
    reading = _Reading()
    if not isinstance(definition, dict):
        raise _wrong("it is no JSON object", definition)
    _read(definition, WHOLE, definition.get("QueryLanguage", "JSONPath"), reading)
    return Machine(
        definition,
        reading.states,
        reading.scopes,
        reading.starts,
        frozenset(reading.jsonata),
        tuple(reading.unmodelled),
    )


def _read(machine: Any, scope: Scope, language: str, reading: _Reading) -> None:
    where = f"{scope[0]}, branch {scope[1] + 1}" if scope[0] else "the definition"
    if not isinstance(machine, dict) or not isinstance(machine.get("States"), dict) or not machine["States"]:
        raise _wrong(f"{where} has no States", machine)
    start = machine.get("StartAt")
    if not isinstance(start, str) or start not in machine["States"]:
        raise _wrong(f"{where} has no StartAt that is one of its states", start)
    reading.starts[scope] = start
    for name, state in machine["States"].items():
        if name in reading.states:
            raise _wrong("two states have one name", name)
        if not isinstance(state, dict) or state.get("Type") not in TYPES:
            raise _wrong(f"the state {name} has no Type of {', '.join(TYPES)}", state)
        reading.states[name], reading.scopes[name] = state, scope
        _require_shape(name, state)
        own = state.get("QueryLanguage", language)
        if own == "JSONata":
            reading.jsonata.add(name)
        else:
            reading.unmodelled["JSONPath data flow: paths are not evaluated, so every rule of a Choice may hold"] = None
        for target in (after for _kind, after in followers(state)):
            if not isinstance(target, str) or target not in machine["States"]:
                raise _wrong(f"the state {name} leads to a state that is not in its machine", target)
        if state["Type"] in ("Task", "Pass", "Wait", "Parallel", "Map") and ("Next" in state) == bool(state.get("End")):
            raise _wrong(f"the state {name} needs either Next or End", state.get("Next"))
        _note_unmodelled(name, state, reading)
        for number, inner in enumerate(inner_machines(state)):
            _read(inner, (name, number), language if "QueryLanguage" not in state else own, reading)


def _require_shape(name: str, state: State) -> None:
    """Raise VerificationError for a field that is no list of objects, or no object, where it has to be one."""
    for field_name in ("Branches", "Catch", "Choices", "Retry"):
        value = state.get(field_name, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise _wrong(f"{field_name} of the state {name} is no list of objects", value)
    for field_name in ("ItemProcessor", "ItemReader", "Iterator", "ResultWriter"):
        if not isinstance(state.get(field_name, {}), dict):
            raise _wrong(f"{field_name} of the state {name} is no object", state[field_name])
    if not isinstance(state.get("ItemProcessor", {}).get("ProcessorConfig", {}), dict):
        raise _wrong(f"ProcessorConfig of the state {name} is no object", state["ItemProcessor"]["ProcessorConfig"])


def _note_unmodelled(name: str, state: State, reading: _Reading) -> None:
    if state["Type"] == "Map":
        processor = state.get("ItemProcessor", state.get("Iterator", {}))
        if processor.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED" or "ItemReader" in state:
            text = f"{name}: a distributed Map (item reader, batches, tolerated failures); one item stands for all"
            reading.unmodelled[text] = None
    if "RetryCount" in str(state):
        reading.unmodelled[f"{name}: $states.context.State.RetryCount; attempts are not counted"] = None


def inner_machines(state: State) -> Iterator[Any]:
    """The machines inside a Parallel or a Map."""
    match state["Type"]:
        case "Parallel":
            yield from state.get("Branches", [])
        case "Map":
            yield state.get("ItemProcessor", state.get("Iterator"))


def expressions(value: Any) -> Iterator[str]:
    """The JSONata expressions in a field, without their brackets."""
    match value:
        case str() if value.startswith("{%") and value.endswith("%}"):
            yield value[2:-2].strip()
        case dict():
            for each in value.values():
                yield from expressions(each)
        case list():
            for each in value:
                yield from expressions(each)


def own_fields(state: State) -> dict[str, Any]:
    """A state without the machines inside it."""
    return {name: value for name, value in state.items() if name not in ("Branches", "ItemProcessor", "Iterator")}


def _wrong(why: str, offender: Any) -> VerificationError:
    return VerificationError(
        "the workflow was not verified",
        f"{why}, saw: {str(offender)[:200]!r}",
        "Give a definition in the Amazon States Language, as `aws stepfunctions describe-state-machine` shows it.",
    )
