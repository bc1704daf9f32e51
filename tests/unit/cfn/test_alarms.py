"""Alarms, their subscribers, and the dashboard."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from cfn import dashboard
from cfn.settings import Settings
from pipeline.core.errors import SettingsError
from pipeline.transactions.prices import Prices
from tests.unit.cfn.examples import DEV, PROD, of_type, pipeline


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return pipeline()


def test_the_oldest_parked_message_is_told_of_long_before_it_is_gone(template: dict[str, Any]) -> None:
    alarm, queue = template["Resources"]["ParkedTooLong"]["Properties"], template["Resources"]["DeadLetterQueue"]
    assert alarm["Threshold"] == 7 * 86_400
    assert alarm["Threshold"] <= queue["Properties"]["MessageRetentionPeriod"] / 2


def test_throttles_alarm_as_a_share_of_the_load() -> None:
    def alarm(**settings: Any) -> tuple[int, int, int]:
        found = pipeline(Settings("dev", **settings))["Resources"]["FraudDetectionThrottles"]["Properties"]
        return found["Threshold"], found["DatapointsToAlarm"], found["EvaluationPeriods"]

    assert alarm() == (100, 3, 5)
    assert alarm(transactions_per_minute=50) == (0, 3, 5)


@pytest.mark.parametrize(
    ("event", "metrics"),
    [
        ({"type": "ExecutionFailed", "details": {"error": "Parked", "cause": "{}"}}, set()),
        ({"type": "ExecutionFailed", "details": {"error": "NotParked", "cause": "{}"}}, {"ExecutionsLost"}),
        ({"type": "ExecutionFailed", "details": {"error": "States.Runtime"}}, {"ExecutionsLost"}),
        (
            {"type": "TaskFailed", "details": {"error": "SQS.AmazonSQSException", "resourceType": "sqs"}},
            {"ParkedInTable"},
        ),
        ({"type": "TaskTimedOut", "details": {"error": "States.Timeout", "resourceType": "sqs"}}, {"ParkedInTable"}),
        ({"type": "TaskFailed", "details": {"error": "Boom", "resourceType": "lambda"}}, set()),
        ({"type": "FailStateEntered", "details": {"name": "NotParked"}}, set()),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_log_tells_the_lost_from_the_parked(
    template: dict[str, Any], event: dict[str, Any], metrics: set[str]
) -> None:
    """Events as Step Functions logs them at level ERROR without execution data (recorded: stepfunctions/v2/logs)."""
    assert {
        each["Properties"]["MetricTransformations"][0]["MetricName"]
        for each in of_type(template, "AWS::Logs::MetricFilter").values()
        if _matches(each["Properties"]["FilterPattern"], event)
    } == metrics


def _matches(pattern: str, event: dict[str, Any]) -> bool:
    """A filter of terms joined by && (CloudWatch Logs guide, "Filter pattern syntax"): none holds without its field."""
    for term in pattern.strip("{ }").split(" && "):
        path, operator, value = term.split(" ", 2)
        found: Any = event
        for name in path.removeprefix("$.").split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None or (found == value.strip('"')) is not (operator == "="):
            return False
    return True


def test_endpoints_are_subscribed_to_the_topics_that_they_are_for() -> None:
    found = {
        (each["Properties"]["TopicArn"]["Ref"], each["Properties"]["Protocol"], each["Properties"]["Endpoint"])
        for each in of_type(pipeline(PROD), "AWS::SNS::Subscription").values()
    }
    assert found == {
        ("AlarmTopic", "email", "ops@example.com"),
        ("AlertTopic", "https", "https://alerts.example.com/fraud"),
        ("AlertTopic", "sqs", "arn:aws:sqs:eu-central-1:123456789012:cases"),
    }


def test_alarms_can_go_to_a_topic_that_exists() -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:operations"
    template = pipeline(Settings("dev", alarm_topic=topic))
    assert {"AlarmTopic", "AlarmKey", "AlarmKeyAlias", "AlarmTopicPolicy"}.isdisjoint(template["Resources"])
    assert template["Outputs"]["AlarmTopicArn"]["Value"] == topic
    assert all(
        each["Properties"]["AlarmActions"] == [topic] for each in of_type(template, "AWS::CloudWatch::Alarm").values()
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"alarm_topic": "operations"}, "a topic is arn:aws:sns"),
        ({"alarm_topic": "arn:aws:sns:eu-central-1:123456789012:a", "alarm_subscriptions": ("a@b.c",)}, "another"),
        ({"alarm_subscriptions": ("ops",)}, "alarm_subscriptions has 'ops'"),
        ({"alert_subscriptions": ("http://example.com",)}, "https URLs"),
        ({"alert_subscriptions": ("+491234567",)}, "https URLs"),
        ({"alert_subscriptions": ("a@b.c", "a@b.c")}, "twice"),
        ({"alert_subscriptions": ("a@b.c",), "workflow": None, "project": "orders"}, "no transactions"),
    ],
)
def test_who_is_told_is_checked(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(why)):
        pipeline(Settings("dev", **settings))


# The dashboard


def test_a_dashboard_comes_with_protected_data_or_a_setting() -> None:
    assert [
        len(of_type(pipeline(settings), "AWS::CloudWatch::Dashboard"))
        for settings in (DEV, PROD, Settings("dev", dashboard=True), replace(PROD, dashboard=False))
    ] == [0, 1, 1, 0]


def test_the_dashboard_shows_what_the_stack_has() -> None:
    template = pipeline(PROD)
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r"\$\{([^}]*)\}", body)) == {"AWS::Region", "StateMachine"}
    widgets = json.loads(body)["widgets"]
    titles = [each["properties"]["title"] for each in widgets]
    assert [title.split()[0] for title in titles] == ["Submissions", "Outcomes", "Latency", "Parked", "USD"]
    names = {
        value
        for resource in template["Resources"].values()
        for key, value in resource["Properties"].items()
        if key.endswith("Name") and isinstance(value, str)
    }
    for widget in widgets:
        hidden = {
            each[-1]["id"]
            for each in widget["properties"]["metrics"]
            if isinstance(each[-1], dict) and "id" in each[-1]
        }
        for metric in widget["properties"]["metrics"]:
            if "expression" in metric[0]:
                assert set(re.findall(r"FILL\((\w+),0\)", metric[0]["expression"])) <= hidden
            elif metric[0] in ("AWS/Lambda", "AWS/DynamoDB", "AWS/SQS", "AWS/SNS", "AWS/Logs"):
                assert metric[3] in names, metric


def test_the_dashboard_has_the_prices_of_the_price_list() -> None:
    table = Prices.load().table
    assert (
        pytest.approx(
            {
                "per_write": table["dynamodb"]["per_million_writes"] / 1e6,
                "per_read": table["dynamodb"]["per_million_reads"] / 1e6,
                "per_start": table["express"]["per_million_requests"] / 1e6,
                "per_invocation": table["lambda"]["per_million_requests"] / 1e6,
                "per_log_byte": table["logs"]["per_gb"] / 1e9,
            }
        )
        == dashboard.PRICES
    )
