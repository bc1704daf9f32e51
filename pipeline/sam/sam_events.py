"""The events of a SAM function as ``[[events]]``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.sam.sam_values import Note, Unknown, Values, shown_json

_BY_HAND = "Write it into [[events]] of function.toml, or into resources.yaml; docs/functions.md has the kinds."
_PAYLOAD = "The route is one of an HTTP API: no stage in the path, and events in payload format 2.0."
_REFERENCE = re.compile(r"\$\{(?P<id>[A-Z][A-Za-z0-9]*)(?:\.[A-Za-z]+)?\}")


@dataclass(slots=True)
class Events:
    """Reads the events of one function.

    buckets   logical ids of buckets in the template → the names that events have for them
    settings  ``Globals``
    """

    values: Values
    buckets: Mapping[str, str]
    settings: Mapping[str, Any]
    found: list[dict[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def read(self, place: str, event: Any) -> None:
        """One event: it becomes one of ``found``, or a note."""
        try:
            kind, properties = event["Type"], dict(event.get("Properties", {}))
            reader = _READERS.get(kind)
            if reader is None:
                raise Unknown(f"events of type {str(kind)[:80]} are not read")
            one = _Reading(self, place, properties)
            self.found.append(reader(one))
        except (Unknown, TypeError, ValueError, KeyError, AttributeError) as problem:
            why = (
                str(problem) if isinstance(problem, Unknown) else f"it is not written as SAM documents it ({problem!r})"
            )
            self.notes.append(Note(place, f"not carried over: {why}", _BY_HAND))
            return
        for key, value in one.properties.items():
            self.notes.append(Note(f"{place}.{key}", f"{shown_json(value)} has no counterpart", _BY_HAND))


@dataclass(slots=True)
class _Reading:
    """The properties of an event that were not read yet."""

    events: Events
    place: str
    properties: dict[str, Any]

    def plain(self, key: str, default: Any = None) -> Any:
        if key not in self.properties:
            return default
        return self.events.values.plain(self.properties.pop(key))

    def required(self, key: str) -> Any:
        if key not in self.properties:
            raise Unknown(f"it has no {key}")
        return self.plain(key)

    def arn(self, key: str) -> str:
        """An ARN, or the logical id of an own resource."""
        if key not in self.properties:
            raise Unknown(f"it has no {key}")
        text = self.events.values.text(self.properties.pop(key))
        found = _REFERENCE.fullmatch(text)
        if found is None and "${" in text:
            raise Unknown(f"its {key} is {text[:200]}, and an ARN is written out here")
        return found["id"] if found else text

    def note(self, key: str, why: str, do: str) -> None:
        self.events.notes.append(Note(f"{self.place}.{key}" if key else self.place, why, do))

    def given(self, **keys: Any) -> dict[str, Any]:
        return {key: value for key, value in keys.items() if value is not None}

    def disabled(self) -> None:
        """Raises Unknown for an event that is switched off; there is no switch here."""
        enabled, state = self.plain("Enabled", True), self.plain("State", "ENABLED")
        if enabled in (False, "false", "False") or state != "ENABLED":
            raise Unknown("it is disabled, and an event in function.toml is always enabled")


def _route(reading: _Reading, kind: str) -> dict[str, Any]:
    method = str(reading.plain("Method", "any")).upper()
    path = reading.plain("Path")
    auth = reading.plain("Auth")
    route = f"{'ANY' if method in ('X-AMAZON-APIGATEWAY-ANY-METHOD', '*') else method} {path}"
    return {"type": "http", "route": "$default" if path is None else route, "auth": _auth(reading, kind, auth)}


# Of an API's Auth: what only defines something, or serves the authorizers.
_NO_PROTECTION = {"Authorizers", "DefaultAuthorizer", "InvokeRole", "AddDefaultAuthorizerToCorsPreflight"}


def _auth(reading: _Reading, kind: str, auth: Any) -> str:
    """``none`` only for a route that is certainly open: a protected one must not become public.

    kind  of the API, by its key in ``Globals``
    """
    common = reading.events.settings.get(kind, {}).get("Auth", {})
    if not isinstance(common, dict):
        common = {"of Globals": common}
    authorizer = (auth or {}).get("Authorizer") or common.get("DefaultAuthorizer")
    keys = {*(auth or {})} - {"Authorizer"} | {*common} - _NO_PROTECTION
    named = {"ApiId", "RestApiId"} & {*reading.properties}
    if authorizer in (None, "NONE") and not keys and not named:
        return "none"
    if authorizer != "AWS_IAM" or keys:
        shown = shown_json(auth or common) if auth or common else f"what protects the API of {named.pop()}"
        reading.note(
            "Auth", f"{shown} has no counterpart, so callers have to sign with IAM (auth = \"iam\")",
            "Judge callers in the function, or put an authorizer into resources.yaml; auth = \"none\" opens the route.",
        )  # fmt: skip
    return "iam"


def _api(reading: _Reading) -> dict[str, Any]:
    reading.note(
        "", "a route of a REST API", _PAYLOAD + " Read event['requestContext']['http'] for event['httpMethod']."
    )
    return _route(reading, "Api")


def _http_api(reading: _Reading) -> dict[str, Any]:
    if reading.properties.get("PayloadFormatVersion") == "2.0":
        reading.properties.pop("PayloadFormatVersion")
    return _route(reading, "HttpApi")


def _filter(reading: _Reading) -> dict[str, Any] | None:
    criteria = reading.plain("FilterCriteria")
    if criteria is None:
        return None
    filters = criteria["Filters"]
    if len(filters) != 1:
        raise Unknown(f"it has {len(filters)} filters, and an event has one")
    pattern = json.loads(filters[0]["Pattern"])
    return dict(pattern)


def _reports(reading: _Reading) -> None:
    if reading.plain("FunctionResponseTypes", []) != ["ReportBatchItemFailures"]:
        reading.note(
            "FunctionResponseTypes", "batch item failures are always reported",
            "Return nothing, or {'batchItemFailures': [...]}; docs/functions.md says what is retried.",
        )  # fmt: skip


def _queue(reading: _Reading) -> dict[str, Any]:
    reading.disabled()
    _reports(reading)
    return {"type": "sqs", "queue": reading.arn("Queue"), **reading.given(
        batch=reading.plain("BatchSize"), window=reading.plain("MaximumBatchingWindowInSeconds"),
        filter=_filter(reading),
    )}  # fmt: skip


def _stream(kind: str) -> Callable[[_Reading], dict[str, Any]]:
    def read(reading: _Reading) -> dict[str, Any]:
        reading.disabled()
        _reports(reading)
        attempts = reading.plain("MaximumRetryAttempts")
        if attempts in (None, -1):
            attempts = None
            reading.note("MaximumRetryAttempts", "5 attempts instead of as many as the records live",
                         "Set attempts in the event; what failed goes to the queue of failures.")  # fmt: skip
        return {"type": kind, "stream": reading.arn("Stream"), **reading.given(
            start=reading.plain("StartingPosition"), batch=reading.plain("BatchSize"), attempts=attempts,
            window=reading.plain("MaximumBatchingWindowInSeconds"), filter=_filter(reading),
        )}  # fmt: skip

    return read


def _schedule(expression: str) -> Callable[[_Reading], dict[str, Any]]:
    def read(reading: _Reading) -> dict[str, Any]:
        reading.disabled()
        content = reading.plain("Input")
        if content is None:
            reading.note("Input", "without an input the function gets {}, not an EventBridge event",
                         "Set input in the event if the function reads one.")  # fmt: skip
        value = json.loads(content) if isinstance(content, str) else content
        if value is not None and not isinstance(value, dict):
            raise Unknown("its Input is no JSON object")
        if (window := reading.properties.get("FlexibleTimeWindow")) == {"Mode": "OFF"} and window:
            reading.properties.pop("FlexibleTimeWindow")
        return {"type": "schedule", "expression": reading.required(expression), **reading.given(
            timezone=reading.plain("ScheduleExpressionTimezone"), input=value,
        )}  # fmt: skip

    return read


def _bucket(reading: _Reading) -> dict[str, Any]:
    bucket = reading.properties.pop("Bucket", None)
    name = reading.events.buckets.get(bucket.get("Ref", "")) if isinstance(bucket, dict) else None
    if name is None:
        raise Unknown("its bucket is not a resource of the template")
    kinds = reading.required("Events")
    rules = (reading.plain("Filter") or {}).get("S3Key", {}).get("Rules", [])
    sides = {str(each["Name"]).lower(): str(each["Value"]) for each in rules}
    return {
        "type": "s3",
        "bucket": name,
        "on": [str(each).removeprefix("s3:") for each in (kinds if isinstance(kinds, list) else [kinds])],
        **sides,
    }


def _topic(reading: _Reading) -> dict[str, Any]:
    if reading.properties.get("SqsSubscription") not in (None, False):
        raise Unknown("it is delivered through a queue (SqsSubscription)")
    reading.properties.pop("SqsSubscription", None)
    return {"type": "sns", "topic": reading.arn("Topic"), **reading.given(filter=reading.plain("FilterPolicy"))}


def _rule(reading: _Reading) -> dict[str, Any]:
    reading.disabled()
    for key in ("Input", "InputPath", "InputTransformer"):
        if key in reading.properties:
            raise Unknown(f"it has {key}, and a function gets the whole event here")
    return {"type": "eventbridge", "pattern": reading.required("Pattern"),
            **reading.given(bus=reading.plain("EventBusName"))}  # fmt: skip


_READERS: Mapping[str, Callable[[_Reading], dict[str, Any]]] = {
    "Api": _api,
    "HttpApi": _http_api,
    "SQS": _queue,
    "DynamoDB": _stream("dynamodb"),
    "Kinesis": _stream("kinesis"),
    "Schedule": _schedule("Schedule"),
    "ScheduleV2": _schedule("ScheduleExpression"),
    "S3": _bucket,
    "SNS": _topic,
    "EventBridgeRule": _rule,
    "CloudWatchEvent": _rule,
}
