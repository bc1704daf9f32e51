"""The entrance ``queue``: the topic of its results, how many batches run at a time, and the alarm on its age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Output, Ref, Template, awslambda

from cfn.calls import RESULT_TOPIC
from cfn.concurrency import HEADROOM, executions_for
from cfn.data import Data, add_topic
from cfn.events.kinds import Queue
from cfn.events.polled import queue_id
from cfn.functions import FunctionResources
from cfn.metric_alarms import metric_alarm, queue_metric
from cfn.names import Names, pascal_case
from cfn.settings import Entrance, FunctionDefinition, Settings
from cfn.workflow.state_machine import Workflow


class _ScalingConfig(awslambda.ScalingConfig):  # type: ignore[misc]
    # troposphere 4.11 takes the property's shape from another resource.
    props = {"MaximumConcurrency": (int, False)}  # noqa: RUF012


# Of ScalingConfig.MaximumConcurrency (Lambda API reference, "ScalingConfig").
_CONCURRENCY_MIN, _CONCURRENCY_MAX = 2, 1000
# Seconds that a message may wait at most before the alarm: the queue takes in more than the load, or is not emptied.
_WAITING_MAX = 600


def batches_at_a_time(settings: Settings, function: FunctionDefinition) -> int:
    """The batches that carry the settings' load at its peak; more would only be throttled by the workflow's functions.

    ``function.milliseconds`` is that of a batch, whose messages run concurrently.
    """
    batch = next(event.batch for event in function.events if isinstance(event, Queue))
    peak = settings.transactions_per_minute / 60 * settings.burst * HEADROOM
    return min(max(executions_for(peak / batch, function.milliseconds), _CONCURRENCY_MIN), _CONCURRENCY_MAX)


def add_queue_entrance(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],
    data: Data,  # noqa: ARG001
    workflow: Workflow,  # noqa: ARG001
    alarm_topic: Any,
) -> None:
    """Add what belongs to the entrance beside the queue, its mapping and its failure queue, which are its event's."""
    function = next(each.definition for each in functions.values() if each.definition.entrance is Entrance.QUEUE)
    stem = pascal_case(function.name)
    topic = add_topic(template, RESULT_TOPIC, names.function(function.name))
    template.add_output(Output("ResultTopicArn", Value=Ref(topic)))
    number = next(number for number, event in enumerate(function.events, start=1) if isinstance(event, Queue))
    template.resources[f"{stem}Event{number}"].ScalingConfig = _ScalingConfig(
        MaximumConcurrency=batches_at_a_time(settings, function)
    )
    age = queue_metric(template.resources[queue_id(function.name)], "ApproximateAgeOfOldestMessage")
    template.add_resource(
        metric_alarm(
            f"{stem}Waiting",
            f"{names.function(function.name)}-age",
            AlarmActions=[alarm_topic],
            Threshold=_WAITING_MAX,
            **age,
        )
    )
