"""Tasks with an invalid integration, or without error handling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ._states import Machine, State, machines
from ._template import STATE_MACHINES, Finding, TemplateRule, View, as_dict, as_list, is_known, text


class TaskWithoutCatch(TemplateRule):
    id = "W9564"
    shortdesc = "A Task without a Catch"
    description = (
        "Neither the Task nor a Parallel or Map around it has a Catch: once its retries are exhausted, the execution "
        "fails, and the input of an EXPRESS workflow is lost, because it cannot be redriven."
    )
    source_url = "https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html"
    tags = ("resources", "stepfunctions", "reliability")
    concerns = STATE_MACHINES

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            for state in machine.tasks:
                if not state.is_caught:
                    yield Finding(state.path, f"No Catch handles an error of the Task at {state.where}")


# Transient errors of the Lambda service itself (AWS: "Handle transient Lambda service exceptions").
LAMBDA_SERVICE_ERRORS = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
_ALL_ERRORS = frozenset({"States.ALL", "States.TaskFailed"})


class LambdaTaskWithoutRetry(TemplateRule):
    id = "W9565"
    shortdesc = "A Lambda Task that does not retry Lambda's service errors"
    description = f"A Task that invokes a function should retry {', '.join(LAMBDA_SERVICE_ERRORS)}."
    source_url = "https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html"
    tags = ("resources", "stepfunctions", "lambda", "reliability")
    concerns = STATE_MACHINES

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            for state in machine.tasks:
                retriers = state.body.get("Retry", [])
                if not state.calls_function(view) or not isinstance(retriers, list):
                    continue
                retried = {text(e) for r in retriers for e in as_list(as_dict(r).get("ErrorEquals")) if _tries(r)}
                missing = [error for error in LAMBDA_SERVICE_ERRORS if error not in retried]
                if missing and not retried & _ALL_ERRORS and all(map(is_known, retried)):
                    yield Finding(state.path, f"{', '.join(missing)} is not retried by the Task at {state.where}")


def _tries(retrier: Any) -> bool:
    return text(as_dict(retrier).get("MaxAttempts")) != "0"


# Actions and additional patterns of the optimised integrations with a small, stable set of actions (AWS: "Integrating
# optimized services with Step Functions").
_OPTIMISED: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "lambda": (frozenset({"invoke"}), frozenset({"waitForTaskToken"})),
    "dynamodb": (frozenset({"getItem", "putItem", "updateItem", "deleteItem"}), frozenset()),
    "sns": (frozenset({"publish"}), frozenset({"waitForTaskToken"})),
    "sqs": (frozenset({"sendMessage"}), frozenset({"waitForTaskToken"})),
    "events": (frozenset({"putEvents"}), frozenset({"waitForTaskToken"})),
    "states": (frozenset({"startExecution"}), frozenset({"sync", "sync:2", "waitForTaskToken"})),
    "ecs": (frozenset({"runTask"}), frozenset({"sync", "waitForTaskToken"})),
    "batch": (frozenset({"submitJob"}), frozenset({"sync"})),
    "glue": (frozenset({"startJobRun"}), frozenset({"sync"})),
}
_INVOKE_RESULT = frozenset(
    {"Payload", "StatusCode", "ExecutedVersion", "FunctionError", "LogResult", "SdkHttpMetadata", "SdkResponseMetadata"}
)
_TASK_TOKEN = re.compile(r"\$\$\.Task|\"\$\$\"|\$states\.context")


class IntegrationMisused(TemplateRule):
    id = "E9561"
    shortdesc = "A Task with an invalid service integration"
    description = (
        "The Resource of a Task is not an integration (arn:aws:states:::dynamodb:query), its pattern is not supported "
        "by the service or by EXPRESS workflows, arn:aws:states:::lambda:invoke has no FunctionName, or its result is "
        "read without Payload."
    )
    source_url = "https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html"
    tags = ("resources", "stepfunctions", "lambda")
    concerns = STATE_MACHINES

    def find(self, view: View) -> Iterator[Finding]:
        for machine in machines(view):
            for state in machine.tasks:
                for fault in self._faults(view, machine, state):
                    yield Finding(state.path, f"{fault} at {state.where}")

    def _faults(self, view: View, machine: Machine, state: State) -> Iterator[str]:
        resource, integration = state.resource, state.integration
        if integration is None:
            if resource and is_known(resource) and not re.match(r"arn:[\w-]+:(states|lambda):", resource):
                yield f"{resource!r} is not a resource of a Task"
            envelope = {"FunctionName", "Payload"} <= state.arguments.keys()
            if envelope and state.calls_function(view):
                yield "FunctionName and Payload belong to arn:aws:states:::lambda:invoke, not to a function's ARN"
            return
        service, action, pattern = integration.service, integration.action, integration.pattern
        if machine.is_express and pattern:
            yield f"An EXPRESS workflow does not support .{pattern}"
        if integration.sdk:
            if not action or not action[0].islower():
                yield f"The action of an aws-sdk integration is in camelCase, unlike {action!r}"
            if pattern.startswith("sync"):
                yield "An aws-sdk integration does not support .sync"
        elif service in _OPTIMISED:
            actions, patterns = _OPTIMISED[service]
            if action not in actions:
                known = ", ".join(f"{service}:{name}" for name in sorted(actions))
                yield f"{service}:{action} is not an optimised integration (use {known}, or aws-sdk:{service})"
            elif pattern and pattern not in patterns:
                yield f"{service}:{action} does not support .{pattern}"
        if pattern == "waitForTaskToken" and not _TASK_TOKEN.search(json.dumps(state.body, default=str)):
            yield "The task token is not passed on, so this .waitForTaskToken cannot be answered"
        if service == "lambda" and action == "invoke":
            yield from self._invoke(state, integration.sdk)

    def _invoke(self, state: State, is_sdk: bool) -> Iterator[str]:
        if not state.has_computed_arguments and "FunctionName" not in state.arguments:
            yield "lambda:invoke needs FunctionName in its " + ("Arguments" if state.is_jsonata else "Parameters")
        if is_sdk:
            return
        if state.is_jsonata:
            used = json.dumps([state.body.get("Output"), state.body.get("Assign")], default=str)
            read = re.findall(r"\$states\.result\.(\w+)", used)
        else:
            selector = json.dumps(state.body.get("ResultSelector"), default=str)
            read = re.findall(r'"\$\.(\w+)', selector)
        for name in sorted(set(read) - _INVOKE_RESULT):
            yield f"The result has no {name!r}: lambda:invoke returns the function's result in Payload"
