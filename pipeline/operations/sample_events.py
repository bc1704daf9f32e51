"""Sample events in the format of each service, for testing a function.

Source: the Lambda developer guide, one page per service ("Example event"). Fields that a handler reads are filled from
what the function declares: its route, its bucket, its queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cfn.events.kinds import (
    FIFO_SUFFIX,
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

_ACCOUNT, _REGION = "123456789012", "us-east-1"
_TIME = "2026-01-15T08:00:00.000Z"
_ID = "2e1424d4-f796-459a-8184-9c92662be6da"
_BODY = {"message": "sample"}


def sample_event(kind: str, function: FunctionDefinition) -> dict[str, Any]:
    """An event of a kind of ``KINDS``, as ``function`` would get it; by default one with ``{"message": "sample"}``."""
    declared = next((event for event in function.events if event.__struct_config__.tag == kind), None)
    return _SAMPLES[kind](declared)


def _http(event: Event | None) -> dict[str, Any]:
    route = event.route if isinstance(event, Route) and event.route != "$default" else "POST /sample"
    method, _, path = route.partition(" ")
    parts = [part.strip("{}+") for part in path.split("/") if part.startswith("{")]
    for part in parts:
        path = path.replace(f"{{{part}+}}", "sample").replace(f"{{{part}}}", "sample")
    method = "GET" if method == "ANY" else method
    has_body = method not in ("GET", "HEAD", "DELETE", "OPTIONS")
    return {
        "version": "2.0",
        "routeKey": route if isinstance(event, Route) else "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"accept": "*/*", "host": "example.execute-api.us-east-1.amazonaws.com"}
        | ({"content-type": "application/json"} if has_body else {}),
        "requestContext": {
            "accountId": _ACCOUNT,
            "apiId": "example",
            "domainName": "example.execute-api.us-east-1.amazonaws.com",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
            "requestId": _ID,
            "routeKey": route,
            "stage": "$default",
            "time": "15/Jan/2026:08:00:00 +0000",
            "timeEpoch": 1768464000000,
        },
        **({"pathParameters": dict.fromkeys(parts, "sample")} if parts else {}),
        **({"body": json.dumps(_BODY)} if has_body else {}),
        "isBase64Encoded": False,
    }


def _sqs(event: Event | None) -> dict[str, Any]:
    arn = event.queue if isinstance(event, Queue) and event.queue else f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:sample"
    attributes = {
        "ApproximateReceiveCount": "1", "SentTimestamp": "1768464000000", "SenderId": _ACCOUNT,
        "ApproximateFirstReceiveTimestamp": "1768464000001",
    }  # fmt: skip
    if isinstance(event, Queue) and event.is_fifo:
        arn = arn if arn.endswith(FIFO_SUFFIX) else f"{arn}{FIFO_SUFFIX}"
        attributes |= {
            "SequenceNumber": "18849496460467696128", "MessageGroupId": "sample", "MessageDeduplicationId": _ID,
        }  # fmt: skip
    record = {
        "messageId": _ID, "receiptHandle": "AQEB", "body": json.dumps(_BODY), "attributes": attributes,
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": _REGION,
    }  # fmt: skip
    return {"Records": [record]}


def _schedule(event: Event | None) -> dict[str, Any]:
    return dict(event.input) if isinstance(event, Schedule) else {}


def _s3(event: Event | None) -> dict[str, Any]:
    own = event if isinstance(event, Bucket) else Bucket("sample")
    name = own.on[0].replace("*", "Put") if own.on else "ObjectCreated:Put"
    record = {
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": _REGION, "eventTime": _TIME, "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": own.bucket, "arn": f"arn:aws:s3:::{own.bucket}"},
            "object": {"key": f"{own.prefix}sample{own.suffix}", "size": 1024, "eTag": "d41d8cd98f00b204e980"},
        },
    }  # fmt: skip
    return {"Records": [record]}


def _sns(event: Event | None) -> dict[str, Any]:
    arn = event.topic if isinstance(event, Topic) and event.topic else f"arn:aws:sns:{_REGION}:{_ACCOUNT}:sample"
    message: dict[str, Any] = {
        "Type": "Notification", "MessageId": _ID, "TopicArn": arn, "Subject": None, "Message": json.dumps(_BODY),
        "Timestamp": _TIME, "MessageAttributes": {},
    }  # fmt: skip
    record = {"EventVersion": "1.0", "EventSource": "aws:sns", "EventSubscriptionArn": f"{arn}:{_ID}", "Sns": message}
    return {"Records": [record]}


def _eventbridge(event: Event | None) -> dict[str, Any]:
    pattern = event.pattern if isinstance(event, Rule) else {}

    def first(key: str, default: str) -> str:
        values = pattern.get(key)
        return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else default

    return {
        "version": "0", "id": _ID, "detail-type": first("detail-type", "sample"), "source": first("source", "sample"),
        "account": _ACCOUNT, "time": "2026-01-15T08:00:00Z", "region": _REGION, "resources": [], "detail": _BODY,
    }  # fmt: skip


def _dynamodb(event: Event | None) -> dict[str, Any]:
    table = f"arn:aws:dynamodb:{_REGION}:{_ACCOUNT}:table/sample/stream/2026-01-01T00:00:00.000"
    record = {
        "eventID": _ID, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": _REGION,
        "eventName": "INSERT",
        "dynamodb": {
            "Keys": {"id": {"S": "sample"}}, "NewImage": {"id": {"S": "sample"}}, "SequenceNumber": "1",
            "SizeBytes": 16, "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": event.stream if isinstance(event, TableStream) else table,
    }  # fmt: skip
    return {"Records": [record]}


def _kinesis(event: Event | None) -> dict[str, Any]:
    stream = f"arn:aws:kinesis:{_REGION}:{_ACCOUNT}:stream/sample"
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": "sample", "sequenceNumber": "1",
            "data": "eyJtZXNzYWdlIjogInNhbXBsZSJ9", "approximateArrivalTimestamp": 1768464000.0,
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": f"shardId-000000000000:{_ID}",
        "eventName": "aws:kinesis:record", "awsRegion": _REGION,
        "eventSourceARN": event.stream if isinstance(event, DataStream) else stream,
    }  # fmt: skip
    return {"Records": [record]}


_SAMPLES: Mapping[str, Callable[[Event | None], dict[str, Any]]] = {
    "url": _http, "http": _http, "sqs": _sqs, "schedule": _schedule, "s3": _s3, "sns": _sns,
    "eventbridge": _eventbridge, "dynamodb": _dynamodb, "kinesis": _kinesis,
}  # fmt: skip
KINDS = tuple(_SAMPLES)


def aws_only(function: FunctionDefinition) -> tuple[str, ...]:
    """The kinds of the function's events that the embedded AWS does not deliver."""
    return tuple(sorted({str(each.__struct_config__.tag) for each in function.events if isinstance(each, Url)}))
