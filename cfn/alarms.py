"""Alarms on what somebody must look at: failing or throttled functions, parked transactions, failed executions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import GetAtt, Ref, Template, cloudwatch

from cfn.functions import FunctionResources
from cfn.names import Names, pascal_case

PERIOD = 60  # s; the shortest period of these services' metrics


def error_alarm(function: str) -> str:
    """The logical id of a function's error alarm."""
    return f"{pascal_case(function)}Errors"


def add_alarms(
    template: Template,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],
    dead_letter_queue: Any | None,
    state_machine: Any | None,
    alarm_topic: Any,
) -> None:
    """Add the alarms; those of the queue and the state machine where there are any."""

    def add(logical_id: str, name: str, **metric: Any) -> None:
        template.add_resource(
            cloudwatch.Alarm(
                logical_id,
                AlarmName=name,
                AlarmActions=[Ref(alarm_topic)],
                ComparisonOperator="GreaterThanThreshold",
                Threshold=0,
                EvaluationPeriods=1,
                Period=PERIOD,
                # No traffic is not an alarm.
                TreatMissingData="notBreaching",
                **metric,
            )
        )

    for name, resources in functions.items():
        for metric in ("Errors", "Throttles"):
            add(
                error_alarm(name) if metric == "Errors" else f"{pascal_case(name)}Throttles",
                f"{names.function(name)}-{metric.lower()}",
                Namespace="AWS/Lambda",
                MetricName=metric,
                Statistic="Sum",
                Dimensions=[cloudwatch.MetricDimension(Name="FunctionName", Value=Ref(resources.function))],
            )
    if dead_letter_queue is not None:
        add(
            "ParkedTransactions",
            f"{names.dead_letter_queue}-messages",
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Statistic="Maximum",
            Dimensions=[cloudwatch.MetricDimension(Name="QueueName", Value=GetAtt(dead_letter_queue, "QueueName"))],
        )
    for metric in ("ExecutionsFailed", "ExecutionsTimedOut") if state_machine is not None else ():
        add(
            metric,
            f"{names.state_machine}-{'failed' if metric == 'ExecutionsFailed' else 'timed-out'}",
            Namespace="AWS/States",
            MetricName=metric,
            Statistic="Sum",
            Dimensions=[cloudwatch.MetricDimension(Name="StateMachineArn", Value=Ref(state_machine))],
        )
