"""Transactions over HTTP: each gets one decision, or a response that says when to look or to send again."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.functional.entrances.conftest import ENVIRONMENT, Entrances, transaction
from tests.functional.signed_requests import request
from tests.unit.images.loading import IMAGES as IMAGES  # the functions' modules are importable with it

CARD_NUMBER = "4929420573595709"
PROBLEM = "application/problem+json"


def test_a_transaction_gets_its_decision_and_a_repeat_the_same_one(entrances: Entrances) -> None:
    status, headers, first = entrances.submit(transaction("http-1"))
    assert (status, first["outcome"], first["repeat"]) == (200, "APPROVED", False)
    assert headers["content-type"] == "application/json"
    status, _headers, again = entrances.submit(transaction("http-1"))
    assert (status, again) == (200, {**first, "repeat": True})
    assert entrances.send("GET", "/transactions/http-1")[::2] == (200, first)
    assert entrances.record("http-1")["execution"].startswith("http-")


def test_other_content_under_the_same_id_is_a_conflict(entrances: Entrances) -> None:
    entrances.submit(transaction("http-2"))
    status, headers, problem = entrances.submit(transaction("http-2", amount="11.00"))
    assert (status, headers["content-type"]) == (409, PROBLEM)
    assert (problem["title"], problem["code"], problem["transaction_id"]) == ("Conflict", "conflict", "http-2")


def test_every_fault_of_a_transaction_is_in_the_response(entrances: Entrances) -> None:
    status, headers, problem = entrances.submit(transaction("http-3", amount="-1", currency="XXX", surprise=1))
    assert (status, headers["content-type"], problem["outcome"]) == (422, PROBLEM, "REJECTED")
    assert {each["field"] for each in problem["errors"]} == {"amount", "currency", "surprise"}
    assert entrances.send("GET", "/transactions/http-3")[2]["outcome"] == "REJECTED"


def test_eight_at_once_with_one_id_get_one_decision(entrances: Entrances) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: entrances.submit(transaction("http-4")), range(8)))
    assert {status for status, _headers, _answer in answers} == {200}
    assert len({answer["decided_at"] for _status, _headers, answer in answers}) == 1
    assert [answer["repeat"] for _status, _headers, answer in answers].count(False) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "unreadable"),
        (b"{", 400, "unreadable"),
        (b"\xff{}", 400, "unreadable"),
        (gzip.compress(b"{}", mtime=0), 400, "unreadable"),
        (b'{"amount": "1", "amount": "2"}', 400, "unreadable"),
        (b'{"amount": NaN}', 400, "unreadable"),
        (b'{"amount": 1e999}', 400, "unreadable"),
        (b'{"a": "\\ud800"}', 400, "unreadable"),
        (b"[" * 100_000, 400, "unreadable"),
        (b"[]", 422, "rejected"),
        (b"null", 422, "rejected"),
        (b"{}", 422, "rejected"),
        (json.dumps([transaction("http-list")]).encode(), 422, "rejected"),
        (json.dumps(transaction("x" * 65)).encode(), 422, "rejected"),
        (json.dumps(transaction("http-long", customer_name="n" * 10_000)).encode(), 422, "rejected"),
        (b'"' + b"x" * 300_000 + b'"', 413, "too_large"),
        (b'"' + b"x" * (1 << 20) + b'"', 413, "too_large"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_cannot_be_used_is_refused_with_a_reason(
    entrances: Entrances, body: bytes, status: int, code: str
) -> None:
    answered, headers, problem = entrances.submit(body)
    assert (answered, problem["code"], headers["content-type"]) == (status, code, PROBLEM)
    assert problem["status"] == status


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "content_type"),
        ({"Content-Type": "application/jsonp"}, 415, "content_type"),
        ({"Content-Type": "application/json; charset=latin-1"}, 415, "content_type"),
        ({}, 415, "content_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "content_encoding"),
        ({"Content-Type": "application/json", "Idempotency-Key": "another"}, 400, "idempotency_key"),
        ({"Content-Type": "application/json", "Idempotency-Key": ""}, 400, "idempotency_key"),
    ],
)
def test_headers_that_do_not_fit_are_refused(
    entrances: Entrances, headers: dict[str, str], status: int, code: str
) -> None:
    body = json.dumps(transaction("http-5")).encode()
    answered, _headers, problem = entrances.send("POST", "/transactions", body, headers)
    assert (answered, problem["code"]) == (status, code)
    assert entrances.record("http-5") == {}


@pytest.mark.parametrize("key", ["http-6", '"http-6"'])
def test_the_key_may_be_sent_if_it_is_the_id(entrances: Entrances, key: str) -> None:
    status, _headers, _answer = entrances.submit(
        transaction("http-6"), Idempotency_Key=key, Content_Type="APPLICATION/json; Charset=UTF-8"
    )
    assert status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/transaction", 404, None),
        ("GET", "/transactions/nothing-was-submitted", 404, None),
        ("GET", f"/transactions/{CARD_NUMBER}", 404, None),
        ("GET", "/transactions/%23parked", 404, None),
        ("GET", "/transactions/a/b", 404, None),
        ("GET", "/transactions", 405, "POST"),
        ("DELETE", "/transactions/http-1", 405, "GET"),
        ("PUT", "/openapi.json", 405, "GET"),
    ],
)
def test_other_addresses_and_methods_are_problems(
    entrances: Entrances, method: str, path: str, status: int, allow: str | None
) -> None:
    answered, headers, problem = entrances.send(method, path)
    assert (answered, headers["content-type"], problem["status"]) == (status, PROBLEM, status)
    assert headers.get("allow") == allow


def test_without_a_signature_nothing_is_answered(entrances: Entrances) -> None:
    url = f"{entrances.outputs['ApiUrl']}/transactions"
    body = json.dumps(transaction("http-7")).encode()
    status, _headers, content = request(entrances.aws, "POST", url, body, signed=False)
    assert (status, json.loads(content)) == (403, {"message": "Forbidden"})
    assert entrances.record("http-7") == {}


def test_what_was_submitted_is_in_no_log(entrances: Entrances) -> None:
    document = transaction("http-8", customer_name="Wilhelmine Tellnobody", card_number=CARD_NUMBER)
    assert entrances.submit(document)[0] == 422
    entrances.submit(json.dumps(document).encode()[:-1])
    entrances.send("GET", f"/transactions/{CARD_NUMBER}")
    logs = entrances.aws.client("logs")
    lines: list[Any] = []
    until = time.monotonic() + 10
    while not any("http-8" in line for line in lines) and time.monotonic() < until:
        events = logs.filter_log_events(logGroupName=f"http-entrance-{ENVIRONMENT}")["events"]
        lines = [each["message"] for each in events]
    assert any("http-8" in line for line in lines)
    assert not any(word in line for line in lines for word in ("Tellnobody", CARD_NUMBER))


def test_its_document_is_served(entrances: Entrances) -> None:
    status, headers, document = entrances.send("GET", "/openapi.json")
    assert (status, headers["content-type"], document["openapi"]) == (200, "application/json", "3.1.0")


def test_explain_names_the_entrance(entrances: Entrances) -> None:
    entrances.submit(transaction("http-9"))
    story = entrances.project.json("explain", "http-9", "-e", ENVIRONMENT)
    assert story["entrance"] == "http"
