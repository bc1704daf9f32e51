"""The services that a Task calls: which errors they can return, and whether a request may have taken effect.

The names of errors are those of the service's API model, as botocore has it, with the prefix that Step Functions puts
before them, and those that were recorded on AWS beside them (``SdkClientException``, ``AmazonDynamoDBException``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from botocore.exceptions import UnknownServiceError

from pipeline.core.service_models import ServiceModels

_RESOURCE = re.compile(
    r"arn:[^:]+:states:[^:]*:[^:]*:(?:aws-sdk:)?([A-Za-z0-9-]+):([A-Za-z0-9]+)(?:\.(sync(?::2)?|waitForTaskToken))?$"
)
_FUNCTION = re.compile(r"arn:[^:]+:lambda:|\$\{")
_ACTIVITY = re.compile(r"arn:[^:]+:states:[^:]*:[^:]*:activity:")
# Names in resource ARNs that differ from botocore's.
_SERVICES = {"sfn": "stepfunctions", "states": "stepfunctions", "eventbridge": "events"}

TIMEOUT, ANY, TASK_FAILED, DATA_LIMIT = "States.Timeout", "States.ALL", "States.TaskFailed", "States.DataLimitExceeded"
RUNTIME, QUERY_ERROR = "States.Runtime", "States.QueryEvaluationError"
HEARTBEAT = "States.HeartbeatTimeout"

# Errors after which the request may have been carried out: the answer was lost, not the request.
_AMBIGUOUS = re.compile(
    r"^States\.(Heartbeat)?Timeout$|SdkClientException$|Internal|Unavailable|\.(Amazon)?\w+ServiceException$|Amazon\w+Exception$"
)
# Errors of load or of the service itself, which pass: AWS's own advice is to try again.
_PASSING = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|ProvisionedThroughputExceeded|InternalServ|ServiceUnavailable|\.ServiceException$|AWSLambdaException$|SdkClientException$|ClientExecutionTimeout"
)


@dataclass(frozen=True, slots=True)
class Integration:
    """service and action as botocore and the resource ARN name them; prefix: of the error names."""

    service: str
    action: str
    prefix: str
    waits: str = ""

    @property
    def is_table(self) -> bool:
        return self.service == "dynamodb"

    @property
    def is_function(self) -> bool:
        return self.service == "lambda" and self.action == "invoke"

    def __str__(self) -> str:
        return f"{self.service}:{self.action}{f'.{self.waits}' if self.waits else ''}"


def integration_of(state: Mapping[str, Any]) -> Integration:
    """What a Task calls. An ARN of a function, or a substitution in its place, is an invocation of that function."""
    resource = str(state.get("Resource", ""))
    if _ACTIVITY.match(resource):
        return Integration("activity", "wait", "Activity", "activity")
    found = _RESOURCE.match(resource)
    if found is None:
        return Integration("lambda", "call" if _FUNCTION.match(resource) else "unknown", "Lambda")
    service = _SERVICES.get(found[1], found[1])
    sdk = ":aws-sdk:" in resource
    return Integration(service, found[2], _prefix(service, found[1], sdk), found[3] or "")


_OPTIMISED = {
    "dynamodb": "DynamoDB", "sqs": "SQS", "sns": "SNS", "lambda": "Lambda", "states": "StepFunctions",
    "events": "EventBridge", "ecs": "ECS", "batch": "Batch", "glue": "Glue",
}  # fmt: skip


def _prefix(service: str, written: str, sdk: bool) -> str:
    if not sdk and written in _OPTIMISED:
        return _OPTIMISED[written]
    model = _model(service)
    name = str(model["metadata"].get("serviceId", service)) if model else service
    return re.sub(r"[A-Z]{2,}", lambda run: run[0].capitalize(), name.replace(" ", "")) if sdk else name


@lru_cache(maxsize=32)
def _model(service: str) -> Any:
    try:
        return ServiceModels().load_service_model(service, "service-2")
    except UnknownServiceError:
        return None


@lru_cache(maxsize=256)
def errors_of(integration: Integration) -> tuple[str, ...]:
    """The error names that a call can fail with, except those of ``$states``' own evaluation."""
    prefix = integration.prefix
    own = [f"{prefix}.SdkClientException", f"{prefix}.{_service_exception(prefix)}"]
    if integration.service == "activity":
        own = []
    model = _model(integration.service)
    operation = f"{integration.action[:1].upper()}{integration.action[1:]}"
    if integration.service == "lambda" and integration.action == "call":
        operation = "Invoke"
    shapes = model["operations"].get(operation, {}).get("errors", []) if model else []
    own += [f"{prefix}.{_name(shape['shape'])}" for shape in shapes]
    if integration.service == "dynamodb":
        own.append(f"{prefix}.ThrottlingException")
    if integration.service == "lambda":
        # What a function raises has the name of its exception; one stands for all that nobody can list.
        own += [
            "Lambda.ClientExecutionTimeoutException",
            "Lambda.AWSLambdaException",
            "Lambda.Unknown",
            "Exception",
            DATA_LIMIT,
        ]
    if integration.waits:
        own += [HEARTBEAT, "Exception"]
    return tuple(dict.fromkeys([TIMEOUT, TASK_FAILED, *own]))


def _service_exception(prefix: str) -> str:
    """The base class of the SDK, for what the API model does not name. Recorded: DynamoDB.AmazonDynamoDBException,
    SQS.AmazonSQSException (optimised), DynamoDb.DynamoDbException, SecretsManager.SecretsManagerException (SDK)."""
    return f"Amazon{prefix}Exception" if prefix in ("DynamoDB", "SQS", "SNS") else f"{prefix}Exception"


def _name(shape: str) -> str:
    """The class of the Java SDK, whose names all end so: InternalServerError is InternalServerErrorException."""
    return shape if shape.endswith("Exception") else f"{shape}Exception"


def may_have_happened(error: str) -> bool:
    return bool(_AMBIGUOUS.search(error))


def passes(error: str) -> bool:
    """Whether AWS advises to try again after ``error``, because it passes."""
    return bool(_PASSING.search(error))


def matches(names: list[str], error: str, *, task: bool = True) -> bool:
    """Whether an ErrorEquals of a Task, or else of a Parallel or Map, matches.

    Source: Step Functions guide, "Handling errors in Step Functions workflows"; recorded on AWS: nothing catches
    States.Runtime, even by its name, and States.ALL of a Task catches States.DataLimitExceeded, which the guide denies.
    """
    if error == RUNTIME:
        return False
    if error in names:
        return True
    if ANY in names:
        return task or error != DATA_LIMIT
    if TASK_FAILED in names:
        return error not in (DATA_LIMIT, TIMEOUT, HEARTBEAT, QUERY_ERROR)
    return TIMEOUT in names and error == HEARTBEAT
