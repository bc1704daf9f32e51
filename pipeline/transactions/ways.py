"""Ways through the state machine: which states a submission enters, read from the definition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import SubmissionError

# Where a submission of each kind leaves the straight road: state → the state it goes to.
TURNS: Mapping[str, Mapping[str, str]] = {
    "approved": {"Valid": "Assess", "Flagged": "Answered"},
    "flagged": {"Valid": "Assess", "Flagged": "KeepDetails"},
    "rejected": {"Valid": "Record", "Flagged": "Answered"},
    "refused": {"Claim": "Refuse", "Refuse": "Validate", "Valid": "Refused"},
    "too large": {"Claim": "Refuse", "Refuse": "RecordRefusal"},
    "repeat": {"Claim": "Recall", "Known": "Flagged", "Flagged": "Answered"},
    "flagged repeat": {"Claim": "Recall", "Known": "Flagged", "Flagged": "KeepDetails"},
    "conflict": {"Claim": "Recall", "Known": "Alert"},
}


def read_definition(template: Mapping[str, Any]) -> dict[str, Any]:
    """The state machine of a synthesised pipeline template, as CloudFormation would hand it to Step Functions.

    What only a stack knows stays as ``${Name}``. Raises SubmissionError when the template has no state machine.
    """
    for resource in template.get("Resources", {}).values():
        if resource.get("Type") == "AWS::StepFunctions::StateMachine":
            properties = resource["Properties"]
            known = {
                name: value
                for name, value in properties.get("DefinitionSubstitutions", {}).items()
                if isinstance(value, str)
            }
            text = properties["DefinitionString"]
            for name, value in known.items():
                text = text.replace(f"${{{name}}}", value)
            definition: dict[str, Any] = json.loads(text)
            return definition
    raise SubmissionError(
        "the state machine was not read",
        "the template has none",
        "Give the pipeline template: `synth --out DIR` writes it.",
    )


def follow(definition: Mapping[str, Any], turns: Mapping[str, str], start: str | None = None) -> tuple[str, ...]:
    """The states that are entered, in order; those of a Parallel's branches follow it, branch by branch.

    ``turns`` says where to leave the straight road, and is needed at every Choice.
    """
    way: list[str] = []
    name: str | None = start or definition["StartAt"]
    while name is not None:
        if name in way:
            raise ValueError(f"the way goes round at {name}")
        state = definition["States"][name]
        way.append(name)
        for branch in state.get("Branches", []):
            way.extend(follow(branch, {}))
        name = turns.get(name, state.get("Next"))
    return tuple(way)


def tasks(definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every state of the machine and of its branches, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, state in definition["States"].items():
        found[name] = state
        for branch in state.get("Branches", []):
            found.update(tasks(branch))
    return found
