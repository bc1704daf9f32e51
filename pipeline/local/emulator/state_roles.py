"""What a state machine calls is held against its role, as on AWS: a permission that is missing fails here too.

ministack checks the policies of whoever calls its API, but runs a state machine's tasks inside of its own process and
asks nobody. Here each task of the integrations below first asks ministack's own policy evaluator, with the machine's
role, and fails as Step Functions lets it fail. Other integrations run as ministack runs them.
"""

from __future__ import annotations

import contextvars
import importlib
import inspect
from typing import Any

from pipeline.core.errors import LocalError

# What is hooked, and how many parameters it takes.
_HOOKED = {"_execute_task": 4, "_invoke_resource": 2}
# Error names of Step Functions for what a service refuses: the optimised integrations call through the SDK for Java and
# pass its exceptions on (Step Functions guide, "Handling errors"; reports of such failures).
_ERRORS = {
    "lambda": "Lambda.AWSLambdaException",
    "dynamodb": "DynamoDB.AmazonDynamoDBException",
    "sns": "SNS.AuthorizationErrorException",
    "sqs": "SQS.AmazonSQSException",
}
_role: contextvars.ContextVar[str] = contextvars.ContextVar("role", default="")


def check_state_roles() -> None:
    """Hook ministack's state machines. Raises LocalError when ministack does not have what is hooked."""
    machines: Any = importlib.import_module("ministack.services.stepfunctions")
    evaluator = importlib.import_module("ministack.core.iam_evaluator")
    responses = importlib.import_module("ministack.core.responses")
    for name, count in _HOOKED.items():
        if len(inspect.signature(getattr(machines, name, lambda: None)).parameters) != count:
            raise LocalError(
                "the embedded AWS was not started",
                f"ministack's {name} is not what is expected",
                "Install the version of ministack that this release is made for.",
            )
    execute_task, invoke_resource = machines._execute_task, machines._invoke_resource

    def _execute_task(state_def: Any, raw_input: Any, execution: Any, ctx: Any) -> Any:
        machine = machines._state_machines.get((execution or {}).get("stateMachineArn", ""))
        token = _role.set(machine["roleArn"] if machine else "")
        try:
            return execute_task(state_def, raw_input, execution, ctx)
        finally:
            _role.reset(token)

    def _invoke_resource(resource: str, input_data: Any) -> Any:
        role, account, region = _role.get(), responses.get_account_id(), responses.get_region()
        asked = permission(resource, input_data, account, region)
        if role and asked is not None:
            action, target = asked
            name = role.rpartition("/")[2]
            session = f"arn:aws:sts::{account}:assumed-role/{name}/states"
            decision = evaluator.evaluate(
                evaluator.EvalContext(session, "AssumedRole", account, action, target, region),
                evaluator._gather_role_policies(name, account),
            ).decision
            if decision != "Allow":
                raise machines._ExecutionError(
                    _ERRORS[action.partition(":")[0]],
                    f"User: {session} is not authorized to perform: {action} on resource: {target}",
                )
        return invoke_resource(resource, input_data)

    machines._execute_task = _execute_task
    machines._invoke_resource = _invoke_resource


def permission(resource: str, arguments: Any, account: str, region: str) -> tuple[str, str] | None:
    """The IAM action and resource of a task; None for integrations that are not known here.

    >>> permission("arn:aws:states:::dynamodb:putItem", {"TableName": "t"}, "1", "r")
    ('dynamodb:PutItem', 'arn:aws:dynamodb:r:1:table/t')
    """
    service, _, action = resource.removeprefix("arn:aws:states:::").partition(":")
    given = arguments if isinstance(arguments, dict) else {}
    match service, action:
        case "dynamodb", ("getItem" | "putItem" | "updateItem" | "deleteItem"):
            table = str(given.get("TableName", "")).rpartition("/")[2]
            return f"dynamodb:{action[0].upper()}{action[1:]}", f"arn:aws:dynamodb:{region}:{account}:table/{table}"
        case "sns", "publish":
            return "sns:Publish", str(given.get("TopicArn", ""))
        case "sqs", "sendMessage":
            queue = str(given.get("QueueUrl", "")).rpartition("/")[2]
            return "sqs:SendMessage", f"arn:aws:sqs:{region}:{account}:{queue}"
        case "lambda", "invoke":
            function = str(given.get("FunctionName", ""))
            if not function.startswith("arn:"):
                function = f"arn:aws:lambda:{region}:{account}:function:{function}"
            return "lambda:InvokeFunction", function
    return None
