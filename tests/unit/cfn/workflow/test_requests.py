"""Requests of the workflow's tasks, held against AWS's service models, which no boto3 client does for them.

The requests of commands are in tests/functional/environment/test_requests.py, the placeholder's and the doctor's beside
their other tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cfn.workflow.composition import definition
from tests.models import Expression, request_findings

DYNAMIC = re.compile(r"^\{%.*%\}$|^\$\{\w+\}$", re.DOTALL)
# Service of a task's resource → boto3's service. lambda:invoke has arguments of its own form.
INTEGRATIONS = {name: name for name in ("dynamodb", "lambda", "secretsmanager", "sns", "sqs")}


def tasks(states: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        for branch in state.get("Branches", []):
            yield from tasks(branch["States"])


TASKS = dict(tasks(definition()["States"]))


def known(value: Any) -> Any:
    """The same value with what only the run knows marked as such."""
    if isinstance(value, dict):
        return {name: known(each) for name, each in value.items()}
    if isinstance(value, list):
        return [known(each) for each in value]
    return Expression(value) if isinstance(value, str) and DYNAMIC.match(value) else value


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_the_workflow_asks_what_the_service_knows(name: str) -> None:
    service, action = TASKS[name]["Resource"].split(":")[-2:]
    operation = action[0].upper() + action[1:]
    assert request_findings(INTEGRATIONS[service], operation, known(TASKS[name]["Arguments"])) == []


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "said"),
    [
        ("sqs", "SendMessage", {"QueueUrl": "u"}, "MessageBody is missing"),
        ("sqs", "SendMessage", {"QueueUrl": "u", "MessageBody": "m", "Delay": 1}, "there is no member Delay"),
        ("ecr", "PutImage", {"repositoryName": "Upper", "imageManifest": "m"}, "does not look like"),
        (
            "stepfunctions",
            "ValidateStateMachineDefinition",
            {"definition": "{}", "type": "FAST"},
            "is none of STANDARD",
        ),
        ("sqs", "ReceiveMessage", {"QueueUrl": 1}, "int for a string"),
        ("lambda", "GetAccountSettings", {"a": 1}, "there is no member a"),
        ("lambda", "PutFunctionConcurrency", {"FunctionName": "f", "ReservedConcurrentExecutions": -1}, "less than 0"),
        ("ecr", "BatchGetImage", {"repositoryName": "r" * 300, "imageIds": []}, "more than 256"),
    ],
)
def test_the_look_at_a_request_sees_what_is_wrong(
    service: str, operation: str, parameters: dict[str, Any], said: str
) -> None:
    assert said in "; ".join(request_findings(service, operation, parameters))
