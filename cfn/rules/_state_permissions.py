"""Permissions that a state machine's role lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from ._policies import Verdict, arn, grants_of, role_of
from ._states import Machine, State, machines
from ._template import (
    FUNCTIONS,
    STATE_MACHINES,
    Finding,
    Resource,
    TemplateRule,
    View,
    as_dict,
    as_list,
    is_known,
    text,
)

Need = tuple[str, str | None]  # an IAM action and its resource; None if only the execution knows it

# aws-sdk services whose IAM prefix differs (service authorization reference).
_PREFIXES = {
    "sfn": "states",
    "eventbridge": "events",
    "cloudwatchlogs": "logs",
    "sesv2": "ses",
    "apigateway": "execute-api",
    "dynamodbstreams": "dynamodb",
}
_ACTIONS = {
    ("lambda", "invoke"): "lambda:InvokeFunction",
    ("s3", "listobjectsv2"): "s3:ListBucket",
    ("s3", "listobjects"): "s3:ListBucket",
    ("s3", "headobject"): "s3:GetObject",
    ("s3", "copyobject"): "s3:PutObject",
    ("s3", "deleteobjects"): "s3:DeleteObject",
    ("sqs", "sendmessagebatch"): "sqs:SendMessage",
    ("sqs", "deletemessagebatch"): "sqs:DeleteMessage",
    ("sns", "publishbatch"): "sns:Publish",
    ("execute-api", "invoke"): "execute-api:Invoke",
    ("http", "invoke"): "states:InvokeHTTPEndpoint",
}
# Actions for log delivery when the machine is created (AWS: "Log history using CloudWatch Logs").
_LOG_DELIVERY = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
_RESOURCE_POLICIES = (
    "AWS::Lambda::Permission",
    "AWS::SNS::TopicPolicy",
    "AWS::SNS::TopicInlinePolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SQS::QueueInlinePolicy",
)


@cache
def _known_actions() -> dict[str, Any]:
    """IAM's actions by prefix, in lower case; the data of cfn-lint's rule W3037."""
    file = resources.files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json")
    return as_dict(json.loads(file.read_text(encoding="utf-8")))


def _iam_action(service: str, action: str) -> str | None:
    """The IAM action of a call; None if unknown."""
    prefix = _PREFIXES.get(service, service)
    special = _ACTIONS.get((prefix, action.lower()))
    if special:
        return special
    if action.lower() not in as_dict(as_dict(_known_actions().get(prefix)).get("Actions")):
        return None
    return f"{prefix}:{action[:1].upper()}{action[1:]}"


def _function_arn(view: View, name: Any, qualifier: Any = None) -> str | None:
    if not isinstance(name, str):
        return None
    function = view.target(name, *FUNCTIONS)
    if function:
        found = "${" + function.id + ".Arn}" if "." not in name or name.endswith(".Arn}") else None
    else:
        found = name if "${" in name or name.startswith("arn:") else arn("lambda", f"function:{name}")
    return f"{found}:{text(qualifier)}" if found and qualifier is not None else found


def _named(view: View, name: Any, service: str, before: str, *types: str) -> str | None:
    """The ARN of the resource that a name or a queue URL refers to."""
    if not isinstance(name, str):
        return None
    target = view.target(name, *types)
    if target:
        return "${" + target.id + ".Arn}"
    if name.startswith("arn:"):
        return name
    return arn(service, before + name.rpartition("/")[2]) if is_known(name) else None


def _resource(view: View, service: str, action: str, arguments: dict[str, Any]) -> str | None:
    if service == "lambda" and action == "invoke":
        return _function_arn(view, arguments.get("FunctionName"), arguments.get("Qualifier"))
    if service == "dynamodb":
        tables = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable", "AWS::Serverless::SimpleTable")
        table = _named(view, arguments.get("TableName"), "dynamodb", "table/", *tables)
        index = text(arguments.get("IndexName"))
        return f"{table}/index/{index}" if table and index else table
    if service == "sqs":
        return _named(view, arguments.get("QueueUrl"), "sqs", "", "AWS::SQS::Queue")
    if service == "sns":
        return text(arguments.get("TopicArn")) or None
    if service in ("states", "sfn"):
        return text(arguments.get("StateMachineArn")) or None
    return None


def needs(view: View, state: State) -> Iterator[Need]:
    """Yield what a state needs its role to allow, as far as the template shows."""
    integration = state.integration
    if state.type == "Map":
        if as_dict(as_dict(state.body.get("ItemProcessor")).get("ProcessorConfig")).get("Mode") == "DISTRIBUTED":
            yield "states:StartExecution", None
    elif state.type != "Task" or "Credentials" in state.body:
        return  # Credentials select another role
    elif integration:
        action = _iam_action(integration.service, integration.action)
        if action:
            resource = _resource(view, integration.service, integration.action, state.arguments)
            yield action, None if state.has_computed_arguments else resource
    elif state.calls_function(view):
        yield "lambda:InvokeFunction", _function_arn(view, state.resource)


class StateNotPermitted(TemplateRule):
    id = "E9563"
    shortdesc = "A state machine's role lacks a permission that a state needs"
    description = (
        "The template contains every policy of the role, and none allows the call of a state or the log delivery of "
        "the machine: the execution or the creation fails with AccessDenied."
    )
    source_url = "https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html"
    tags = ("resources", "stepfunctions", "iam")
    concerns = (*STATE_MACHINES, "AWS::IAM::*")

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            role = role_of(view, machine.resource.get("RoleArn") or machine.resource.get("Role"))
            if role:
                yield from self._machine(view, machine, role)

    def _machine(self, view: View, machine: Machine, role: Resource) -> Iterator[Finding]:
        grants = grants_of(view, role)
        # A resource-based policy may allow the role.
        if any(role.id in policy.depends_on for policy in view.resources(*_RESOURCE_POLICIES)):
            return
        for state in machine.states:
            for action, resource in needs(view, state):
                if grants.allows(view, action, resource) is Verdict.NO:
                    on = f" on {resource}" if resource else ""
                    yield Finding(state.path, f"The role {role.id} lacks {action}{on}, needed at {state.where}")
        logging = as_dict(machine.resource.get("LoggingConfiguration") or machine.resource.get("Logging"))
        if as_list(logging.get("Destinations")) and text(logging.get("Level")) not in ("", "OFF"):
            missing = [a for a in _LOG_DELIVERY if grants.allows(view, a, None) is Verdict.NO]
            if missing:
                message = f"The role {role.id} lacks {', '.join(missing)}, needed for log delivery"
                yield Finding(machine.resource.at("LoggingConfiguration"), message)
