"""Parked submissions are resubmitted once, and deleted only after they are answered."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.core.errors import SubmissionError
from pipeline.core.events import Event, Submitted
from pipeline.transactions.redrive import Redriver, Result, redrive
from pipeline.transactions.submit import Parked
from tests.functional.workflow_lab import Lab, running_lab


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("redrive lab")) as lab:
        lab.deploy(patience_seconds=1)
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def redriver(lab: Lab, **more: Any) -> Redriver:
    return Redriver(
        lab.client("sqs"),
        lab.client("dynamodb"),
        lab.client("stepfunctions"),
        lab.outputs["QueueUrl"],
        lab.names.table,
        lab.machine,
        last_poll=0,
        **more,
    )


def transaction(number: int, **more: Any) -> dict[str, Any]:
    return {"transaction_id": f"t-{number}", "amount": "10.00", "currency": "USD", "customer_id": "c-1", **more}


def park(lab: Lab, numbers: range, state: str = "Validate", **more: Any) -> None:
    # An alert is tried three times.
    tries = 3 if state == "Alert" else 1
    lab.faults(lab.fault(state, error="PlaceholderImage", times=len(numbers) * tries))
    for number in numbers:
        with pytest.raises(Parked):
            lab.submit(transaction(number, **more))
    lab.faults()


def test_everything_is_answered_and_nothing_is_left(lab: Lab) -> None:
    park(lab, range(15))
    events: list[Event] = []
    result = redrive(redriver(lab), report=events.append)
    assert [each.result for each in result.messages] == [Result.ANSWERED] * 15
    assert (result.remaining, result.counts) == (0, {"answered": 15})
    assert {each.answer.outcome for each in result.messages if each.answer} == {"APPROVED"}
    assert lab.parked() == []
    assert isinstance(events[-1], Submitted)
    assert events[-1].done == 15


def test_why_each_was_parked_is_shown(lab: Lab) -> None:
    park(lab, range(1), "Compliance")
    [shown] = redrive(redriver(lab), dry_run=True).to_json()["messages"]
    assert (shown["transaction_id"], shown["state"], shown["error"], shown["result"]) == (
        "t-0", "Compliance", "PlaceholderImage", "waiting",
    )  # fmt: skip
    assert shown["parked_at"]


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    park(lab, range(12))
    lab.trace()
    result = redrive(redriver(lab), dry_run=True)
    assert len(result.messages) == result.remaining == 12
    assert lab.trace() == []
    assert len(lab.parked()) == 12


def test_one_transaction_is_picked_out(lab: Lab) -> None:
    park(lab, range(12))
    result = redrive(redriver(lab), transaction_id="t-7")
    assert [each.message.transaction_id for each in result.messages] == ["t-7"]
    # The others are visible again at once.
    assert {message["input"]["transaction_id"] for message in lab.parked()} == {
        f"t-{number}" for number in range(12) if number != 7
    }


def test_a_limit_is_kept(lab: Lab) -> None:
    park(lab, range(12))
    assert len(redrive(redriver(lab), limit=5).messages) == 5
    assert len(lab.parked()) == 7


@pytest.mark.parametrize("limit", [0, -1])
def test_an_invalid_limit_is_refused(lab: Lab, limit: int) -> None:
    with pytest.raises(SubmissionError, match="1 or more"):
        redrive(redriver(lab), limit=limit)


def test_what_is_parked_again_stays_parked_once(lab: Lab) -> None:
    park(lab, range(6))
    lab.faults(lab.fault("Validate", error="Boom", times=100))
    result = redrive(redriver(lab))
    assert [each.result for each in result.messages] == [Result.PARKED_AGAIN] * 6
    assert "Boom" in result.messages[0].why
    parked = lab.parked()
    assert sorted(message["input"]["transaction_id"] for message in parked) == [f"t-{number}" for number in range(6)]
    lab.faults()
    assert redrive(redriver(lab)).remaining == 0
    assert lab.parked() == []


def test_an_answer_that_was_given_before_counts(lab: Lab) -> None:
    lab.faults(lab.fault("Alert", times=9))
    assert lab.submit(transaction(0, score=60)).outcome == "REVIEW"
    lab.faults()
    [redriven] = redrive(redriver(lab)).messages
    assert redriven.answer is not None
    assert (redriven.answer.outcome, redriven.answer.repeat) == ("REVIEW", True)


def test_submissions_parked_in_the_table_are_redriven(lab: Lab) -> None:
    lab.faults(lab.fault("Validate", times=3), lab.fault("Park", times=2))
    for number in range(3):
        with pytest.raises(Parked):
            lab.submit(transaction(number))
    result = redrive(redriver(lab))
    assert sorted(each.message.place for each in result.messages) == ["queue", "table", "table"]
    assert result.remaining == 0
    assert lab.parked_in_table() == []


def test_a_dry_run_leaves_the_table_alone(lab: Lab) -> None:
    lab.faults(lab.fault("Validate"), lab.fault("Park"))
    with pytest.raises(Parked):
        lab.submit(transaction(0))
    for _twice in range(2):
        assert len(redrive(redriver(lab), dry_run=True).messages) == 1


def test_a_submission_in_both_places_is_one(lab: Lab) -> None:
    lab.faults(lab.fault("Validate"), lab.fault("Park", when="after"))
    with pytest.raises(Parked):
        lab.submit(transaction(0))
    assert len(lab.parked()) == len(lab.parked_in_table()) == 1
    assert len(redrive(redriver(lab)).messages) == 1
    assert lab.parked() == lab.parked_in_table() == []


@pytest.mark.parametrize("body", ["not json", "[]", '{"execution":"x","excerpt":"{"}', '{"a":1}'])
def test_a_message_without_input_is_shown_and_kept(lab: Lab, body: str) -> None:
    lab.client("sqs").send_message(QueueUrl=lab.outputs["QueueUrl"], MessageBody=body)
    park(lab, range(2))
    result = redrive(redriver(lab))
    assert result.counts == {"answered": 2, "unreadable": 1}
    left = lab.client("sqs").receive_message(QueueUrl=lab.outputs["QueueUrl"])["Messages"]
    assert [message["Body"] for message in left] == [body]


def test_a_message_that_cannot_be_sent_stays_and_blocks_no_other(lab: Lab) -> None:
    body = '{"execution":"e","state":"Validate","input":{"transaction_id":"t-x","amount":1e400}}'
    lab.client("sqs").send_message(QueueUrl=lab.outputs["QueueUrl"], MessageBody=body)
    park(lab, range(12))
    result = redrive(redriver(lab))
    assert (result.counts, result.remaining, result.stopped) == ({"answered": 12, "refused": 1}, 1, None)
    [refused] = [each for each in result.messages if each.result is Result.REFUSED]
    assert refused.message.transaction_id == "t-x"
    assert "Infinity is not a JSON number; it stays parked" in refused.why
    left = lab.client("sqs").receive_message(QueueUrl=lab.outputs["QueueUrl"])["Messages"]
    assert [message["Body"] for message in left] == [body]


def test_a_message_nested_too_deeply_blocks_no_other(lab: Lab) -> None:
    body = '{"execution":"e","input":{"transaction_id":"deep","x":' + "[" * 100_000 + "]" * 100_000 + "}}"
    lab.client("sqs").send_message(QueueUrl=lab.outputs["QueueUrl"], MessageBody=body)
    park(lab, range(3))
    assert redrive(redriver(lab)).counts == {"answered": 3, "unreadable": 1}


def test_an_edited_copy_of_a_message_is_another_submission(lab: Lab) -> None:
    for name in ("k1", "k2", "k2"):
        body = json.dumps(
            {"execution": "exec-k", "state": "Validate", "input": {**transaction(0), "transaction_id": name}}
        )
        lab.client("sqs").send_message(QueueUrl=lab.outputs["QueueUrl"], MessageBody=body)
    result = redrive(redriver(lab))
    assert sorted(str(each.message.transaction_id) for each in result.messages) == ["k1", "k2"]
    assert (result.counts, lab.parked()) == ({"answered": 2}, [])


def test_a_limit_says_that_there_may_be_more(lab: Lab) -> None:
    park(lab, range(3))
    assert redrive(redriver(lab), limit=2).limited
    assert not redrive(redriver(lab)).limited


@pytest.mark.parametrize("dry_run", [False, True])
def test_messages_held_elsewhere_are_counted(lab: Lab, dry_run: bool) -> None:
    lab.faults(lab.fault("Validate", times=4), lab.fault("Park", times=2))
    for number in range(4):
        with pytest.raises(Parked):
            lab.submit(transaction(number))
    queue, table = redriver(lab).places()
    held = [*queue.take(1), *table.take(1)]
    assert len(held) == 2
    result = redrive(redriver(lab), dry_run=dry_run)
    assert (len(result.messages), result.held) == (2, 2)
    assert result.remaining == result.to_json()["remaining"] == (4 if dry_run else 2)
    queue.put_back(held[0])
    table.put_back(held[1])
    assert (redrive(redriver(lab)).held, lab.parked(), lab.parked_in_table()) == (0, [], [])


def test_held_messages_do_not_count_once_the_transaction_was_found(lab: Lab) -> None:
    park(lab, range(2))
    [held] = redriver(lab).places()[0].take(1)
    [other] = {"t-0", "t-1"} - {held.transaction_id}
    assert redrive(redriver(lab), transaction_id=other).remaining == 0
    found = redrive(redriver(lab), transaction_id=held.transaction_id)
    assert (found.messages, found.held, found.remaining) == ((), 1, 1)


@pytest.mark.at_length
def test_it_stops_after_repeated_unanswered_submissions_and_reports_the_rest(lab: Lab) -> None:
    park(lab, range(40))
    away = redriver(lab, workers=4)
    away.state_machine_arn += "-gone"
    result = redrive(away)
    assert result.stopped is not None
    assert "the last 20 submissions got no answer: the call to Step Functions failed" in result.stopped.why
    assert 20 <= result.counts["unanswered"] == len(result.messages) < 40
    assert result.to_json()["stopped"]["what"] == "not everything was redriven"
    assert len(lab.parked()) == 40


def test_results_are_reported_when_the_table_cannot_be_read(lab: Lab) -> None:
    park(lab, range(3))
    broken = redriver(lab)
    broken.table += "-gone"
    result = redrive(broken)
    assert result.counts == {"answered": 3}
    assert result.stopped is not None
    assert "not all parked messages were read" in result.stopped.what
    with pytest.raises(SubmissionError, match="not all parked messages were read"):
        redrive(broken)


def test_input_that_is_not_a_transaction_is_answered(lab: Lab) -> None:
    lab.faults(lab.fault("Validate"))
    with pytest.raises(Parked):
        lab.submit({"amount": "1"})
    [redriven] = redrive(redriver(lab)).messages
    assert redriven.answer is not None
    assert redriven.answer.outcome == "REJECTED"


def claim(lab: Lab, key: str, milliseconds: float) -> None:
    """A claim of an execution that is still running, or was killed."""
    lab.client("dynamodb").put_item(
        TableName=lab.names.table,
        Item={
            "transaction_id": {"S": key}, "status": {"S": "CLAIMED"}, "fingerprint": {"S": "f"},
            "claim_token": {"S": "somebody"}, "lease_until": {"N": str(int(milliseconds))},
        },
    )  # fmt: skip


def test_a_claimed_transaction_is_not_parked_again_and_says_when_to_come_back(lab: Lab) -> None:
    park(lab, range(2))
    until = time.time() + 100
    claim(lab, "t-0", until * 1000)
    result = redrive(redriver(lab))
    assert result.counts == {"answered": 1, "claimed": 1}
    [claimed] = [each for each in result.messages if each.result is Result.CLAIMED]
    assert f"until {time.strftime('%H:%M:%S', time.gmtime(until))} UTC" in claimed.why
    assert result.remaining == 1
    [left] = lab.parked()
    assert left["input"]["transaction_id"] == "t-0"
    assert not left["execution"].startswith("redrive-")  # the message that was there


def test_messages_of_one_transaction_are_submitted_one_after_another(lab: Lab) -> None:
    """Side by side, all but the first would be parked again for its claim."""
    for _ in range(4):
        park(lab, range(3))
    result = redrive(redriver(lab))
    assert result.counts == {"answered": 12}
    assert lab.parked() == []


def test_two_redrives_at_once_share_the_work(lab: Lab) -> None:
    park(lab, range(30))
    lab.trace()
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(redrive, redriver(lab, workers=2)) for _ in range(2))
        counts = [len(each.result().messages) for each in (first, second)]
    assert sum(counts) == 30
    assert lab.parked() == []
    assert [call["state"] for call in lab.trace()].count("Record") == 30


@pytest.mark.at_length
def test_a_killed_redrive_loses_nothing(lab: Lab) -> None:
    park(lab, range(20))
    lab.faults(lab.fault("Compliance", when="slow", seconds=0.2, times=1_000))
    child = multiprocessing.get_context("spawn").Process(target=_redrive_in_a_process, args=(lab.endpoint, lab.outputs))
    child.start()
    until = time.monotonic() + 30
    while not _decided(lab) and time.monotonic() < until:
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert 0 < _decided(lab) < 20
    lab.faults()
    lab.ask(surface=True)  # six minutes pass: the messages that the killed redrive held are visible again
    time.sleep(2)  # let executions that the killed redrive started end
    result = redrive(redriver(lab))
    assert result.remaining == 0
    assert lab.parked() == []
    assert _decided(lab) == 20


def _decided(lab: Lab) -> int:
    items = lab.client("dynamodb").scan(TableName=lab.names.table)["Items"]
    return sum(item.get("status", {}).get("S") == "DECIDED" for item in items)


def _redrive_in_a_process(endpoint: str, outputs: dict[str, str]) -> None:
    import socket
    from pathlib import Path

    from cfn.names import Names

    lab = Lab(endpoint, socket.socket(), Path())
    lab.outputs, lab.names = outputs, Names("lab")
    redrive(redriver(lab, workers=2))
