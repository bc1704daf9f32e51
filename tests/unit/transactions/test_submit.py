"""Submitting one transaction: the input sent, and the result of each execution status."""

from __future__ import annotations

import json
import pickle
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import ANY, Stubber

from pipeline.core.errors import SubmissionError
from pipeline.transactions.submit import INPUT_MAX_BYTES, Parked, Unanswered, answer_of, submit

MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:transaction-pipeline-dev"
ANSWER = {
    "transaction_id": "t-1",
    "outcome": "REVIEW",
    "reasons": [{"source": "fraud-detection", "rule": "velocity", "message": "many"}],
    "repeat": False,
    "decided_at": "2026-11-23T14:00:00.000Z",
    "score": 55,
}


def ended(status: str, **more: Any) -> dict[str, Any]:
    return {
        "executionArn": f"{MACHINE.replace('stateMachine', 'express')}:name:uuid",
        "startDate": "2026-11-23T14:00:00Z",
        "stopDate": "2026-11-23T14:00:01Z",
        "status": status,
        **more,
    }


def run(text: str, result: dict[str, Any] | None = None, error: str | None = None) -> Any:
    client = boto3.client(
        "stepfunctions", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    with Stubber(client) as stub:
        if result is not None:
            stub.add_response("start_sync_execution", result, {"stateMachineArn": MACHINE, "name": ANY, "input": text})
        if error is not None:
            stub.add_client_error("start_sync_execution", error, "no")
        answer = submit(client, MACHINE, text)
        stub.assert_no_pending_responses()
        return answer


def test_an_answer_is_a_value() -> None:
    answer = run('{"transaction_id":"t-1"}', ended("SUCCEEDED", output=json.dumps(ANSWER)))
    assert answer == answer_of(ANSWER)
    assert {key: value for key, value in answer.to_json().items() if key != "execution"} == ANSWER
    assert answer.execution == "name:uuid"


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", '{"a":NaN}', '{"a":-Infinity}', "{} {}", "[" * 100_000])
def test_invalid_json_is_an_error_and_starts_no_execution(text: str) -> None:
    with pytest.raises(SubmissionError, match="not JSON") as caught:
        run(text)
    assert not isinstance(caught.value, Unanswered)
    assert "transaction_id" in str(caught.value.next_step)


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1.8e308", "9" * 310, "-" + "9" * 400, "9" * 5_000, "9" * 400 + ".0"]
)
def test_a_number_beyond_a_double_is_refused_and_not_echoed(number: str) -> None:
    with pytest.raises(SubmissionError, match="not JSON: a number is out of range") as caught:
        run(f'{{"transaction_id":"t-1","more":[{{"amount":{number}}}]}}')
    assert number not in str(caught.value)


@pytest.mark.parametrize("number", ["1.7e308", "-1.7e308", "9" * 308, "1e-400"])
def test_a_number_within_a_double_is_sent(number: str) -> None:
    text = f'{{"transaction_id":"t-1","amount":{number}}}'
    assert run(text, ended("SUCCEEDED", output=json.dumps(ANSWER))).outcome == "REVIEW"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"transaction_id":"t-1","amount":1,"currency":"USD","amount":2}', "the name amount is"),
        ('{"a":1,"a":1}', "the name a is"),
        ('[{"more":{"note":1,"\\u006eote":2}}]', "the name note is"),
        ('{"4111111111111111":1,"4111111111111111":2}', "a name is"),
        ('{"card4111111111111111":1,"card4111111111111111":2}', "a name is"),
        ('{"a\\nb":1,"a\\nb":2}', "a name is"),
        ('{"":1,"":2}', "a name is"),
    ],
)
def test_a_repeated_name_is_refused(text: str, named: str) -> None:
    with pytest.raises(SubmissionError, match=f"not JSON: {named} repeated") as caught:
        run(text)
    assert "4111" not in str(caught.value)


def test_the_same_name_in_two_objects_is_fine() -> None:
    text = '{"transaction_id":"t-1","more":[{"transaction_id":1},{"transaction_id":2}]}'
    assert run(text, ended("SUCCEEDED", output=json.dumps(ANSWER))).outcome == "REVIEW"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("because", "because"),
        (json.dumps({"errorType": "ImageUnavailable", "errorMessage": "no space is left"}), "no space is left"),
        (
            json.dumps(
                {
                    "errorMessage": "no table",
                    "errorType": "KeyError",
                    "requestId": "1",
                    "stackTrace": [
                        '  File "/a.py", line 1, in a\n    b()\n',
                        '  File "/b.py", line 2, in b\n    c[1]\n',
                    ],
                }
            ),
            'no table (File "/b.py", line 2, in b)',
        ),
        ('{"errorMessage": "cut off", "stackTr', '{"errorMessage": "cut off", "stackTr'),
        ('Score: {"errorMessage": "in a branch"}', "in a branch"),
        ("Score: too late", "Score: too late"),
        ('{"errorMessage": 7}', '{"errorMessage": 7}'),
        ('{"errorMessage": "x", "stackTrace": [7]}', "x"),
        ("[1]", "[1]"),
    ],
)
def test_a_function_error_is_shown_as_text_and_kept_unchanged(cause: str, words: str) -> None:
    told = json.dumps({"state": "Validate", "error": "E", "cause": cause})
    with pytest.raises(Parked) as caught:
        run('{"transaction_id":"t-1"}', ended("FAILED", error="Parked", cause=told))
    assert (caught.value.why, caught.value.cause) == (f"Validate failed with E: {words}", cause)


def test_numbers_are_sent_unchanged() -> None:
    text = '{"transaction_id":"t-1","amount":100.10,"big":12345678901234567890.123456789}'
    assert run(text, ended("SUCCEEDED", output=json.dumps(ANSWER))).outcome == "REVIEW"


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        ("PlaceholderImage", "up"),
        ("Runtime.InvalidEntrypoint", "up"),
        ("TransactionInProgress", "other submission"),
        ("ValueError", "redrive"),
    ],
)
def test_parked_explains_the_cause_and_the_next_step(error: str, next_step: str) -> None:
    cause = json.dumps({"state": "Validate", "error": error, "cause": "because"})
    with pytest.raises(Parked, match=f"Validate failed with {error}: because") as caught:
        run('{"transaction_id":"t-1"}', ended("FAILED", error="Parked", cause=cause))
    assert "t-1 was parked without an answer" in caught.value.what
    assert next_step in str(caught.value.next_step)
    assert caught.value.execution == "name:uuid"
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.state, copied.error, copied.execution) == ("Validate", error, caught.value.execution)


@pytest.mark.parametrize("cause", ["", "not json"])
def test_a_parked_submission_may_have_an_unreadable_cause(cause: str) -> None:
    with pytest.raises(Parked, match="unknown"):
        run("{}", ended("FAILED", error="Parked", cause=cause))


@pytest.mark.parametrize(
    ("status", "error"), [("TIMED_OUT", ""), ("FAILED", "NotParked"), ("FAILED", "States.Runtime"), ("FAILED", "")]
)
def test_any_other_end_is_unanswered_and_safe_to_repeat(status: str, error: str) -> None:
    with pytest.raises(Unanswered, match=f"ended as {status}") as caught:
        run('{"transaction_id":"t-1"}', ended(status, error=error))
    assert not isinstance(caught.value, Parked)
    assert "Submit it again" in str(caught.value.next_step)


def test_a_refusal_of_the_service_is_unanswered() -> None:
    with pytest.raises(Unanswered, match="StateMachineDoesNotExist"):
        run("{}", error="StateMachineDoesNotExist")


def test_an_id_with_control_characters_is_not_echoed() -> None:
    with pytest.raises(Unanswered) as caught:
        run(json.dumps({"transaction_id": "a\nb"}), ended("TIMED_OUT"))
    assert caught.value.what == "the transaction was not answered"


def test_spaces_do_not_count_against_the_limit() -> None:
    small = '{"transaction_id":"t-1"}'
    client_text = small[:-1] + " " * INPUT_MAX_BYTES + "}"
    client = boto3.client("stepfunctions", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_response(
            "start_sync_execution",
            ended("SUCCEEDED", output=json.dumps(ANSWER)),
            {"stateMachineArn": MACHINE, "name": ANY, "input": small},
        )
        assert submit(client, MACHINE, client_text).outcome == "REVIEW"


@pytest.mark.parametrize("text", ['{"note":"\\ud800"}', '{"note":"\ud800"}', '{"\\udfff":1}'])
def test_half_a_surrogate_pair_is_not_json(text: str) -> None:
    with pytest.raises(SubmissionError, match="not JSON"):
        run(text)


@pytest.mark.parametrize(("value", "echoed"), [("t-1", "t-1"), ("x" * 65, None), ("a\nb", None), (7, None)])
def test_only_a_usable_id_of_a_too_large_input_is_echoed(value: Any, echoed: str | None) -> None:
    answer = run(json.dumps({"transaction_id": value, "pad": "x" * INPUT_MAX_BYTES}))
    assert (answer.outcome, answer.transaction_id) == ("REJECTED", echoed)


def test_an_input_that_is_too_large_and_no_object_is_rejected() -> None:
    assert run(json.dumps(["x" * INPUT_MAX_BYTES])).transaction_id is None
