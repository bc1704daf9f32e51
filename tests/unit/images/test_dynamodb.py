"""The DynamoDB connection: signed as botocore signs, kept alive, patient with what passes and with nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import dynamodb
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from dynamodb import Credentials, CredentialsMissing, DynamoDB, DynamoDBError, Endpoint, sign
from history import CustomerHistory
from hypothesis import given
from hypothesis import strategies as st
from transactions.transaction import format_instant
from velocity import Earlier

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
TARGET = "DynamoDB_20120810.Query"
SECRETS = st.text("abcXYZ019/+", min_size=1, max_size=40)


@given(
    st.binary(max_size=60), SECRETS, st.none() | SECRETS, st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"])
)
def test_requests_are_signed_as_botocore_signs_them(body: bytes, secret: str, token: str | None, region: str) -> None:
    host = f"dynamodb.{region}.amazonaws.com"
    headers = sign(host, region, TARGET, body, Credentials("AKIDEXAMPLE", secret, token), NOW)
    request = AWSRequest(
        "POST",
        f"https://{host}/",
        headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": TARGET},
        data=body,
    )
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    auth = SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", secret, token), "dynamodb", region)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        auth.add_auth(request)
    assert headers["authorization"] == request.headers["Authorization"]
    assert headers.get("x-amz-security-token") == token


# -- against a server that answers by script


@dataclass
class Script:
    """Answers in order, the last one for ever: (status, body), or None to hang up without an answer."""

    answers: list[tuple[int, Any] | None]
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)


@contextmanager
def serving(script: Script) -> Iterator[DynamoDB]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            script.connections.add(self.client_address)
            script.requests.append({"headers": dict(self.headers), "body": json.loads(body)})
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if answer is None:
                self.close_connection = True
                return
            status, document = answer
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = DynamoDB(Endpoint(f"http://127.0.0.1:{server.server_port}", "us-east-1"))
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    # The wait between attempts, not their number, is what a test does not need.
    monkeypatch.setattr(dynamodb, "_BACKOFF_SECONDS", 0.0)


def refusal(kind: str) -> dict[str, str]:
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "customer-001 was refused"}


EMPTY = (200, {"Items": [], "Count": 0})
THROTTLED = (400, refusal("ProvisionedThroughputExceededException"))


def test_one_connection_serves_many_queries() -> None:
    script = Script([EMPTY])
    with serving(script) as client:
        for _ in range(5):
            client.query({"TableName": "t"})
    assert len(script.requests) == 5
    assert len(script.connections) == 1


@pytest.mark.parametrize(
    "passing",
    [
        [None],
        [None, None],
        [THROTTLED],
        [THROTTLED, (500, refusal("InternalServerError"))],
        [(503, b"<html>"), None],
        [(400, refusal("ThrottlingException"))],
    ],
)
def test_a_query_is_sent_again_after_what_may_pass(passing: list[Any]) -> None:
    script = Script([*passing, EMPTY])
    with serving(script) as client:
        assert client.query({"TableName": "t"})["Count"] == 0
    assert len(script.requests) == len(passing) + 1


@pytest.mark.parametrize(("passing", "waits"), [([None], 0), ([None, None], 1), ([THROTTLED], 1), ([THROTTLED] * 2, 2)])
def test_only_a_lost_connection_is_replaced_without_a_wait(
    monkeypatch: pytest.MonkeyPatch, passing: list[Any], waits: int
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(dynamodb, "_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(dynamodb.time, "sleep", waited.append)
    with serving(Script([*passing, EMPTY])) as client:
        client.query({"TableName": "t"})
    assert len(waited) == waits
    assert all(0 <= seconds <= 0.2 for seconds in waited)


def test_a_connection_that_died_while_idle_is_replaced() -> None:
    script = Script([EMPTY, None, EMPTY])
    with serving(script) as client:
        client.query({"TableName": "t"})
        client.query({"TableName": "t"})
    assert len(script.requests) == 3
    assert len(script.connections) == 2


@pytest.mark.parametrize(
    ("answers", "message", "requests"),
    [
        ([THROTTLED], "DynamoDB answered 400 ProvisionedThroughputExceededException", 3),
        ([(500, b"")], "DynamoDB answered 500 without an error type", 3),
        ([None], "DynamoDB could not be reached: RemoteDisconnected", 3),
        ([(400, refusal("ResourceNotFoundException"))], "DynamoDB answered 400 ResourceNotFoundException", 1),
        ([(400, refusal("AccessDeniedException"))], "DynamoDB answered 400 AccessDeniedException", 1),
        ([(403, b"not json")], "DynamoDB answered 403 without an error type", 1),
        ([(400, b"[]")], "DynamoDB answered 400 without an error type", 1),
        ([(200, b"")], "DynamoDB's answer is not a JSON object", 1),
        ([(200, [])], "DynamoDB's answer is not a JSON object", 1),
    ],
)
def test_a_lasting_failure_is_told_without_anything_of_the_request(
    answers: list[Any], message: str, requests: int
) -> None:
    script = Script(answers)
    with serving(script) as client, pytest.raises(DynamoDBError) as error:
        client.query({"TableName": "t"})
    assert str(error.value) == message
    assert len(script.requests) == requests


def test_nobody_listening_is_told() -> None:
    with serving(Script([EMPTY])) as client:
        pass
    with pytest.raises(DynamoDBError, match="could not be reached: ConnectionRefusedError"):
        client.query({})


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with serving(Script([EMPTY])) as client, pytest.raises(CredentialsMissing):
        client.query({})
    assert "secret" not in repr(Credentials("a", "secret", "secret"))


@pytest.mark.parametrize(
    ("variables", "url", "region"),
    [
        ({}, "https://dynamodb.us-east-1.amazonaws.com", "us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, "https://dynamodb.eu-west-1.amazonaws.com", "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "https://dynamodb.eu-west-2.amazonaws.com", "eu-west-2"),
        ({"AWS_REGION": "cn-north-1"}, "https://dynamodb.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ({"AWS_ENDPOINT_URL": "http://e:1"}, "http://e:1", "us-east-1"),
        ({"AWS_ENDPOINT_URL": "http://e:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://d:2"}, "http://d:2", "us-east-1"),
    ],
)
def test_where_dynamodb_answers(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Endpoint.from_environment() == Endpoint(url, region)


def test_the_history_is_one_bounded_query_of_the_index() -> None:
    entry = {"transaction_id": {"S": "earlier"}, "received_at": {"S": format_instant(NOW)}}
    script = Script([(200, {"Items": [entry], "LastEvaluatedKey": {"more": {"S": "there is"}}})])
    with serving(script) as client:
        found = CustomerHistory("state-dev", client).newest("customer-001", NOW, timedelta(hours=1), limit=21)
    assert found == [Earlier("earlier", NOW)]
    (request,) = script.requests
    assert request["body"] == {
        "TableName": "state-dev",
        "IndexName": "customer",
        "KeyConditionExpression": "customer_id = :customer AND received_at BETWEEN :since AND :until",
        "ExpressionAttributeValues": {
            ":customer": {"S": "customer-001"},
            ":since": {"S": "2026-11-23T13:00:00.000Z"},
            ":until": {"S": "2026-11-23T14:00:00.000Z"},
        },
        "ProjectionExpression": "transaction_id, received_at",
        "ScanIndexForward": False,
        "Limit": 21,
    }


@pytest.mark.parametrize(
    "items",
    [
        None,
        [{}],
        [{"transaction_id": {"S": "t"}, "received_at": {"N": "1"}}],
        [{"transaction_id": {"S": "t"}, "received_at": {"S": "x"}}],
    ],
)
def test_an_unreadable_entry_is_told_without_its_content(items: Any) -> None:
    with serving(Script([(200, {"Items": items})])) as client, pytest.raises(DynamoDBError, match="not readable"):
        CustomerHistory("t", client).newest("customer-001", NOW, timedelta(hours=1), limit=1)
