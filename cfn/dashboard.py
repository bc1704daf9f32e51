"""A dashboard of the transactions: rate, outcomes, latency, what is parked, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from troposphere import Sub, Template, cloudwatch

from cfn.functions import METRICS_NAMESPACE, FunctionResources
from cfn.names import Names
from cfn.workflow.limits import COMPLIANCE, VALIDATION
from cfn.workflow.state_machine import Workflow

# USD per unit in us-east-1, as in pipeline/transactions/prices.toml, which a test compares.
PRICES = {
    "per_write": 0.625e-6,
    "per_read": 0.125e-6,
    "per_start": 1.00e-6,
    "per_invocation": 0.20e-6,
    "per_log_byte": 0.50e-9,
}
_WIDTH, _HEIGHT = 12, 6
Metric = list[Any]


def add_dashboard(
    template: Template, names: Names, functions: Mapping[str, FunctionResources], workflow: Workflow
) -> None:
    """Add the dashboard, named like the state machine."""
    widgets = [
        _widget("Submissions a minute", _rate(names), stacked=False),
        _widget("Outcomes a minute", _outcomes(names)),
        _widget("Latency (ms)", _latency(names, functions), statistic="p99"),
        _widget("Parked", _parked(names), statistic="Maximum"),
        _widget("USD an hour (us-east-1)", _cost(names, functions), period=3600),
    ]
    for number, widget in enumerate(widgets):
        widget |= {"x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT, "width": _WIDTH, "height": _HEIGHT}
    template.add_resource(
        cloudwatch.Dashboard(
            "Dashboard",
            DashboardName=names.state_machine,
            DashboardBody=Sub(
                json.dumps({"widgets": widgets}, separators=(",", ":")).replace(
                    _MACHINE, f"${{{workflow.state_machine.title}}}"
                )
            ),
        )
    )


_MACHINE = "the-state-machine"


def _widget(title: str, metrics: list[Metric], *, statistic: str = "Sum", period: int = 60, **more: Any) -> Any:
    properties = {"title": title, "region": "${AWS::Region}", "stat": statistic, "period": period, "metrics": metrics}
    return {"type": "metric", "properties": properties | more}


def _states(metric: str, **options: Any) -> Metric:
    return ["AWS/States", metric, "StateMachineArn", _MACHINE, *([options] if options else [])]


def _rate(names: Names) -> list[Metric]:
    return [
        _states("ExecutionsStarted", label="submitted"),
        _states("ExecutionsSucceeded", label="answered"),
        _states("ExecutionsFailed", label="parked"),
        [names.state_machine, "ExecutionsLost", {"label": "lost"}],
    ]


def _outcomes(names: Names) -> list[Metric]:
    """Approvals have no metric of their own: they are what is answered without being rejected or alerted about."""

    def own(metric: str, function: str, label: str, **options: Any) -> Metric:
        return [METRICS_NAMESPACE, metric, "service", function, {"label": label, **options}]

    return [
        [{"expression": "FILL(s,0)-FILL(a,0)-FILL(r,0)", "label": "approved or repeated"}],
        _states("ExecutionsSucceeded", id="s", visible=False),
        ["AWS/SNS", "NumberOfMessagesPublished", "TopicName", names.alert_topic,
         {"id": "a", "label": "review, declined, conflict"}],
        own("TransactionsInvalid", VALIDATION, "rejected", id="r"),
        own("FindingsBlock", COMPLIANCE, "blocked by compliance"),
    ]  # fmt: skip


def _latency(names: Names, functions: Mapping[str, FunctionResources]) -> list[Metric]:
    return [
        *(_states("ExecutionTime", stat=each, label=f"answer, {each}") for each in ("p50", "p99")),
        *(["AWS/Lambda", "Duration", "FunctionName", names.function(name)] for name in functions),
    ]


def _parked(names: Names) -> list[Metric]:
    queue = ["QueueName", names.dead_letter_queue]
    return [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", *queue, {"label": "messages"}],
        ["AWS/SQS", "ApproximateAgeOfOldestMessage", *queue, {"label": "oldest (s)", "yAxis": "right"}],
        [names.state_machine, "ParkedInTable", {"stat": "Sum", "label": "kept in the table"}],
    ]


def _cost(names: Names, functions: Mapping[str, FunctionResources]) -> list[Metric]:
    """The part of the bill that depends on the load, but for the durations, which are a tenth of it."""
    used = [
        (["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", names.table], "per_write"),
        (["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", names.table], "per_read"),
        (_states("ExecutionsStarted"), "per_start"),
        *(
            (["AWS/Lambda", "Invocations", "FunctionName", names.function(name)], "per_invocation")
            for name in functions
        ),
        *((["AWS/Logs", "IncomingBytes", "LogGroupName", names.log_group(name)], "per_log_byte") for name in functions),
    ]
    terms = [f"FILL(m{number},0)*{PRICES[price]:g}" for number, (_metric, price) in enumerate(used)]
    hidden = [[*metric, {"id": f"m{number}", "visible": False}] for number, (metric, _price) in enumerate(used)]
    return [[{"expression": "+".join(terms), "label": "USD"}], *hidden]
