"""Explaining a transaction from its record and the logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cfn.workflow.composition import definition
from pipeline.core.errors import SubmissionError
from pipeline.transactions.explain import Story, explain
from pipeline.transactions.submit import Parked, Unanswered
from tests.functional.workflow_lab import Lab, running_lab

GROUPS = {"fraud-detection": "fraud-detection-lab", "state machine": "/aws/vendedlogs/states/transaction-pipeline-lab"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("story lab")) as lab:
        lab.deploy(patience_seconds=1)
        lab.client("logs").create_log_group(logGroupName=GROUPS["fraud-detection"])
        for group in GROUPS.values():
            lab.client("logs").create_log_stream(logGroupName=group, logStreamName="s")
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def tell(lab: Lab, transaction_id: str = "t-1", groups: dict[str, str] = GROUPS) -> Story:
    return explain(
        lab.client("dynamodb"),
        lab.client("logs"),
        table=lab.names.table,
        transaction_id=transaction_id,
        definition=definition(),
        log_groups=groups,
    )


def log(lab: Lab, group: str, *lines: Any) -> None:
    lab.client("logs").put_log_events(
        logGroupName=GROUPS[group],
        logStreamName="s",
        logEvents=[
            {"timestamp": int(time.time() * 1000), "message": line if isinstance(line, str) else json.dumps(line)}
            for line in lines
        ],
    )


def transaction(**more: Any) -> dict[str, Any]:
    return {"transaction_id": "t-1", "amount": "10.00", "currency": "USD", **more}


@pytest.mark.parametrize(
    ("document", "way"),
    [
        (
            transaction(),
            "Read Sensitive Claim Validate Valid History Assess FraudDetection Compliance Decide Record Flagged"
            " Answered",
        ),
        (
            transaction(score=60),
            "Read Sensitive Claim Validate Valid History Assess FraudDetection Compliance Decide Record Flagged"
            " KeepDetails Alert Answered",
        ),
        ({"transaction_id": "t-1"}, "Read Sensitive Claim Validate Valid Record Flagged Answered"),
        (transaction(pad="x" * 9_000), "Read Sensitive Claim Refuse RecordRefusal Answered"),
    ],
    ids=["approved", "review", "rejected", "large"],
)
def test_the_path_is_the_one_taken(lab: Lab, document: dict[str, Any], way: str) -> None:
    lab.trace()
    lab.submit(document)
    story = tell(lab)
    assert " ".join(story.way) == way
    entered = {call["state"] for call in lab.trace()}
    assert entered <= set(story.way)


def test_the_story_has_answer_reasons_judges_and_times(lab: Lab) -> None:
    answer = lab.submit(transaction(score=90))
    story = tell(lab)
    text = story.text()
    for part in ("t-1  DECLINED", answer.decided_at, answer.execution, "fraud-detection/told: score 90", "2026-11-01"):
        assert part in text
    document = json.loads(json.dumps(story.to_json()))
    assert (document["answer"]["outcome"], document["attempts"]) == ("DECLINED", 1)
    assert json.loads(document["details"]["transaction"])["score"] == 90
    assert document["judges"]["fraud"]["image"] == "sha256:fraud-detection"


def test_the_picture_highlights_the_path(lab: Lab) -> None:
    lab.submit(transaction())
    picture = tell(lab).svg()
    assert "Path of t-1" in picture
    assert picture.count('class="on"') == 10


def test_log_lines_are_in_order(lab: Lab) -> None:
    answer = lab.submit(transaction())
    log(
        lab,
        "fraud-detection",
        {"message": "fraud score", "level": "INFO", "transaction_id": "t-1", "score": 7},
        {"message": "of another", "transaction_id": "t-12"},
        {"message": "names it only", "note": "t-1"},
        {"_aws": {}, "transaction_id": "t-9", "t-1": 1},
        "not json t-1",
    )
    arn = f"arn:aws:states:us-east-1:000000000000:express:transaction-pipeline-lab:{answer.execution}"
    log(
        lab,
        "state machine",
        {"type": "TaskFailed", "execution_arn": arn, "details": {"error": "Boom"}},
        {"type": "TaskFailed", "execution_arn": arn + "-other", "details": {"error": "Boom"}},
    )
    told = [moment.text for moment in tell(lab).moments if moment.source != "record"]
    assert sorted(told) == ["TaskFailed Boom", "fraud score score=7"]
    moments = tell(lab).moments
    assert list(moments) == sorted(moments)


def test_a_log_that_cannot_be_read_is_a_note(lab: Lab) -> None:
    lab.submit(transaction())
    story = tell(lab, groups={"compliance": "no-such-group"})
    assert "no-such-group" in story.notes[0]
    assert story.way


def test_a_parked_transaction_ends_where_it_failed(lab: Lab) -> None:
    lab.faults(lab.fault("Compliance", error="Boom"))
    with pytest.raises(Parked):
        lab.submit(transaction())
    story = tell(lab)
    assert story.way[-4:] == ("Compliance", "Park", "Release", "Parked")
    assert "parked: Compliance: Boom" in story.text()
    assert "released" in story.notes[0]
    lab.submit(transaction())
    assert "in attempt 2" in tell(lab).text()


def test_a_dead_execution_is_noted(lab: Lab) -> None:
    lab.faults(lab.fault("Validate", when="die"))
    with pytest.raises(Unanswered):
        lab.submit(transaction())
    assert "holds its claim" in tell(lab).notes[0]
    lab.expire_lease("t-1")
    assert "ended without releasing" in tell(lab).notes[0]
    assert tell(lab).way == ("Read", "Sensitive", "Claim")


def test_expired_details_are_noted(lab: Lab) -> None:
    lab.submit(transaction(score=60))
    lab.client("dynamodb").delete_item(TableName=lab.names.table, Key={"transaction_id": {"S": "details#t-1"}})
    story = tell(lab)
    assert story.details is None
    assert "expired" in story.notes[0]


@pytest.mark.parametrize("unknown", ["nobody", "details#t-1"])
def test_an_unknown_id_is_explained(lab: Lab, unknown: str) -> None:
    lab.submit(transaction(score=60))
    with pytest.raises(SubmissionError, match="no record of this id"):
        tell(lab, unknown)
