"""What Lambda polls for a function: queues and streams, through event source mappings."""

from __future__ import annotations

import json
from typing import Any

from troposphere import GetAtt, Ref, Sub, Template, awslambda, sqs

from cfn.data import add_queue
from cfn.events.failure_queue import failures_id
from cfn.events.kinds import DataStream, Queue, TableStream
from cfn.names import Names, pascal_case
from cfn.settings import FunctionDefinition

# Lambda guide, "Using Lambda with Amazon SQS": at least six times the function's timeout, and the batching window.
VISIBILITY_TIMES = 6
_VISIBILITY_MAX = 43_200  # seconds (API_SetQueueAttributes)


def queue_id(function: str) -> str:
    return f"{pascal_case(function)}Queue"


def arn_value(text: str) -> Any:
    """An ARN, or the reference to an own resource, as a template has it."""
    return Sub(text) if text.startswith("${") else text


def source_arn(function: str, event: Queue | TableStream | DataStream) -> Any:
    """The ARN of what is polled: the function's own queue, or what the event names."""
    if isinstance(event, Queue):
        return arn_value(event.queue) if event.queue else GetAtt(queue_id(function), "Arn")
    return arn_value(event.stream)


def polling_statements(function: FunctionDefinition) -> list[dict[str, Any]]:
    """What the function's role needs, so that Lambda can poll for it (Lambda guide, the permissions of each source)."""
    statements: list[dict[str, Any]] = []
    for event in function.events:
        match event:
            case Queue():
                actions = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
            case TableStream():
                actions = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
                # Knows no resource (service authorization reference, DynamoDB).
                statements.append({"Effect": "Allow", "Action": ["dynamodb:ListStreams"], "Resource": "*"})
            case DataStream():
                actions = [
                    "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords",
                    "kinesis:GetShardIterator", "kinesis:ListShards",
                ]  # fmt: skip
            case _:
                continue
        statements.append({"Effect": "Allow", "Action": actions, "Resource": source_arn(function.name, event)})
    return statements


def add_source(
    template: Template,
    names: Names,
    function: FunctionDefinition,
    number: int,
    event: Queue | TableStream | DataStream,
    alias: Any,
    policy: str,
) -> None:
    """Add the mapping of the function's event ``number``, and its own queue if it names none."""
    own = isinstance(event, Queue) and not event.queue
    if own:
        _add_queue(template, names, function, event, policy)
    stream: dict[str, Any] = {}
    if isinstance(event, Queue):
        # A batch over ten needs a window (API_CreateEventSourceMapping).
        window = max(event.window, 1) if event.batch > 10 else event.window
    else:
        window = event.window
        stream = {
            "StartingPosition": event.start,
            "MaximumRetryAttempts": event.attempts,
            # Halves a batch that fails, so that one bad record does not hold up the others.
            "BisectBatchOnFunctionError": True,
            "DestinationConfig": awslambda.DestinationConfig(
                OnFailure=awslambda.OnFailure(Destination=GetAtt(failures_id(function.name), "Arn"))
            ),
        }
    template.add_resource(
        awslambda.EventSourceMapping(
            f"{pascal_case(function.name)}Event{number}",
            FunctionName=Ref(alias),
            EventSourceArn=source_arn(function.name, event),
            BatchSize=event.batch,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **({"MaximumBatchingWindowInSeconds": window} if window else {}),
            **({"FilterCriteria": _filter(event.filter)} if event.filter else {}),
            **stream,
        )
    )


def _filter(pattern: dict[str, Any]) -> Any:
    return awslambda.FilterCriteria(Filters=[awslambda.Filter(Pattern=json.dumps(pattern, sort_keys=True))])


def _add_queue(template: Template, names: Names, function: FunctionDefinition, event: Any, policy: str) -> None:
    add_queue(
        template,
        queue_id(function.name),
        names.function(function.name),
        policy,
        fifo=event.fifo,
        VisibilityTimeout=min(VISIBILITY_TIMES * function.timeout + event.window, _VISIBILITY_MAX),
        RedrivePolicy=sqs.RedrivePolicy(
            deadLetterTargetArn=GetAtt(failures_id(function.name), "Arn"), maxReceiveCount=event.attempts
        ),
    )
