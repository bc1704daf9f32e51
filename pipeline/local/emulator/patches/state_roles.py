"""The tasks of a state machine are checked against the machine's role: a missing permission fails here too.

ministack runs the tasks of a state machine without checking its role. Here each task of the integrations in
``permission`` is first evaluated by ministack's policy evaluator, and fails as on Step Functions. Other integrations
are unchanged.
"""

from __future__ import annotations

import contextvars
import importlib
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

# Error names of Step Functions for what a service refuses: the optimised integrations call through the SDK for Java and
# pass its exceptions on (Step Functions guide, "Handling errors"; reports of such failures).
_ERRORS = {
    "lambda": "Lambda.AWSLambdaException",
    "dynamodb": "DynamoDB.AmazonDynamoDBException",
    "sns": "SNS.AuthorizationErrorException",
    "sqs": "SQS.AmazonSQSException",
}
# AWS SDK integrations name service and exception like the SDK for Java 2.x. Without a specific exception of DynamoDB it
# is DynamoDb.DynamoDbException (recorded for a ValidationException), and so it is with the others.
_SDK_ERRORS = {
    "dynamodb": "DynamoDb.DynamoDbException",
    "secretsmanager": "SecretsManager.SecretsManagerException",
    "states": "Sfn.SfnException",
}
_role: contextvars.ContextVar[str] = contextvars.ContextVar("role", default="")


def _remember_role(execute_task: Any, machines: Any) -> Any:
    def _execute_task(state_def: Any, raw_input: Any, execution: Any, ctx: Any) -> Any:
        # A child of a Distributed Map, …:stateMachine:<machine>/<label>, runs with the role of its machine.
        machine = machines._state_machines.get((execution or {}).get("stateMachineArn", "").partition("/")[0])
        token = _role.set(machine["roleArn"] if machine else "")
        try:
            return execute_task(state_def, raw_input, execution, ctx)
        finally:
            _role.reset(token)

    return _execute_task


def _check_role(invoke_resource: Any, machines: Any) -> Any:
    responses = importlib.import_module("ministack.core.responses")

    def _invoke_resource(resource: str, input_data: Any) -> Any:
        asked = permission(resource, input_data, responses.get_account_id(), responses.get_region())
        if asked is not None:
            action, target = asked
            errors = _SDK_ERRORS if ":::aws-sdk:" in resource else _ERRORS
            require_permission(machines, _role.get(), action, target, errors[action.partition(":")[0]])
        return invoke_resource(resource, input_data)

    return _invoke_resource


def require_permission(machines: Any, role: str, action: str, target: str, error: str) -> None:
    """Raise ministack's error of a task, named ``error``, unless the policies of a role allow the action.

    role  its ARN; "" is not checked: a test's execution without a state machine
    """
    if not role:
        return
    evaluator = importlib.import_module("ministack.core.iam_evaluator")
    responses = importlib.import_module("ministack.core.responses")
    account, name = responses.get_account_id(), role.rpartition("/")[2]
    session = f"arn:aws:sts::{account}:assumed-role/{name}/states"
    decision = evaluator.evaluate(
        evaluator.EvalContext(session, "AssumedRole", account, action, target, responses.get_region()),
        evaluator._gather_role_policies(name, account),
    ).decision
    if decision != "Allow":
        raise machines._ExecutionError(
            error, f"User: {session} is not authorized to perform: {action} on resource: {target}"
        )


def permission(resource: str, arguments: Any, account: str, region: str) -> tuple[str, str] | None:
    """The IAM action and resource of a task; None for an integration that is not checked.

    >>> permission("arn:aws:states:::dynamodb:putItem", {"TableName": "t"}, "1", "r")
    ('dynamodb:PutItem', 'arn:aws:dynamodb:r:1:table/t')
    >>> permission("arn:aws:states:::aws-sdk:dynamodb:query", {"TableName": "t", "IndexName": "i"}, "1", "r")
    ('dynamodb:Query', 'arn:aws:dynamodb:r:1:table/t/index/i')
    """
    service, _, action = resource.removeprefix("arn:aws:states:::").partition(":")
    given = arguments if isinstance(arguments, dict) else {}
    match service, action:
        case "dynamodb", ("getItem" | "putItem" | "updateItem" | "deleteItem"):
            table = str(given.get("TableName", "")).rpartition("/")[2]
            return f"dynamodb:{action[0].upper()}{action[1:]}", f"arn:aws:dynamodb:{region}:{account}:table/{table}"
        case "aws-sdk", "dynamodb:query":
            table = f"arn:aws:dynamodb:{region}:{account}:table/{str(given.get('TableName', '')).rpartition('/')[2]}"
            index = given.get("IndexName")
            return "dynamodb:Query", f"{table}/index/{index}" if index else table
        case "aws-sdk", "sfn:startSyncExecution":
            return "states:StartSyncExecution", str(given.get("StateMachineArn", ""))
        case "aws-sdk", "secretsmanager:getSecretValue":
            return "secretsmanager:GetSecretValue", str(given.get("SecretId", ""))
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


STATE_ROLES = (
    Patch(
        "services.stepfunctions:_execute_task",
        "53c818d247dba62c",
        "does not pass the execution's role on to the task",
        "a task runs with the state machine's role",
        "D Step Functions developer guide, Creating an IAM role for your state machine",
        _remember_role,
    ),
    Patch(
        "services.stepfunctions:_invoke_resource",
        "a85d2be9a8584ce0",
        "calls the service whatever the role's policies say",
        "the service refuses what the policies do not allow, and the task fails with an error named after the service",
        "D Step Functions developer guide, Handling errors",
        _check_role,
    ),
)
