"""State machine definitions that Step Functions rejects.

cfn-lint's E3601 checks the structure of a definition that is an object or a literal string. These rules also read other
forms (Fn::Sub, Fn::Join, DefinitionSubstitutions, SAM), and follow the transitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._states import Level, Machine, State, machines
from ._template import STATE_MACHINES, Finding, TemplateRule, View, as_list, is_known

_TERMINAL = frozenset({"Succeed", "Fail"})
_REQUIRED = {
    "Task": ("Resource",),
    "Choice": ("Choices",),
    "Parallel": ("Branches",),
    "Pass": (),
    "Wait": (),
    "Map": (),
    "Succeed": (),
    "Fail": (),
}
_JSONPATH_ONLY = ("InputPath", "OutputPath", "Parameters", "ResultPath", "ResultSelector", "ItemsPath", "SecondsPath")
_JSONATA_ONLY = ("Arguments", "Output")


def _targets(state: State) -> Iterator[tuple[str, Any]]:
    """Every transition of a state, by the field that makes it."""
    body = state.body
    for name in ("Next", "Default"):
        if name in body:
            yield name, body[name]
    for name in ("Choices", "Catch"):
        for i, entry in enumerate(as_list(body.get(name))):
            if isinstance(entry, dict) and "Next" in entry:
                yield f"{name}[{i}]/Next", entry["Next"]


class DefinitionRefused(TemplateRule):
    id = "E9560"
    shortdesc = "A state machine definition that Step Functions rejects"
    description = (
        "The definition is not JSON, a transition has no target, two states have one name, a state lacks a transition "
        "or a required field, or a field belongs to the other query language: InvalidDefinition: Invalid State Machine "
        "Definition."
    )
    source_url = "https://states-language.net/spec.html"
    tags = ("resources", "stepfunctions")
    concerns = STATE_MACHINES

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            if machine.fault:
                yield Finding(machine.path, f"The definition cannot be parsed: {machine.fault}")
            for level in machine.levels:
                yield from self._level(machine, level)
            yield from self._repeated(machine)

    def _repeated(self, machine: Machine) -> Iterator[Finding]:
        """Names are unique in the whole machine, with those of branches and item processors."""
        seen: set[str] = set()
        for state in machine.states:
            if state.name in seen:
                yield Finding(state.path, f"Duplicate State name: {state.name} at {state.where}")
            seen.add(state.name)

    def _level(self, machine: Machine, level: Level) -> Iterator[Finding]:
        names = {state.name for state in level.states}
        start = level.definition.get("StartAt")
        if not names:
            if not machine.is_plain and not level.definition.get("States"):
                yield Finding(level.path, "The definition has no States")
            return
        if not machine.is_plain and is_known(start) and (not isinstance(start, str) or start not in names):
            yield Finding(level.path, f"StartAt names {start!r}, which is not one of its states")
        ends = False
        for state in level.states:
            ends = ends or "End" in state.body or state.type in _TERMINAL or state.type not in _REQUIRED
            for field, target in _targets(state):
                if isinstance(target, str) and is_known(target) and target not in names:
                    yield Finding(state.path, f"Missing 'Next' target: {target} at {state.where}/{field}")
            if not machine.is_plain:
                yield from self._shape(state)
        goes_on = [[target for _, target in _targets(state)] for state in level.states]
        if not ends and all(goes_on) and all(isinstance(t, str) and t in names for each in goes_on for t in each):
            yield Finding(level.path, "The workflow has no terminal state (End, Succeed or Fail)")

    def _shape(self, state: State) -> Iterator[Finding]:
        """The checks of E3601, for definitions that it does not read."""
        kind, body, where = state.type, state.body, state.where
        if not is_known(kind):
            return
        if kind not in _REQUIRED:
            yield Finding(state.path, f"{kind or 'no type'!r} is not a state type at {where}")
            return
        for name in _REQUIRED[kind]:
            if name not in body:
                yield Finding(state.path, f"{name} is required at {where}")
        if kind not in _TERMINAL and kind != "Choice" and ("Next" in body) == ("End" in body):
            yield Finding(state.path, f"Exactly one of Next and End is required at {where}")
        for name in _JSONPATH_ONLY if state.is_jsonata else _JSONATA_ONLY:
            if name in body:
                language = "JSONata" if state.is_jsonata else "JSONPath"
                yield Finding(state.path, f"{name} cannot be used with {language} at {where}")


class UnreachableState(TemplateRule):
    id = "E9562"
    shortdesc = "A state that no transition reaches"
    description = (
        "Step Functions rejects a definition with a state that cannot be reached from StartAt: "
        'InvalidDefinition: MISSING_TRANSITION_TARGET: State "…" is not reachable.'
    )
    source_url = (
        "https://docs.aws.amazon.com/step-functions/latest/apireference/API_ValidateStateMachineDefinition.html"
    )
    tags = ("resources", "stepfunctions")
    concerns = STATE_MACHINES

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            for level in machine.levels:
                yield from self._level(level)

    def _level(self, level: Level) -> Iterator[Finding]:
        states = {state.name: state for state in level.states}
        start = level.definition.get("StartAt")
        transitions = [target for state in level.states for _, target in _targets(state)]
        if (
            not isinstance(start, str)
            or start not in states
            or not all(isinstance(t, str) and is_known(t) for t in transitions)
        ):
            return
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name in states and name not in reached:
                reached.add(name)
                waiting.extend(target for _, target in _targets(states[name]))
        for name in sorted(states.keys() - reached):
            state = states[name]
            yield Finding(state.path, f'State "{name}" is not reachable from {start!r} at {state.where}')
