"""What functions may call: symbolic names of resources turned into permissions and VPC endpoints.

A call in a ``function.toml`` names what the transaction pipeline has (``state-table``, ``state-table/index/customer``,
``alert-topic``, ``dead-letter-queue``, ``state-machine``), an ARN, or ``*`` for actions that know no resource. The role
of the function, the endpoints of the network and their policies all come from here, so none of them can be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from troposphere import GetAtt, Ref, Sub

from cfn.names import Names
from cfn.settings import Call, FunctionDefinition, Settings

# Logical ids.
STATE_TABLE, ALERT_TOPIC, DEAD_LETTER_QUEUE = "StateTable", "AlertTopic", "DeadLetterQueue"

TABLE_INDEXES = ("customer",)

# Symbolic name → the service that the resource belongs to.
RESOURCES = {
    "state-table": "dynamodb",
    **{f"state-table/index/{name}": "dynamodb" for name in TABLE_INDEXES},
    "alert-topic": "sns",
    "dead-letter-queue": "sqs",
    "state-machine": "states",
}

# Interface endpoints that the settings can ask for, for code in the subnets that is not one of the functions: service →
# the one call that each lets through.
EXTRA_ENDPOINTS = {
    "states": Call("states", ("StartExecution",), "state-machine"),
    "sync-states": Call("states", ("StartSyncExecution",), "state-machine"),
    "sns": Call("sns", ("Publish",), "alert-topic"),
    "sqs": Call("sqs", ("SendMessage",), "dead-letter-queue"),
}

# Amazon VPC user guide, "Gateway endpoints": these two services only.
GATEWAY_SERVICES = ("dynamodb", "s3")


# What an ARN of a call may contain beside plain text; everything else is CloudFormation's to refuse.
PSEUDO_PARAMETERS = ("AWS::AccountId", "AWS::Partition", "AWS::Region")
# Service authorization reference: the prefix of actions where it is not the name of boto3's client.
_PREFIXES = {"stepfunctions": "states", "sesv2": "ses", "bedrock-runtime": "bedrock"}
# AWS PrivateLink guide, "AWS services that integrate with AWS PrivateLink".
_ENDPOINTS = {"cloudwatch": "monitoring", "kinesis": "kinesis-streams"}


def action_prefix(call: Call) -> str:
    """What the call's actions begin with in IAM: the service of its ARN, else that of its client."""
    if call.resource.startswith("arn:"):
        return re.sub(r"\$\{[^}]*\}", "", call.resource).split(":")[2]
    return _PREFIXES.get(call.service, call.service)


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
        {
            "Effect": "Allow",
            "Action": [f"{service}:{action}" for action in sorted(actions[service, resource])],
            "Resource": resource_arn(names, resource),
        }
        for service, resource in sorted(actions)
    ]


def endpoint_service(call: Call, action: str) -> str:
    """The VPC endpoint that an action goes through. StartSyncExecution has one of its own (Step Functions guide)."""
    prefix = action_prefix(call)
    return "sync-states" if (prefix, action) == ("states", "StartSyncExecution") else _ENDPOINTS.get(prefix, prefix)


def interface_endpoints(settings: Settings, functions: Sequence[FunctionDefinition]) -> list[str]:
    """The interface endpoints of a network: those that calls go through, and those that the settings add."""
    return [service for service in calls_by_endpoint(settings, functions) if service not in GATEWAY_SERVICES]


def calls_by_endpoint(settings: Settings, functions: Sequence[FunctionDefinition]) -> dict[str, tuple[Call, ...]]:
    """Everything that the functions call, by the endpoint that it goes through, and what the settings add."""
    found: dict[str, list[Call]] = {}
    for function in filter(settings.in_vpc, functions):
        for call in function.calls:
            for action in call.actions:
                found.setdefault(endpoint_service(call, action), []).append(
                    Call(call.service, (action,), call.resource)
                )
    for service in settings.endpoints:
        found.setdefault(service, []).append(EXTRA_ENDPOINTS[service])
    return {service: tuple(calls) for service, calls in sorted(found.items())}
