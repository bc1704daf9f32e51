"""Paths through the state machine: which states each kind of submission enters, read from the definition."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cfn.names import STATE_MACHINE
from pipeline.core.errors import NextStep, SubmissionError

# Where each kind of submission departs from the ``Next`` of a state: state → successor.
TURNS: Mapping[str, Mapping[str, str]] = {
    "approved": {"Valid": "History", "Flagged": "Answered"},
    "flagged": {"Valid": "History", "Flagged": "KeepDetails"},
    "rejected": {"Valid": "Record", "Flagged": "Answered"},
    "refused": {"Claim": "Refuse", "Refuse": "Validate", "Valid": "Refused"},
    "too large": {"Claim": "Refuse", "Refuse": "RecordRefusal"},
    "repeat": {"Claim": "Recall", "Known": "Flagged", "Flagged": "Answered"},
    "flagged repeat": {"Claim": "Recall", "Known": "Flagged", "Flagged": "KeepDetails"},
    "conflict": {"Claim": "Recall", "Known": "Alert"},
}


def read_definition(template: Mapping[str, Any]) -> dict[str, Any]:
    """The state machine definition of a synthesised pipeline template, with literal substitutions applied.

    Substitutions that only the stack can resolve stay as ``${Name}``. Raises SubmissionError if the template has no
    state machine of its own; ``resources.yaml`` may add others.
    """
    resource = template.get("Resources", {}).get(STATE_MACHINE, {})
    if resource.get("Type") != "AWS::StepFunctions::StateMachine":
        raise SubmissionError(
            "the state machine was not read",
            "the template has no state machine",
            NextStep("Use the pipeline template, written by", ("synth", "--out", "DIR")),
        )
    properties = resource["Properties"]
    text = properties["DefinitionString"]
    for name, value in properties.get("DefinitionSubstitutions", {}).items():
        if isinstance(value, str):
            text = text.replace(f"${{{name}}}", value)
    definition: dict[str, Any] = json.loads(text)
    return definition


def followers(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every state that may come next: kind is "next", "choice", "default" or "catch"."""
    if "Next" in state and state["Type"] not in ("Choice", "Succeed", "Fail"):
        yield "next", state["Next"]
    for rule in state.get("Choices", []):
        if "Next" in rule:
            yield "choice", rule["Next"]
    if "Default" in state:
        yield "default", state["Default"]
    for catcher in state.get("Catch", []):
        yield "catch", catcher.get("Next", "")


def follow(definition: Mapping[str, Any], turns: Mapping[str, str], start: str | None = None) -> tuple[str, ...]:
    """The states entered, in order. The states of a Parallel follow it, branch by branch.

    turns  successor by state where it differs from ``Next``, or from the ``Default`` of a Choice
    """
    way: list[str] = []
    name: str | None = start or definition["StartAt"]
    while name is not None:
        if name in way:
            raise ValueError(f"the path loops at {name}")
        state = definition["States"][name]
        way.append(name)
        for branch in state.get("Branches", []):
            way.extend(follow(branch, {}))
        name = turns.get(name, state.get("Next", state.get("Default")))
    return tuple(way)


def tasks(definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All states by name, including those of branches."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, state in definition["States"].items():
        found[name] = state
        for branch in state.get("Branches", []):
            found.update(tasks(branch))
    return found
