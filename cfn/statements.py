"""The permissions of a role that its calls need, with the resources that symbolic names stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troposphere import GetAtt, Ref, Sub

from cfn.calls import ALERT_TOPIC, DEAD_LETTER_QUEUE, RESULT_TOPIC, STATE_TABLE, action_prefix
from cfn.names import Names
from cfn.policies import allow
from cfn.settings import Call


def resource_arn(names: Names, resource: str) -> Any:
    """The ARN of what a call names, as an intrinsic. ``cfn.data`` adds what the symbolic names refer to."""
    if resource == "*":
        return resource
    if resource.startswith(("arn:", "${")):
        return Sub(resource) if "${" in resource else resource
    match resource.split("/"):
        case ["state-table"]:
            return GetAtt(STATE_TABLE, "Arn")
        case ["state-table", "index", index]:
            return Sub(f"${{{STATE_TABLE}.Arn}}/index/{index}")
        case ["alert-topic"]:
            return Ref(ALERT_TOPIC)
        case ["result-topic"]:
            return Ref(RESULT_TOPIC)
        case ["dead-letter-queue"]:
            return GetAtt(DEAD_LETTER_QUEUE, "Arn")
        case ["state-machine"]:
            # Written out: the state machine refers to the functions, so a reference to it would close a circle.
            return Sub(
                "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:" + names.state_machine
            )
    raise KeyError(resource)


def call_statements(names: Names, calls: Sequence[Call]) -> list[dict[str, object]]:
    """One Allow statement per called resource, with the union of the actions on it, in a fixed order."""
    actions: dict[tuple[str, str], set[str]] = {}
    for call in calls:
        actions.setdefault((action_prefix(call), call.resource), set()).update(call.actions)
    return [
        allow([f"{service}:{action}" for action in sorted(actions[service, resource])], resource_arn(names, resource))
        for service, resource in sorted(actions)
    ]
