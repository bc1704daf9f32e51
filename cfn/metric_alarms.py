"""The form of every alarm: a threshold on a metric of one-minute periods."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, cloudwatch

PERIOD = 60  # s; the shortest period of these services' metrics


def metric_alarm(logical_id: str, name: str, **properties: Any) -> cloudwatch.Alarm:
    """Alarms above 0 in one period, if ``properties`` do not say otherwise."""
    return cloudwatch.Alarm(
        logical_id,
        AlarmName=name,
        # No traffic is not an alarm.
        **{
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 0,
            "Period": PERIOD,
            "EvaluationPeriods": 1,
            "TreatMissingData": "notBreaching",
        }
        | properties,
    )


def queue_metric(queue: Any, metric: str = "ApproximateNumberOfMessagesVisible") -> dict[str, Any]:
    """The properties of an alarm on a metric of a queue; by default the messages that wait in it."""
    return {
        "Namespace": "AWS/SQS",
        "MetricName": metric,
        "Statistic": "Maximum",
        "Dimensions": [cloudwatch.MetricDimension(Name="QueueName", Value=GetAtt(queue, "QueueName"))],
    }
