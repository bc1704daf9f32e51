"""What the entrances read, and what they say that they read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from answers import response_of_record
from batches import BEHIND, Kept, Message, Result, entries, held_up, in_sequences
from hypothesis import given
from hypothesis import strategies as st
from openapi_document import openapi_document
from problems import Problem
from transactions.submission import INPUT_MAX_BYTES, End, Ended, Submission, Unreadable
from transactions.transaction import _FIELDS, _REQUIRED, Transaction, read_transaction

from pipeline.core.documents import parse_unambiguous_json
from pipeline.transactions import submit
from tests.unit.images.loading import transaction

SCHEMAS = openapi_document()["components"]["schemas"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES.map(json.dumps) | st.text() | st.sampled_from(['{"a":1,"a":2}', '"\\ud800"', "[" * 100_000, "9" * 5000]))
def test_an_entrance_reads_what_the_command_reads(text: str) -> None:
    try:
        expected = parse_unambiguous_json(text)
    except ValueError:
        with pytest.raises(Unreadable):
            Submission.parse(text.encode("utf-8", "surrogatepass"))
    else:
        assert Submission.parse(text.encode()).document == expected


def test_limits_are_those_of_the_command() -> None:
    assert INPUT_MAX_BYTES == submit.INPUT_MAX_BYTES


@pytest.mark.parametrize(
    "body", [b"\xff", b'{"a": 4929420573595709, "a": 4929420573595709}', b'{"x": 4929420573595709']
)
def test_an_error_repeats_nothing_of_the_body(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        Submission.parse(body)
    assert "4929" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_document_describes_what_is_read() -> None:
    schema = SCHEMAS["Transaction"]
    assert schema["properties"].keys() == _FIELDS.keys()
    assert set(schema["required"]) == _REQUIRED
    for example in (*schema["examples"], transaction()):
        assert isinstance(read_transaction(example), Transaction)
        for name, value in example.items():
            assert fits(schema["properties"][name], value), name


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether a text fits its enumeration, pattern and length."""
    if "anyOf" in schema:
        return any(fits(each, value) for each in schema["anyOf"])
    if isinstance(value, str):
        in_length = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return in_length and value in schema.get("enum", [value]) and bool(re.search(schema.get("pattern", ""), value))
    return schema.get("type") == "number" and isinstance(value, int | float)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    references = re.findall(r"#/components/schemas/(\w+)", json.dumps(openapi_document()))
    assert set(references) <= SCHEMAS.keys()
    assert set(references) == SCHEMAS.keys()


def test_the_document_describes_how_its_caller_is_known() -> None:
    signed, tokens = openapi_document(), openapi_document("https://login.example.com/", ["read", "write"])
    assert signed["security"] == [{"sigv4": []}]
    assert signed["components"]["securitySchemes"].keys() == {"sigv4"}
    # Each entry alone is enough, as a token needs one of the scopes.
    assert tokens["security"] == [{"jwt": ["read"]}, {"jwt": ["write"]}]
    assert openapi_document("https://login.example.com")["security"] == [{"jwt": []}]
    scheme = tokens["components"]["securitySchemes"]["jwt"]
    assert scheme["openIdConnectUrl"] == "https://login.example.com/.well-known/openid-configuration"
    for document, expected in ((signed, False), (tokens, True)):
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        assert {"401" in operation["responses"] for operation in operations} == {expected}
        assert {"403" in operation["responses"] for operation in operations} == {True}


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"status": {"S": "CLAIMED"}, "lease_until": {"N": "9999999999999"}}, "PENDING"),
        ({"status": {"S": "CLAIMED"}, "lease_until": {"N": "0"}, "parked_at": {"S": "x"}}, "PARKED"),
        ({"status": {"S": "CLAIMED"}, "lease_until": {"N": "9999999999999"}, "parked_at": {"S": "x"}}, "PENDING"),
        ({"status": {"S": "CLAIMED"}, "lease_until": {"N": "1"}}, "PENDING"),
    ],
)
def test_a_record_without_an_answer_waits(record: dict[str, Any], status: str) -> None:
    response = response_of_record("t-1", record)
    assert (response["statusCode"], json.loads(response["body"])["status"]) == (202, status)
    assert "location" not in response["headers"]


@pytest.mark.parametrize("record", [None, {}, {"parked": {"S": "x"}}])
def test_what_is_no_transaction_s_record_is_not_found(record: Any) -> None:
    with pytest.raises(Problem) as caught:
        response_of_record("t-1", record)
    assert caught.value.status == 404


QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:queue-entrance-dev"


def message(body: str, number: int = 1, group: str = "", queue: str = QUEUE_ARN) -> Message:
    attributes = {"MessageGroupId": group} if group else {}
    return Message.of({"messageId": str(number), "body": body, "attributes": attributes, "eventSourceARN": queue})


def numbers(messages: Iterable[Message]) -> list[str]:
    return [each.message_id for each in messages]


# A group in a standard queue only shares it fairly (SQS developer guide, "Fair queues").
@pytest.mark.parametrize("group", ["", "tenant-1"])
def test_messages_of_one_id_are_one_sequence_and_others_are_apart(group: str) -> None:
    bodies = ['{"transaction_id": "a"}', '{"transaction_id": "b"}', "[]", "no json", '{"transaction_id": "a", "x": 1}']
    messages = [message(body, number, group) for number, body in enumerate(bodies)]
    assert [numbers(each) for each in in_sequences(messages)] == [["0", "4"], ["1"], ["2"], ["3"]]
    assert [each.why is None for each in messages] == [True, True, False, False, True]
    assert held_up(messages, [Kept(messages[0], "throttled")]) == []


def test_messages_of_a_fifo_queue_are_kept_behind_the_first_of_their_group_that_is() -> None:
    groups = ["g", "h", "g", "h", "g", "h", "a"]
    messages = [
        message(f'{{"transaction_id": "{number}"}}', number, group, f"{QUEUE_ARN}.fifo")
        for number, group in enumerate(groups)
    ]
    assert [numbers(each) for each in in_sequences(messages)] == [["0", "2", "4"], ["1", "3", "5"], ["6"]]
    kept = held_up(messages, [Kept(messages[2], "throttled"), Kept(messages[5], "SNS answered X")])
    assert [(each.message.message_id, each.why) for each in kept] == [("4", BEHIND)]
    assert held_up(messages, []) == []


def test_a_message_that_step_functions_would_refuse_is_kept() -> None:
    body = json.dumps({"transaction_id": "a", "x": "y" * INPUT_MAX_BYTES})
    read = message(body)
    assert (read.transaction_id, read.why) == ("a", "it has more than 262,144 bytes")


def test_a_result_is_published_with_its_outcome() -> None:
    read = message('{"transaction_id": "a"}', 7)
    answered = Result(read, Ended(End.ANSWERED, {"outcome": "REVIEW", "repeat": False}))
    [first, second] = entries([answered, Result(read, Ended(End.PARKED))])
    assert json.loads(first["Message"]) == {
        "transaction_id": "a", "message_id": "7", "status": "DECIDED", "answer": {"outcome": "REVIEW", "repeat": False},
    }  # fmt: skip
    assert json.loads(second["Message"]) == {"transaction_id": "a", "message_id": "7", "status": "PARKED"}
    assert [each["MessageAttributes"]["outcome"]["StringValue"] for each in (first, second)] == ["REVIEW", "PARKED"]


@pytest.mark.parametrize(
    ("result", "end"),
    [
        ({"status": "SUCCEEDED", "output": '{"outcome": "APPROVED"}'}, End.ANSWERED),
        ({"status": "FAILED", "error": "Parked", "cause": "{}"}, End.PARKED),
        ({"status": "FAILED", "error": "NotParked", "cause": "{}"}, End.NOT_ANSWERED),
        ({"status": "FAILED"}, End.NOT_ANSWERED),
        ({"status": "TIMED_OUT"}, End.NOT_ANSWERED),
    ],
)
def test_an_execution_answers_parks_or_does_neither(result: dict[str, Any], end: End) -> None:
    assert Ended.of(result).end is end
