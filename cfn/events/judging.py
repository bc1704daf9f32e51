"""What is wrong with the events of a function, before anything is sent to AWS. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from cfn.events.failure_queue import has_fifo_failures
from cfn.events.kinds import (
    FIFO_SUFFIX,
    SYNCHRONOUS,
    Bucket,
    DataStream,
    Event,
    Queue,
    Route,
    Rule,
    Schedule,
    TableStream,
    Topic,
    Url,
)
from cfn.settings import FunctionDefinition

# API Gateway developer guide, "Create routes for HTTP APIs".
_ROUTE = re.compile(r"(?:ANY|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) /[^\s]*")
# EventBridge Scheduler user guide, "Schedule types".
_SCHEDULE = re.compile(r"rate\([1-9][0-9]* (?:minute|hour|day)s?\)|cron\((?:\S+ ){5}\S+\)|at\([0-9T:-]+\)")
_BUCKET = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
BUCKET_MAX = 16  # a bucket's name has 63 characters, with those of the project, environment, account and region
_EVENT_TYPE = re.compile(r"[A-Z][A-Za-z]+:(?:\*|[A-Z][A-Za-z:]*\*?)")
_FIFO_BATCH_MAX = 10
_PATTERN_MAX = 4096  # characters of an event pattern, or of a filter (EventBridge quotas; Lambda guide)


def event_findings(function: FunctionDefinition) -> Iterator[str]:
    """Everything that is wrong with the events of one function."""
    for number, event in enumerate(function.events, start=1):
        for finding in _findings(function, event):
            yield f"event {number} of {function.name}: {finding}"
    own_queues = [event for event in function.events if isinstance(event, Queue) and not event.queue]
    own_topics = [event for event in function.events if isinstance(event, Topic) and not event.topic]
    for what, found in (("queues of its own", own_queues), ("topics of its own", own_topics)):
        if len(found) > 1:
            yield f"{function.name} has {len(found)} {what}; name the others by their ARN"
    if has_fifo_failures(function) and any(not isinstance(event, (*SYNCHRONOUS, Queue)) for event in function.events):
        # EventInvokeConfig and EventSourceMapping, DestinationConfig (Lambda guide, "Capturing records of Lambda
        # asynchronous invocations").
        yield (
            f"{function.name} has a FIFO queue, whose failure queue is FIFO, and other events, whose failures Lambda"
            " sends to standard queues only; give them to another function"
        )
    if sum(isinstance(event, Url) for event in function.events) > 1:
        yield f"{function.name} has more than one URL, and Lambda gives an alias one"


def shared_findings(functions: Sequence[FunctionDefinition]) -> Iterator[str]:
    """What is wrong between functions: a route that two of them answer."""
    answered: dict[str, str] = {}
    for function in functions:
        for event in function.events:
            if isinstance(event, Route):
                other = answered.setdefault(event.route, function.name)
                if other != function.name:
                    yield f"{function.name} and {other} answer the route {event.route}"


def _findings(function: FunctionDefinition, event: Event) -> Iterator[str]:
    match event:
        case Route(route=route):
            if route != "$default" and not _ROUTE.fullmatch(route):
                yield f"the route {route[:80]!a} is not written like GET /orders/{{id}}"
        case Schedule(expression=expression):
            if not _SCHEDULE.fullmatch(expression):
                yield f"the schedule {expression[:80]!a} is not written like rate(5 minutes) or cron(0 8 * * ? *)"
        case Bucket():
            if not _BUCKET.fullmatch(event.bucket) or len(event.bucket) > BUCKET_MAX:
                yield f"the bucket {event.bucket[:80]!a} is not 1 to {BUCKET_MAX} of a-z, 0-9 and single hyphens"
            if wrong := [each for each in event.on if not _EVENT_TYPE.fullmatch(each)]:
                yield f"S3 has no event {wrong[0][:80]!a}; write it like ObjectCreated:*"
        case Queue(queue=arn) if arn:
            yield from _arn(arn, "queue", "sqs")
        case Topic(topic=arn) if arn:
            yield from _arn(arn, "topic", "sns")
        case TableStream(stream=arn):
            yield from _arn(arn, "stream", "dynamodb")
        case DataStream(stream=arn):
            yield from _arn(arn, "stream", "kinesis")
        case Rule(pattern=pattern):
            if not pattern:
                yield "its pattern is empty, which EventBridge refuses"
            yield from _size(pattern, "pattern")
    if isinstance(event, Queue):
        yield from _fifo(event)
    match event:
        case Queue(filter=pattern) | TableStream(filter=pattern) | DataStream(filter=pattern) | Topic(filter=pattern):
            yield from _size(pattern, "filter")
    if isinstance(event, Route) and function.timeout > 30:
        yield f"API Gateway waits 30 s, and the timeout of {function.name} is {function.timeout} s"


def _fifo(event: Queue) -> Iterator[str]:
    if event.queue and event.fifo and not event.queue.startswith("${") and not event.queue.endswith(FIFO_SUFFIX):
        yield f"the queue {event.queue[:120]!a} is not FIFO, since its name does not end in {FIFO_SUFFIX}"
    # API_CreateEventSourceMapping
    if event.is_fifo and event.batch > _FIFO_BATCH_MAX:
        yield f"its batch is {event.batch:,} and Lambda takes at most {_FIFO_BATCH_MAX} messages of a FIFO queue"
    if event.is_fifo and event.window:
        yield f"its window is {event.window} s and a FIFO queue has none"


def _arn(arn: str, what: str, service: str) -> Iterator[str]:
    # An own resource of the project is a reference by now.
    if not arn.startswith("${") and not re.fullmatch(rf"arn:aws[a-z-]*:{service}:[a-z0-9-]+:[0-9]{{12}}:\S+", arn):
        yield f"the {what} {arn[:120]!a} is not an ARN of {service}"


def _size(pattern: object, what: str) -> Iterator[str]:
    if len(json.dumps(pattern)) > _PATTERN_MAX:
        yield f"its {what} has more than {_PATTERN_MAX:,} characters"
