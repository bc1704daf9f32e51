"""The functions and settings that the template tests share."""

from __future__ import annotations

import json
from typing import Any

from cfn.events.kinds import Bucket, DataStream, Event, Queue, Route, Rule, Schedule, TableStream, Topic, Url
from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render
from cfn.settings import Architecture, Call, FunctionDefinition, Jwt, Settings

VELOCITY = Call("dynamodb", ("Query",), "state-table/index/customer")
FUNCTIONS = (
    FunctionDefinition("transaction-validation", description="Checks that a transaction is complete and sane"),
    FunctionDefinition("fraud-detection", description="Scores a transaction from 0 to 100", calls=(VELOCITY,)),
    FunctionDefinition("compliance-checking", description="Holds a transaction against the rules"),
)
DEV = Settings("dev")
PROD = Settings(
    "prod",
    architecture=Architecture.X86_64,
    reserved_concurrency=0,
    encryption="KMS",
    protect_data=True,
    find_lost_claims=True,
    table_class="STANDARD_INFREQUENT_ACCESS",
    log_retention_days=365,
    release="LambdaCanary10Percent5Minutes",
    alarm_subscriptions=("ops@example.com",),
    alert_subscriptions=("https://alerts.example.com/fraud", "arn:aws:sqs:eu-central-1:123456789012:cases"),
)

# Events of every type, with what can be said of each.
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
EVENTS: tuple[Event, ...] = (
    Url(),
    Url("none"),
    Route("GET /orders/{id}"),
    Route("$default", "none"),
    Queue(),
    Queue("arn:aws:sqs:us-east-1:123456789012:jobs", batch=100, filter={"body": {"status": ["paid"]}}),
    Schedule("rate(5 minutes)", input={"job": "clean"}),
    Schedule("cron(0 8 ? * MON-FRI *)", "Europe/Berlin"),
    Bucket("uploads", prefix="in/", suffix=".csv"),
    Topic(),
    Topic("arn:aws:sns:us-east-1:123456789012:news", {"kind": ["order"]}),
    Rule({"source": ["shop"]}),
    TableStream(STREAM, filter={"eventName": ["INSERT"]}),
    DataStream("arn:aws:kinesis:us-east-1:123456789012:stream/clicks", "TRIM_HORIZON"),
)
JWT = Jwt("https://login.example.com", ("orders",), ("read", "write"))
# A function with every setting, in a project without a workflow, and one whose callers have tokens.
FUNCTIONS_ALONE = Settings("dev", project="orders", workflow=None)
FOR_TOKENS = FunctionDefinition("account", timeout=20, events=(Route("GET /account", "jwt"),))
FULL = FunctionDefinition(
    "bill", timeout=20, ephemeral_storage=1024, reserved_concurrency=5, provisioned_concurrency=1, tracing=True,
    secrets=(("DATABASE", "secretsmanager:orders/db"), ("TOKEN", "ssm:/orders/token")),
    events=tuple(event for event in EVENTS if event != Url("none")),
)  # fmt: skip


def registry(settings: Settings = DEV, functions: tuple[FunctionDefinition, ...] = FUNCTIONS) -> dict[str, Any]:
    return json.loads(render(registry_template(settings, functions)))


def pipeline(settings: Settings = DEV, functions: tuple[FunctionDefinition, ...] = FUNCTIONS) -> dict[str, Any]:
    return json.loads(render(pipeline_template(settings, functions)))


def of_type(template: dict[str, Any], resource_type: str) -> dict[str, dict[str, Any]]:
    """The resources of one type by their logical ids."""
    return {name: each for name, each in template["Resources"].items() if each["Type"] == resource_type}


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["Statement"]


def role_statements(template: dict[str, Any], logical_id: str) -> list[dict[str, Any]]:
    policies = template["Resources"][logical_id]["Properties"]["Policies"]
    return [statement for policy in policies for statement in statements(policy["PolicyDocument"])]
