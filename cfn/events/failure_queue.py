"""The queue of a function's failures: events that it could not handle, kept for 14 days, with an alarm."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Ref, Template, awslambda

from cfn.data import DEAD_LETTER_SECONDS, add_queue
from cfn.events.kinds import ASYNCHRONOUS, SYNCHRONOUS, Queue
from cfn.metric_alarms import metric_alarm, queue_metric
from cfn.names import Names, pascal_case
from cfn.settings import FunctionDefinition


def failures_id(function: str) -> str:
    return f"{pascal_case(function)}Failures"


def failures_name(names: Names, function: str) -> str:
    return f"{names.function(function)}-failures"


def has_fifo_failures(function: FunctionDefinition) -> bool:
    """Whether the failure queue is FIFO: it is of the type of the queue whose messages it takes (API_CreateQueue)."""
    return any(isinstance(event, Queue) and event.fifo and not event.queue for event in function.events)


def needs_failures(function: FunctionDefinition) -> bool:
    """Whether an event of the function can fail without a caller that gets the error. An existing queue has its own."""
    return any(
        not isinstance(event, SYNCHRONOUS) and not (isinstance(event, Queue) and event.queue)
        for event in function.events
    )


def failure_statements(function: FunctionDefinition) -> list[dict[str, Any]]:
    """What the role needs to send failed events there; a queue's own redrive needs nothing."""
    if not any(not isinstance(event, (*SYNCHRONOUS, Queue)) for event in function.events):
        return []
    arn = GetAtt(failures_id(function.name), "Arn")
    return [{"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": arn}]


def add_failures(
    template: Template, names: Names, function: FunctionDefinition, alias: Any, alarm_topic: Any, policy: str
) -> None:
    """Add the queue, its alarm, which publishes to the ARN ``alarm_topic``, and where asynchronous failures go."""
    name = failures_name(names, function.name)
    queue = add_queue(
        template,
        failures_id(function.name),
        name,
        policy,
        fifo=has_fifo_failures(function),
        MessageRetentionPeriod=DEAD_LETTER_SECONDS,
    )
    alarm_id = f"{pascal_case(function.name)}FailuresKept"
    template.add_resource(metric_alarm(alarm_id, f"{name}-messages", AlarmActions=[alarm_topic], **queue_metric(queue)))
    if any(isinstance(event, ASYNCHRONOUS) for event in function.events):
        template.add_resource(
            awslambda.EventInvokeConfig(
                f"{pascal_case(function.name)}Retries",
                FunctionName=Ref(f"{pascal_case(function.name)}Function"),
                # The name of the alias, with the alias: Lambda refuses a configuration of one that is not there.
                Qualifier=_qualifier(alias),
                MaximumRetryAttempts=function.retries,
                MaximumEventAgeInSeconds=function.maximum_age,
                DestinationConfig=awslambda.DestinationConfig(
                    OnFailure=awslambda.OnFailure(Destination=GetAtt(queue, "Arn"))
                ),
                DependsOn=[alias.title],
            )
        )


def _qualifier(alias: Any) -> Any:
    return alias.resource["Properties"]["Name"]
