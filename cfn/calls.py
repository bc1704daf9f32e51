"""What functions may call, and the VPC endpoints that the calls go through. Pure; ``cfn.statements`` has permissions.

A call in a ``function.toml`` names what the transaction pipeline has (``state-table``, ``state-table/index/customer``,
``alert-topic``, ``result-topic``, ``dead-letter-queue``, ``state-machine``), an ARN, or ``*`` for actions that know no
resource. The role of the function, the endpoints of the network and their policies all come from here, so none of them
can be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cfn.settings import Call, FunctionDefinition, Settings

# Logical ids.
STATE_TABLE, ALERT_TOPIC, DEAD_LETTER_QUEUE = "StateTable", "AlertTopic", "DeadLetterQueue"
RESULT_TOPIC = "ResultTopic"  # of the queue entrance

# Indexes of the table: transactions by customer and their own time, and running claims by their lease.
CUSTOMER, LEASES = "customer", "leases"
# Those that a function can call.
TABLE_INDEXES = (CUSTOMER,)

# Symbolic name → the service that the resource belongs to.
RESOURCES = {
    "state-table": "dynamodb",
    **{f"state-table/index/{name}": "dynamodb" for name in TABLE_INDEXES},
    "alert-topic": "sns",
    "result-topic": "sns",
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
