"""One execution of the workflow's definition, with its effects left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.workflow.composition import definition
from pipeline.core.errors import ReleaseError
from pipeline.rehearsal.recordings import Stored
from pipeline.rehearsal.replay import Ended, OtherPayload, Replay, TaskFailed, definition_of
from tests.unit.cfn.examples import DEV, FUNCTIONS

RECEIVED = "2026-11-23T14:00:00.000Z"
TRANSACTION = {"transaction_id": "t-1", "customer_id": "c-1", "amount": "10.00"}
STORED = Stored({"outcome": "APPROVED"}, RECEIVED, RECEIVED)
FRAUD, COMPLIANCE, VALIDATION = "${FraudFunction}", "${ComplianceFunction}", "${ValidationFunction}"
REASON = {"rule": "amount_high", "points": 55, "message": "band 2"}
RESPONSES: Mapping[str, Any] = {
    VALIDATION: {"valid": True, "transaction": {**TRANSACTION, "timestamp": "2026-11-23T13:59:00.000Z"}, "faults": []},
    FRAUD: {"score": 55, "reasons": [REASON]},
    COMPLIANCE: {"compliant": True, "findings": []},
}


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay(definition())


def run(
    replay: Replay, transaction: Any = TRANSACTION, stored: Stored = STORED, *, calls: list[Any] | None = None,
    **changed: Any,
) -> Ended:  # fmt: skip
    """changed: responses by the first letter of the function, or errors."""
    responses = RESPONSES | {name: changed[name[2].lower()] for name in RESPONSES if name[2].lower() in changed}

    def invoke(function: str, event: Any) -> Any:
        if calls is not None:
            calls.append((function, event))
        response = responses[function]
        if isinstance(response, Exception):
            raise response
        return {**response, "image": "sha256:a", "rules": "1"}

    def history(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if calls is not None:
            calls.append(("history", arguments))
        return {"Items": [{"transaction_id": {"S": "t-0"}, "occurred_at": {"S": RECEIVED}}]}

    return replay.run(transaction, stored, invoke, history)


def test_an_execution_ends_with_the_answer_that_the_workflow_gives(replay: Replay) -> None:
    ended = run(replay)
    assert ended.answer is not None
    assert {key: ended.answer[key] for key in ("outcome", "score", "reasons")} == {
        "outcome": "REVIEW", "score": 55, "reasons": [{"source": "fraud-detection", **REASON}],
    }  # fmt: skip


def test_the_functions_are_given_what_they_were_given_then(replay: Replay) -> None:
    calls: list[Any] = []
    run(replay, calls=calls)
    names = [name for name, _value in calls]
    assert names == [VALIDATION, "history", FRAUD, COMPLIANCE]
    events = dict(calls)
    assert events[VALIDATION]["transaction"] == TRANSACTION
    assert {each["received_at"] for name, each in calls if name != "history"} == {RECEIVED}
    assert events["history"]["ExpressionAttributeValues"][":since"] == {"S": "2026-11-23T12:59:00.000Z"}
    assert events[FRAUD]["history"]["transactions"] == [{"transaction_id": "t-0", "occurred_at": RECEIVED}]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"f": TaskFailed("InvalidEvent", "why")}, "FraudDetection: InvalidEvent"),
        ({"c": {"compliant": "yes"}}, "Compliance: States.QueryEvaluationError"),
        ({"v": TaskFailed("Lambda.TooManyRequestsException", "why")}, "Validate: Lambda.TooManyRequestsException"),
    ],
)
def test_what_would_be_parked_ends_in_the_error_of_its_state(
    replay: Replay, changed: Mapping[str, Any], error: str
) -> None:
    assert run(replay, **changed) == Ended(error=error)


def test_a_transaction_that_is_not_valid_is_rejected_without_the_other_functions(replay: Replay) -> None:
    fault = {"field": "amount", "code": "missing", "message": "it is required"}
    calls: list[Any] = []
    ended = run(replay, calls=calls, v={"valid": False, "faults": [fault]})
    assert ended.answer is not None
    assert ended.answer["outcome"] == "REJECTED"
    assert [name for name, _value in calls] == [VALIDATION]


def test_the_answer_to_another_payload_is_not_compared(replay: Replay) -> None:
    with pytest.raises(OtherPayload):
        run(replay, stored=Stored({}, RECEIVED, RECEIVED, "f" * 64))


def test_the_fingerprint_of_card_data_needs_a_key_that_a_rehearsal_has_not(replay: Replay) -> None:
    assert run(replay, {**TRANSACTION, "pan": "1"}, Stored({}, RECEIVED, RECEIVED, "f" * 64)).answer is not None


def test_an_input_that_is_too_large_is_refused_as_it_was(replay: Replay) -> None:
    ended = run(replay, {**TRANSACTION, "note": "x" * 9000})
    assert ended.answer is not None
    assert ended.answer["reasons"][0]["rule"] == "too_large"


def test_a_changed_decision_is_rehearsed_like_a_changed_image() -> None:
    text = json.dumps(definition())
    assert "score>=50" in text
    ended = run(Replay(json.loads(text.replace("score>=50", "score>=60"))))
    assert ended.answer is not None
    assert ended.answer["outcome"] == "APPROVED"


def test_many_executions_do_not_remember_each_other(replay: Replay) -> None:
    for number in range(210):
        ended = run(
            replay, {**TRANSACTION, "transaction_id": f"t-{number}"}, c={"compliant": number % 2 == 0, "findings": []}
        )
        assert ended.answer is not None
        assert ended.answer["outcome"] == ("REVIEW" if number % 2 == 0 else "DECLINED")
    assert len(replay._semantics.values._values) < 10_000


def test_a_template_has_the_whole_definition() -> None:
    assert definition_of(render(pipeline_template(DEV, FUNCTIONS))) == definition()


def test_a_template_without_a_workflow_is_refused() -> None:
    with pytest.raises(ReleaseError, match="was not rehearsed"):
        definition_of('{"Resources":{}}')
