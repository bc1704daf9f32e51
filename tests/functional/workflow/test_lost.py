"""Claims of executions that are gone, as are their callers: found, parked, and settled by their sender."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cfn.workflow.limits import GRACE_SECONDS, LEASE_SHARDS
from pipeline.transactions import lost
from pipeline.transactions.lost import park_lost
from pipeline.transactions.redrive import Redriver, Result, redrive
from pipeline.transactions.submit import Parked, Unanswered
from tests.functional.workflow_lab import Lab, running_lab

TRANSACTION = {"transaction_id": "t-1", "amount": "10.00", "currency": "USD", "customer_id": "c-1"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lost lab")) as lab:
        lab.deploy(patience_seconds=10)
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def lose(lab: Lab, state: str = "Validate", **more: Any) -> dict[str, Any]:
    """An execution dies in a state, a while ago; its record."""
    lab.faults(lab.fault(state, "die"))
    with pytest.raises(Unanswered):
        lab.submit(TRANSACTION | more)
    lab.faults()
    end_lease(lab, GRACE_SECONDS + 1)
    return lab.record("t-1") or {}


def end_lease(lab: Lab, seconds: float, transaction_id: str = "t-1") -> None:
    lab.client("dynamodb").update_item(
        TableName=lab.names.table,
        Key={"transaction_id": {"S": transaction_id}},
        UpdateExpression="SET lease_until = :past",
        ExpressionAttributeValues={":past": {"N": str(int((time.time() - seconds) * 1000))}},
    )


def park(lab: Lab, **more: Any) -> list[str]:
    return park_lost(lab.client("dynamodb"), lab.names.table, **more)


def redriver(lab: Lab) -> Redriver:
    return Redriver(
        lab.client("sqs"), lab.client("dynamodb"), lab.client("stepfunctions"), lab.outputs["QueueUrl"],
        lab.names.table, lab.machine, workers=1, last_poll=0,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["Validate", "History", "Record"])
def test_a_lost_claim_is_parked_and_settled_by_its_sender(lab: Lab, state: str) -> None:
    record = lose(lab, state)
    assert park(lab) == ["t-1"]
    [message] = lab.parked_in_table()
    assert (message["state"], message["error"], message["execution"]) == ("Lost", "ExecutionLost", record["execution"])
    assert (message["withheld"], message["transaction_id"]) == ("not stored", "t-1")

    [waiting] = redrive(redriver(lab)).messages
    assert (waiting.result, waiting.message.transaction_id) == (Result.UNREADABLE, "t-1")
    assert park(lab) == []

    assert lab.submit(TRANSACTION).outcome == "APPROVED"
    settled = redrive(redriver(lab))
    assert ([each.result for each in settled.messages], settled.remaining) == ([Result.ANSWERED], 0)
    assert lab.parked_in_table() == []


def test_a_dry_run_only_finds(lab: Lab) -> None:
    before = lose(lab)
    assert park(lab, dry_run=True) == ["t-1"]
    assert lab.record("t-1") == before
    assert lab.parked_in_table() == []


@pytest.mark.parametrize("seconds", [-300, 0, GRACE_SECONDS - 5])
def test_a_claim_that_may_still_be_answered_is_left_alone(lab: Lab, seconds: float) -> None:
    lose(lab)
    end_lease(lab, seconds)
    assert park(lab) == []


def test_what_is_decided_or_given_back_is_not_lost(lab: Lab) -> None:
    lab.submit(TRANSACTION)
    assert park(lab) == []
    lab.clear()
    lose(lab)
    lab.expire_lease("t-1")
    lab.client("dynamodb").update_item(
        TableName=lab.names.table,
        Key={"transaction_id": {"S": "t-1"}},
        UpdateExpression="SET lease_until = :zero",
        ExpressionAttributeValues={":zero": {"N": "0"}},
    )
    assert park(lab) == []


def test_a_search_that_is_killed_is_finished_by_the_next(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(lab)

    def killed(*_arguments: Any) -> Any:
        raise KeyboardInterrupt

    for step in ("note", "give_back"):
        with monkeypatch.context() as patched:
            patched.setattr(lost, step, killed)
            with pytest.raises(KeyboardInterrupt):
                park(lab)
        assert park(lab) == []  # its lease has begun anew
        end_lease(lab, GRACE_SECONDS + 1)
    assert park(lab) == ["t-1"]
    assert len(lab.parked_in_table()) == 1


def test_a_submission_that_comes_first_keeps_its_claim(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(lab)
    found = list(lost.find_lost(lab.client("dynamodb"), lab.names.table, int(time.time() * 1000)))
    assert lab.submit(TRANSACTION).outcome == "APPROVED"
    monkeypatch.setattr(lost, "find_lost", lambda *_arguments: iter(found))
    assert park(lab) == []
    assert lab.parked_in_table() == []


def test_a_late_execution_cannot_decide_under_a_claim_that_was_taken(lab: Lab) -> None:
    lab.faults(lab.fault("FraudDetection", "slow", seconds=1.5))
    with ThreadPoolExecutor() as pool:
        late = pool.submit(lab.submit, TRANSACTION)
        while (lab.record("t-1") or {}).get("status") != "CLAIMED":
            time.sleep(0.02)
        end_lease(lab, GRACE_SECONDS + 1)
        assert park(lab) == ["t-1"]
        # It finds the claim given back, takes it again, and answers.
        assert late.result().outcome == "APPROVED"
    assert (lab.record("t-1") or {})["attempts"] == "2"


def test_a_sweep_parks_a_lost_claim_as_redrive_does(lab: Lab) -> None:
    record = lose(lab)
    assert lab.sweep() == {"parked": 1, "failed": 0}
    [message] = lab.parked_in_table()
    assert (message["state"], message["execution"], message["withheld"]) == ("Lost", record["execution"], "not stored")
    assert lab.sweep() == {"parked": 0, "failed": 0}
    assert park(lab) == []
    assert lab.submit(TRANSACTION).outcome == "APPROVED"
    assert "lease_shard" not in (lab.record("t-1") or {})


def test_a_sweep_finds_the_claims_of_every_shard(lab: Lab) -> None:
    ids = [f"t-{number}" for number in range(12)]
    lab.faults(lab.fault("Validate", "die", times=len(ids)))
    for name in ids:
        with pytest.raises(Unanswered):
            lab.submit(TRANSACTION | {"transaction_id": name})
        end_lease(lab, GRACE_SECONDS + 1, name)
    assert lab.sweep() == {"parked": len(ids), "failed": 0}
    assert len(lab.parked_in_table()) == len(ids)


def test_a_sweep_leaves_decisions_running_claims_and_what_was_given_back(lab: Lab) -> None:
    lab.submit(TRANSACTION | {"transaction_id": "decided"})
    lab.faults(lab.fault("History"))
    with pytest.raises(Parked):
        lab.submit(TRANSACTION | {"transaction_id": "given-back"})
    lose(lab)
    end_lease(lab, GRACE_SECONDS - 5)
    assert lab.sweep() == {"parked": 0, "failed": 0}


@pytest.mark.parametrize("state", ["Find", "Take", "Note", "GiveBack"])
def test_a_sweep_that_fails_says_so_and_the_next_one_parks_the_claim(lab: Lab, state: str) -> None:
    lose(lab)
    # In every shard: which one the claim is in depends on the millisecond.
    lab.faults(lab.fault(state, error="Boom", times=LEASE_SHARDS if state == "Find" else 1))
    assert lab.sweep() == {"error": "NotSwept"}
    lab.faults()
    end_lease(lab, GRACE_SECONDS + 1)
    assert lab.sweep() == {"parked": 1, "failed": 0}
    assert len(lab.parked_in_table()) == 1


def test_a_late_execution_cannot_decide_under_a_claim_that_a_sweep_took(lab: Lab) -> None:
    lab.faults(lab.fault("FraudDetection", "slow", seconds=1.5))
    with ThreadPoolExecutor() as pool:
        late = pool.submit(lab.submit, TRANSACTION)
        while (lab.record("t-1") or {}).get("status") != "CLAIMED":
            time.sleep(0.02)
        end_lease(lab, GRACE_SECONDS + 1)
        assert lab.sweep() == {"parked": 1, "failed": 0}
        assert late.result().outcome == "APPROVED"
    assert (lab.record("t-1") or {})["attempts"] == "2"


def test_a_submission_that_comes_before_the_sweep_takes_it_keeps_its_claim(lab: Lab) -> None:
    lose(lab)
    lab.faults(lab.fault("Take", "slow", seconds=1.5))
    with ThreadPoolExecutor() as pool:
        lab.trace()
        swept = pool.submit(lab.sweep)
        while not any(each["state"] == "Take" for each in lab.trace()):
            time.sleep(0.02)
        assert lab.submit(TRANSACTION).outcome == "APPROVED"
        assert swept.result() == {"parked": 0, "failed": 0}
    assert lab.parked_in_table() == []
