"""How the state machine calls: tasks with time limits, retries and catchers, all of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfn.workflow_expressions import EXECUTION, expression

State = dict[str, Any]

# What ``${…}`` in the definition stands for.
SUBSTITUTIONS = (
    "Table",
    "AlertTopic",
    "DeadLetterQueue",
    "ValidationFunction",
    "FraudFunction",
    "ComplianceFunction",
)

# TimeoutSeconds of one attempt. With every retry and wait the longest way stays below the 300 s of EXPRESS, which
# ``cfn.workflow_limits`` computes from the definition itself.
VALIDATE_SECONDS, ASSESS_SECONDS, SERVICE_SECONDS, TABLE_SECONDS = 8, 16, 3, 2

LAMBDA_ERRORS = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
)


def dynamodb_errors(*names: str) -> list[str]:
    """Both spellings: the optimised integration says ``DynamoDB.…``, the SDK integration ``DynamoDb.…``."""
    return [f"{prefix}.{name}" for name in names for prefix in ("DynamoDB", "DynamoDb")]


CONDITION_FAILED = dynamodb_errors("ConditionalCheckFailedException")
# As the optimised integration spells them, which is the one in use.
DYNAMODB_ERRORS = (
    "DynamoDB.ProvisionedThroughputExceededException",
    "DynamoDB.RequestLimitExceeded",
    "DynamoDB.ThrottlingException",
    "DynamoDB.InternalServerError",
)


def retry(errors: Sequence[str], attempts: int = 3) -> list[State]:
    return [
        {
            "ErrorEquals": list(errors),
            "IntervalSeconds": 2,
            "MaxAttempts": attempts,
            "BackoffRate": 2.0,
            "JitterStrategy": "FULL",
        }
    ]


def park_on_error(state: str, *first: State, unbounded: bool = False) -> list[State]:
    """Catchers that end in Park, after those of ``first``. ``unbounded``: the result may be larger than a state.

    A catcher without Output gives the error as it is, {"Error", "Cause"}.
    """
    rest: State = {"Assign": {"failed": state}, "Next": "Park"}
    named = [{"ErrorEquals": ["States.DataLimitExceeded"], **rest}] if unbounded else []
    return [*first, *named, {"ErrorEquals": ["States.ALL"], **rest}]


def table_task(action: str, **fields: Any) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::dynamodb:{action}",
        "TimeoutSeconds": TABLE_SECONDS,
        "Retry": retry(DYNAMODB_ERRORS),
        **fields,
    }


def update_arguments(transaction_id: str, condition: str, update: str, values: str, **more: Any) -> State:
    """Arguments of a conditional updateItem. ``values``: a JSONata expression for the ``:names``."""
    return {
        "TableName": "${Table}",
        "Key": {"transaction_id": {"S": transaction_id}},
        "ConditionExpression": condition,
        "UpdateExpression": update,
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": expression(values),
        **more,
    }


def invoke_task(function: str, transaction: str, seconds: int, **fields: Any) -> State:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {
            "FunctionName": f"${{{function}}}",
            "Payload": expression(
                f"{{'transaction': {transaction}, 'received_at': $received_at, 'execution': {EXECUTION}}}"
            ),
        },
        "TimeoutSeconds": seconds,
        "Retry": retry(LAMBDA_ERRORS),
        **fields,
    }
