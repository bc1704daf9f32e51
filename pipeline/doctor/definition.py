"""Validate the state machine definition with AWS's validator."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cfn.names import STATE_MACHINE
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok, warning

_SHIPPED = "cfn/workflow/transaction-pipeline.asl.json"


def check_state_machine(situation: Situation) -> Verdict:
    """ValidateStateMachineDefinition accepts every definition in the templates that is a text."""
    verdicts = []
    for _, logical_id, properties in situation.resources("AWS::StepFunctions::StateMachine"):
        if not isinstance(properties.get("DefinitionString"), str):
            continue  # of resources.yaml, with functions that only CloudFormation evaluates
        text = filled_in(properties["DefinitionString"], properties.get("DefinitionSubstitutions", {}), situation)
        answer = situation.client("stepfunctions").validate_state_machine_definition(
            definition=text, type=properties.get("StateMachineType", "STANDARD"), severity="WARNING"
        )
        where = _SHIPPED if situation.settings.has_transactions and logical_id == STATE_MACHINE else "the definition"
        verdicts.append(_judge(logical_id, answer, where))
    return combine(verdicts, "the templates have no state machine")


def filled_in(definition: str, substitutions: Mapping[str, Any], situation: Situation) -> str:
    """The definition with each ``${Name}`` replaced; values that only the stack knows become a well-formed ARN."""
    stand_in = situation.arn("lambda", "function:any")
    for name, value in substitutions.items():
        plain = value if isinstance(value, str) else stand_in
        definition = definition.replace(f"${{{name}}}", plain)
    left = sorted(set(re.findall(r"\$\{(\w+)\}", definition)))
    if left:
        raise AssertionError(f"the definition has no substitution for {', '.join(left)}")
    json.loads(definition)
    return definition


def _judge(logical_id: str, answer: Mapping[str, Any], where: str) -> Verdict:
    found = [
        (each["severity"], f"{each.get('location', logical_id)}: {each['code']} {each['message']}")
        for each in answer.get("diagnostics", [])
    ]
    said = "; ".join(text for severity, text in found if severity == "ERROR")
    if answer["result"] == "FAIL":
        return error(
            f"Step Functions rejects the definition of {logical_id}: {said or 'it gives no reason'}",
            f"Correct {where}.",
        )
    warnings = "; ".join(text for _, text in found)
    if warnings:
        return warning(
            f"Step Functions accepts {logical_id} with warnings: {warnings}",
            f"See {where}.",
        )
    return ok(f"Step Functions accepts the definition of {logical_id}")
