"""What functions may call: symbolic names of resources turned into permissions and VPC endpoints.

A call in a ``function.toml`` names what the pipeline stack makes, never an ARN: ``state-table``,
``state-table/index/customer``, ``alert-topic``, ``dead-letter-queue``, ``state-machine``. The role of the function, the
endpoints of the network and their policies all come from here, so none of them can be forgotten or be too wide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from troposphere import GetAtt, Ref, Sub

from cfn.names import Names, image_parameter, pascal_case
from cfn.settings import Call, FunctionDefinition, Settings
from pipeline.errors import SettingsError

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

# Amazon VPC user guide, "Gateway endpoints": these two services only.
GATEWAY_SERVICES = ("dynamodb", "s3")

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_ACTION = re.compile(r"[A-Z][A-Za-z0-9]+")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
# What the stack sets itself; a function's own variables must not hide them.
OWN_VARIABLES = (
    "ENVIRONMENT",
    "TABLE_NAME",
    "IMAGE_DIGEST",
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
)


def check_functions(settings: Settings, functions: Sequence[FunctionDefinition]) -> None:
    """Raises SettingsError with everything that is wrong with a set of functions."""
    findings = [finding for function in functions for finding in _findings(settings, function)]
    stems: dict[str, str] = {}
    for function in functions:
        other = stems.setdefault(pascal_case(function.name), function.name)
        if other == function.name and [each.name for each in functions].count(other) > 1:
            findings.append(f"{other} is there more than once")
        elif other != function.name:
            findings.append(f"{function.name} and {other} have one parameter, {image_parameter(other)}")
    if findings:
        raise SettingsError(
            "the templates cannot be made",
            "; ".join(dict.fromkeys(findings)),
            "Correct the folders under images/ and their function.toml.",
        )


def _findings(settings: Settings, function: FunctionDefinition) -> Iterator[str]:
    name = function.name
    if not _NAME.fullmatch(name):
        yield f"the function {name!r} is not named in a-z, 0-9 and single hyphens, starting with a letter"
    full_name = Names(settings.environment).function(name)
    if len(full_name) > 64:
        yield f"{full_name} has {len(full_name)} characters and Lambda takes at most 64 in a function's name"
    if not 128 <= function.memory <= 10_240:
        yield f"{name} wants {function.memory} MB of memory and Lambda gives 128 to 10240"
    if not 1 <= function.timeout <= 900:
        yield f"{name} wants {function.timeout} s and Lambda gives 1 to 900"
    if len(function.description) > 256:
        yield f"the description of {name} has {len(function.description)} characters and Lambda takes 256"
    for variable, _value in function.environment:
        if variable in OWN_VARIABLES or variable.startswith("AWS_") or not _VARIABLE.fullmatch(variable):
            yield f"{name} sets the variable {variable!r}, which is reserved or not a name"
    size = sum(len(variable.encode()) + len(value.encode()) for variable, value in function.environment)
    if size > 3_072:
        yield f"the variables of {name} have {size} bytes and Lambda takes 4096 with those that the stack sets"
    for call in function.calls:
        yield from _call_findings(name, call)


def _call_findings(name: str, call: Call) -> Iterator[str]:
    service = RESOURCES.get(call.resource)
    if service is None:
        yield f"{name} calls the resource {call.resource!r}, known are {', '.join(RESOURCES)}"
    elif service != call.service:
        yield f"{name} calls {call.service!r} on {call.resource}, which belongs to {service}"
    if not call.actions:
        yield f"{name} calls {call.resource} without an action"
    for action in call.actions:
        if not _ACTION.fullmatch(action):
            yield f"{name} calls the action {action!r}, which is not one plain action such as Query"


def resource_arn(names: Names, resource: str) -> Any:
    """The ARN behind a symbolic name, as an intrinsic. ``cfn.data`` makes what it refers to."""
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
        actions.setdefault((call.service, call.resource), set()).update(call.actions)
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
    return "sync-states" if (call.service, action) == ("states", "StartSyncExecution") else call.service


def calls_by_endpoint(functions: Sequence[FunctionDefinition]) -> dict[str, tuple[Call, ...]]:
    """Everything that the functions call, by the endpoint that it goes through."""
    found: dict[str, list[Call]] = {}
    for function in functions:
        for call in function.calls:
            for action in call.actions:
                found.setdefault(endpoint_service(call, action), []).append(
                    Call(call.service, (action,), call.resource)
                )
    return {service: tuple(calls) for service, calls in sorted(found.items())}
