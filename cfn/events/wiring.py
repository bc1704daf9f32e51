"""Add to the pipeline stack everything that the events of its functions need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Output, Ref, Template

from cfn.events.failure_queue import add_failures, failure_statements, failures_id, needs_failures
from cfn.events.http import add_api, add_url
from cfn.events.kinds import Bucket, DataStream, Queue, Route, Rule, Schedule, TableStream, Topic, Url
from cfn.events.polled import add_source, polling_statements, queue_id
from cfn.events.pushed import add_bucket, add_rule, add_schedule, add_subscription, bucket_id
from cfn.names import Names, pascal_case
from cfn.settings import FunctionDefinition, Settings


def event_statements(function: FunctionDefinition) -> list[dict[str, Any]]:
    """What the function's role needs for its events."""
    return [*polling_statements(function), *failure_statements(function)]


def add_events(
    template: Template,
    settings: Settings,
    names: Names,
    functions: Mapping[str, tuple[FunctionDefinition, Any]],
    *,
    alarm_topic: Any,
) -> None:
    """Add the events of functions, each given with its alias; they invoke the alias.

    alarm_topic  the ARN of the topic for alarms
    """
    policy = "Retain" if settings.protect_data else "Delete"
    buckets: dict[str, list[tuple[FunctionDefinition, int, Bucket, Any]]] = {}
    routes: list[tuple[FunctionDefinition, int, Route, Any]] = []
    for function, alias in functions.values():
        if needs_failures(function):
            add_failures(template, names, function, alias, alarm_topic, policy)
            _output(template, f"{pascal_case(function.name)}FailuresUrl", Ref(failures_id(function.name)))
        for number, event in enumerate(function.events, start=1):
            match event:
                case Queue() | TableStream() | DataStream():
                    add_source(template, names, function, number, event, alias, policy)
                    if isinstance(event, Queue) and not event.queue:
                        _output(template, f"{pascal_case(function.name)}QueueUrl", Ref(queue_id(function.name)))
                case Schedule():
                    add_schedule(template, names, function, number, event, alias)
                case Topic():
                    add_subscription(template, names, function, number, event, alias)
                    if not event.topic:
                        topic = Ref(f"{pascal_case(function.name)}Topic")
                        _output(template, f"{pascal_case(function.name)}TopicArn", topic)
                case Rule():
                    add_rule(template, function, number, event, alias)
                case Url():
                    add_url(template, function, number, event, alias)
                case Bucket():
                    buckets.setdefault(event.bucket, []).append((function, number, event, alias))
                case Route():
                    routes.append((function, number, event, alias))
    for name, listeners in sorted(buckets.items()):
        add_bucket(template, names, name, listeners, policy)
        _output(template, f"{bucket_id(name)}Name", Ref(bucket_id(name)))
    if routes:
        add_api(template, names, routes, settings.jwt)


def _output(template: Template, key: str, value: Any) -> None:
    template.add_output(Output(key, Value=value))
