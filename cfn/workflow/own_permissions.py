"""What the role of a project's own state machine must allow, from its definition.

A state that names what it calls (a function, a table, a queue, a topic, another state machine) has its permission
derived. What the definition does not show, such as a computed name or the objects of a bucket, is in ``[[calls]]`` of
``workflow.toml``, and a state that neither covers is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfn.calls import action_prefix
from cfn.own_resources import REF_IS_ARN
from cfn.settings import Call
from cfn.workflow.composition import State, every_state

MANIFEST = "workflow.toml"
_INTEGRATION = re.compile(
    r"arn:aws[a-z-]*:states:[^:]*:[^:]*:(?P<sdk>aws-sdk:)?(?P<service>[A-Za-z0-9-]+):(?P<action>[A-Za-z0-9]+)"
    r"(?:\.(?P<pattern>sync(?::2)?|waitForTaskToken))?"
)
_ACTIVITY = re.compile(r"arn:aws[a-z-]*:states:[^:]*:[^:]*:activity:\S+")
_LOGICAL_ID = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.[A-Za-z]+)?\}")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
# The prefix of IAM's actions where a task calls the service otherwise (service authorization reference).
_PREFIXES = {
    "apigateway": "execute-api",
    "cloudwatchlogs": "logs",
    "dynamodbstreams": "dynamodb",
    "eventbridge": "events",
    "http": "states",
    "sesv2": "ses",
    "sfn": "states",
}
# The argument that names what is called.
_NAMED_BY = {
    ("dynamodb", "*"): "TableName",
    ("lambda", "invoke"): "FunctionName",
    ("sns", "publish"): "TopicArn",
    ("sqs", "*"): "QueueUrl",
    ("states", "startExecution"): "StateMachineArn",
    ("states", "startSyncExecution"): "StateMachineArn",
}


@dataclass(frozen=True, slots=True)
class Need:
    """A call of a state.

    service   IAM's prefix
    action    IAM's name, as PutItem
    resource  an ARN, or the text of a substitution that gives one; "" if the definition does not show it
    """

    state: str
    service: str
    action: str
    resource: str = ""


def needs_of(definition: State, types: Mapping[str, str]) -> Iterator[Need]:
    """Every call of every state, except the executions that a distributed Map starts of its own machine.

    definition  functions are named by the logical ids of their aliases
    types       of the resources that a state can name, by logical id
    """
    for name, state in every_state(definition):
        language = state.get("QueryLanguage", definition.get("QueryLanguage"))
        for part in (state, state.get("ItemReader", {}), state.get("ResultWriter", {})):
            arguments = part.get("Arguments" if language == "JSONata" else "Parameters")
            if "Resource" in part and "Credentials" not in part:  # which name another role
                yield from _needs(name, str(part["Resource"]), arguments, types)


def is_distributed(state: State) -> bool:
    """Whether it is a Map that starts an execution for each batch of its items."""
    return bool(state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED")


def _needs(name: str, resource: str, arguments: Any, types: Mapping[str, str]) -> Iterator[Need]:
    given = arguments if isinstance(arguments, dict) else {}
    called = _INTEGRATION.fullmatch(resource)
    if _ACTIVITY.fullmatch(resource):
        return  # its workers need permissions, not the machine
    if called is None:
        if (own := _LOGICAL_ID.fullmatch(resource)) and types.get(own[1]) == "AWS::StepFunctions::Activity":
            return
        if resource.startswith(("arn:", "${")):  # others are findings of not_callable
            yield Need(name, "lambda", "InvokeFunction", _arn(resource, types))
        return
    service = _PREFIXES.get(called["service"], called["service"])
    action = called["action"]
    argument = _NAMED_BY.get((service, action)) or _NAMED_BY.get((service, "*"), "")
    target = "" if called["pattern"] in ("sync", "sync:2") else _target(service, given.get(argument), types)
    if target and service == "dynamodb" and "IndexName" in given:
        index = given["IndexName"]
        target = f"{target}/index/{index}" if isinstance(index, str) and _TABLE.fullmatch(index) else ""
    iam = "InvokeFunction" if (service, action) == ("lambda", "invoke") else f"{action[:1].upper()}{action[1:]}"
    yield Need(name, service, iam, target)


def _target(service: str, value: Any, types: Mapping[str, str]) -> str:
    """The ARN of what an argument names; "" if the definition does not show it."""
    if not isinstance(value, str):
        return ""
    if service == "dynamodb" and _TABLE.fullmatch(value):
        return f"arn:${{AWS::Partition}}:dynamodb:${{AWS::Region}}:${{AWS::AccountId}}:table/{value}"
    return _arn(value, types) if value.startswith("arn:") or _LOGICAL_ID.fullmatch(value) else ""


def _arn(text: str, types: Mapping[str, str]) -> str:
    """``${Orders}`` and ``${Orders.Arn}`` → ``${Orders.Arn}``, or ``${News}`` where that is the ARN."""
    own = _LOGICAL_ID.fullmatch(text)
    if own is None:
        return text
    return f"${{{own[1]}}}" if types.get(own[1]) in REF_IS_ARN else f"${{{own[1]}.Arn}}"


def derived(needs: Sequence[Need]) -> list[Call]:
    """The needs whose resource is known, as calls."""
    return [Call(need.service, (need.action,), need.resource) for need in needs if need.resource]


def uncovered(needs: Sequence[Need], calls: Sequence[Call]) -> Iterator[str]:
    """A sentence for every state whose call is neither derived nor of a service that ``calls`` names.

    Actions are not compared: IAM's are not always called like the service's, as s3:ListBucket for ListObjectsV2.
    """
    allowed = {action_prefix(call) for call in calls}
    for need in needs:
        if not need.resource and need.service not in allowed:
            yield (
                f"the state {need.state} calls {need.service}:{need.action} and the definition does not show on what;"
                f' add [[calls]] with service = "{need.service}" to {MANIFEST}'
            )


def not_callable(definition: State) -> Iterator[str]:
    """A sentence for every Task whose Resource is neither an ARN nor a reference, such as a function's bare name."""
    for name, state in every_state(definition):
        resource = str(state.get("Resource", ""))
        if state.get("Type") == "Task" and not resource.startswith(("arn:", "${")):
            yield f"the state {name} calls {resource[:80]!a}, which is not an ARN; a function is ${{function:NAME}}"


def refused_by_express(definition: State) -> Iterator[str]:
    """What an EXPRESS workflow does not have (Step Functions guide, "Choosing workflow type")."""
    for name, state in every_state(definition):
        resource = str(state.get("Resource", ""))
        if resource.endswith((".sync", ".sync:2", ".waitForTaskToken")) or _ACTIVITY.fullmatch(resource):
            yield f"the state {name} waits for {resource.rpartition(':::')[2]}, which an EXPRESS workflow cannot"
        if is_distributed(state):
            yield f"the state {name} is a distributed Map, which an EXPRESS workflow does not have"
