"""Alarms for failing or throttled functions, and for parked and lost transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from troposphere import Ref, Template, cloudwatch, logs, sns

from cfn.data import DEAD_LETTER_SECONDS, Data
from cfn.functions import FunctionResources
from cfn.metric_alarms import metric_alarm, queue_metric
from cfn.names import Names, pascal_case
from cfn.settings import Settings
from cfn.workflow.state_machine import Workflow
from cfn.workflow.sweeper import SWEEP_MINUTES

# Throttled invocations are tried again, so a few are no reason to wake anyone: this share of the load is, in three of
# five minutes. What retries do not carry is parked, which has an alarm of its own.
THROTTLED_SHARE = 0.01
# The oldest parked message, in seconds: half of what SQS keeps it for.
PARKED_TOO_LONG = DEAD_LETTER_SECONDS // 2

# Of the state machine's log at level ERROR without execution data: ExecutionFailed keeps the error, and a failed task
# the service that it called (recorded: stepfunctions/v2/logs; Step Functions API, TaskFailedEventDetails).
_LOST = '{ $.type = "ExecutionFailed" && $.details.error != "Parked" }'
_KEPT_IN_TABLE = '{ $.details.resourceType = "sqs" }'


def error_alarm(function: str) -> str:
    """The logical id of a function's error alarm."""
    return f"{pascal_case(function)}Errors"


def add_alarms(
    template: Template,
    settings: Settings,
    names: Names,
    *,
    functions: Mapping[str, FunctionResources],
    data: Data | None,
    workflow: Workflow | None,
    topic: Any,
) -> None:
    """Add the alarms, which publish to ``topic``, an ARN; those of transactions where there are any."""

    def add(logical_id: str, name: str, **metric: Any) -> None:
        template.add_resource(metric_alarm(logical_id, name, AlarmActions=[topic], **metric))

    tolerated = int(settings.transactions_per_minute * THROTTLED_SHARE) if settings.has_transactions else 0
    for name, resources in functions.items():
        dimensions = [cloudwatch.MetricDimension(Name="FunctionName", Value=Ref(resources.function))]
        lambda_metric = {"Namespace": "AWS/Lambda", "Statistic": "Sum", "Dimensions": dimensions}
        add(error_alarm(name), f"{names.function(name)}-errors", MetricName="Errors", **lambda_metric)
        add(
            f"{pascal_case(name)}Throttles",
            f"{names.function(name)}-throttles",
            MetricName="Throttles",
            Threshold=tolerated,
            EvaluationPeriods=5,
            DatapointsToAlarm=3,
            **lambda_metric,
        )
    if data is None or workflow is None:
        return
    queue, name = data.dead_letter_queue, names.dead_letter_queue
    add("ParkedTransactions", f"{name}-messages", **queue_metric(queue))
    age = queue_metric(queue, "ApproximateAgeOfOldestMessage")
    add("ParkedTooLong", f"{name}-age", Threshold=PARKED_TOO_LONG, **age)
    add(
        "ExecutionsTimedOut",
        f"{names.state_machine}-timed-out",
        Namespace="AWS/States",
        MetricName="ExecutionsTimedOut",
        Statistic="Sum",
        Dimensions=[cloudwatch.MetricDimension(Name="StateMachineArn", Value=Ref(workflow.state_machine))],
    )
    for logical_id, name, pattern in (
        ("ExecutionsLost", "lost", _LOST),
        ("ParkedInTable", "parked-in-table", _KEPT_IN_TABLE),
    ):
        template.add_resource(
            logs.MetricFilter(
                f"{logical_id}Filter",
                LogGroupName=Ref(workflow.log_group),
                FilterPattern=pattern,
                MetricTransformations=[
                    logs.MetricTransformation(
                        MetricNamespace=names.state_machine, MetricName=logical_id, MetricValue="1"
                    )
                ],
            )
        )
        add(
            logical_id,
            f"{names.state_machine}-{name}",
            Namespace=names.state_machine,
            MetricName=logical_id,
            Statistic="Sum",
        )


def add_sweeper_alarm(template: Template, names: Names, sweeper: Any, topic: Any) -> None:
    """Alarm when no sweep has succeeded for three times its interval, whether it failed or was never started.

    The metric has values for successes only, so the alarm's own state for their absence is the alarm: it does not sound
    before the first sweep.
    """
    template.add_resource(
        metric_alarm(
            "LostClaimsNotSwept",
            f"{names.sweeper}-stopped",
            Namespace="AWS/States",
            MetricName="ExecutionsSucceeded",
            Statistic="Sum",
            Dimensions=[cloudwatch.MetricDimension(Name="StateMachineArn", Value=Ref(sweeper))],
            Period=SWEEP_MINUTES * 60,
            EvaluationPeriods=3,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
            TreatMissingData="missing",
            InsufficientDataActions=[topic],
        )
    )


def add_subscriptions(template: Template, prefix: str, topic: Any, endpoints: tuple[str, ...]) -> None:
    """Subscribe e-mail addresses, https URLs, and queues or functions by their ARN (``cfn.validation`` checks them)."""
    for endpoint in endpoints:
        template.add_resource(
            sns.SubscriptionResource(
                # Named after the endpoint, so that another one in the list does not change it.
                f"{prefix}Subscription{hashlib.sha256(endpoint.encode()).hexdigest()[:8]}",
                TopicArn=topic,
                Protocol=protocol_of(endpoint),
                Endpoint=endpoint,
            )
        )


def protocol_of(endpoint: str) -> str:
    """The SNS protocol of an endpoint: ``"ops@example.com"`` is "email", an ARN is that of its service."""
    if endpoint.startswith("arn:"):
        return endpoint.split(":")[2]
    return "https" if endpoint.startswith("https://") else "email"
