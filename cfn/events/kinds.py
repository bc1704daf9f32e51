"""The events that a ``function.toml`` can declare, as values. Pure.

They are parsed from ``[[events]]`` by their ``type``. A queue or topic that is not named is the function's own, which
the stack creates; an ARN names an existing one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Auth = Literal["iam", "none"]
RouteAuth = Literal["iam", "jwt", "none"]
Start = Literal["LATEST", "TRIM_HORIZON"]
# Of the name of every FIFO queue, which has 80 characters at most with it (API_CreateQueue).
FIFO_SUFFIX = ".fifo"


class Url(Struct, tag="url", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """A function URL. auth: "none" makes it public."""

    auth: Auth = "iam"


class Route(Struct, tag="http", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """A route of the project's HTTP API, such as "GET /orders/{id}", or "$default".

    auth  "jwt" accepts the tokens that ``Settings.jwt`` describes, "none" makes the route public
    """

    route: str
    auth: RouteAuth = "iam"


class Queue(Struct, tag="sqs", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Messages of a queue, in batches of which the function reports what failed (ReportBatchItemFailures).

    fifo      whether the function's own queue, with its failure queue, is FIFO
    window    seconds to wait for a full batch
    attempts  receptions of a message of the function's own queue before it goes to the failure queue
    filter    an event filter, such as {body = {status = ["paid"]}}; what does not match is deleted
    """

    queue: str = ""
    fifo: bool = False
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 10
    window: Annotated[int, Meta(ge=0, le=300)] = 0
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 5
    filter: dict[str, Any] = {}

    @property
    def is_fifo(self) -> bool:
        """Also true for an existing FIFO queue."""
        return self.fifo or self.queue.endswith(FIFO_SUFFIX)


class Schedule(Struct, tag="schedule", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Times at which the function is invoked with ``input``: rate(5 minutes), cron(0 8 * * ? *), at(...)."""

    expression: str
    timezone: str = "UTC"
    input: dict[str, Any] = {}


class Bucket(Struct, tag="s3", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Changes in a bucket that the stack creates; functions that name the same bucket share it.

    on  S3's event types without "s3:"
    """

    bucket: str
    on: list[str] = field(default_factory=lambda: ["ObjectCreated:*"])
    prefix: str = ""
    suffix: str = ""


class Topic(Struct, tag="sns", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Messages of a topic. filter: a filter policy on the attributes of messages."""

    topic: str = ""
    filter: dict[str, Any] = {}


class Rule(Struct, tag="eventbridge", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Events of an EventBridge bus that match ``pattern``."""

    pattern: dict[str, Any]
    bus: str = "default"


class _Stream(Struct, forbid_unknown_fields=True, frozen=True):
    stream: str
    start: Start = "LATEST"
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 100
    window: Annotated[int, Meta(ge=0, le=300)] = 0
    attempts: Annotated[int, Meta(ge=0, le=10_000)] = 5
    filter: dict[str, Any] = {}


class TableStream(_Stream, tag="dynamodb", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Changes of a DynamoDB table, from its stream, which is named by its ARN."""


class DataStream(_Stream, tag="kinesis", tag_field="type", forbid_unknown_fields=True, frozen=True):
    """Records of a Kinesis data stream, which is named by its ARN."""


Event = Url | Route | Queue | Schedule | Bucket | Topic | Rule | TableStream | DataStream
# Lambda answers the caller of these itself; the others need a place for what fails.
SYNCHRONOUS = (Url, Route)
# Lambda puts these into its own queue and retries them (Lambda guide, "Asynchronous invocation").
ASYNCHRONOUS = (Schedule, Bucket, Topic, Rule)
