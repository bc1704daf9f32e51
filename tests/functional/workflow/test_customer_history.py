"""The workflow's query for a customer's recent transactions, on a real index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cfn.workflow.limits import HISTORY_ENTRIES, HISTORY_SECONDS
from pipeline.transactions.submit import Parked
from tests.functional.workflow_lab import Lab, running_lab


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("history lab")) as lab:
        lab.deploy()
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def text(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def decided(lab: Lab, *ages: float, customer: str = "c-1", prefix: str = "earlier") -> None:
    """Write what the state machine records of transactions that occurred ``ages`` seconds ago."""
    now = datetime.now(UTC)
    for number, age in enumerate(ages):
        lab.client("dynamodb").put_item(
            TableName=lab.names.table,
            Item={
                "transaction_id": {"S": f"{prefix}-{number}"},
                "customer_id": {"S": customer},
                "occurred_at": {"S": text(now - timedelta(seconds=age))},
                "status": {"S": "DECIDED"},
            },
        )


def history(lab: Lab, **more: Any) -> dict[str, Any]:
    """What fraud detection was given for a transaction of the customer ``c-1``."""
    document = {"transaction_id": "own", "amount": "10.00", "currency": "USD", "customer_id": "c-1", **more}
    answer = lab.submit(document | {"show": "history"})
    [shown] = [json.loads(reason["message"]) for reason in answer.reasons if reason["rule"] == "history"]
    return dict(shown)


def ids(found: dict[str, Any]) -> list[str]:
    return [entry["transaction_id"] for entry in found["transactions"]]


def indexed(lab: Lab) -> dict[str, str]:
    """The transactions of ``c-1`` in the index, with their times."""
    items = lab.client("dynamodb").scan(TableName=lab.names.table, IndexName="customer")["Items"]
    return {
        item["transaction_id"]["S"]: item["occurred_at"]["S"] for item in items if item["customer_id"]["S"] == "c-1"
    }


def test_a_new_customer_has_no_history(lab: Lab) -> None:
    found = history(lab)
    assert ids(found) == []
    assert found["limit"] == HISTORY_ENTRIES
    received = datetime.fromisoformat((lab.record("own") or {})["received_at"])
    reach = [datetime.fromisoformat(found[end]) - received for end in ("since", "until")]
    assert reach == [timedelta(seconds=-HISTORY_SECONDS), timedelta(seconds=HISTORY_SECONDS)]
    assert list(indexed(lab)) == ["own"]


def test_the_newest_come_first_and_no_more_than_the_limit(lab: Lab) -> None:
    decided(lab, *range(1, HISTORY_ENTRIES + 5))
    found = ids(history(lab))
    assert found == [f"earlier-{number}" for number in range(HISTORY_ENTRIES)]


def test_distant_and_other_customers_transactions_are_left_out(lab: Lab) -> None:
    decided(lab, HISTORY_SECONDS + 5, prefix="older")
    decided(lab, -HISTORY_SECONDS - 60, prefix="later")
    decided(lab, 1, 2, 3, customer="c-2", prefix="other")
    decided(lab, HISTORY_SECONDS - 30, prefix="old")
    decided(lab, -60, prefix="next")
    assert ids(history(lab)) == ["next-0", "old-0"]


def test_the_time_of_a_transaction_is_its_own(lab: Lab) -> None:
    then = text(datetime.now(UTC) - timedelta(days=5))
    decided(lab, 1, 2)
    decided(lab, 5 * 86_400 + 60, prefix="then")
    assert ids(history(lab, timestamp=then)) == ["then-0"]
    assert indexed(lab)["own"] == then
    # It was received now, but occurred five days ago.
    assert ids(history(lab, transaction_id="next")) == ["earlier-0", "earlier-1"]


@pytest.mark.parametrize(
    "malformed", [{"amount": True}, {"currency": None, "pad": "x" * 9_000}, {"customer_id": ["c-1"]}]
)
def test_what_is_not_valid_does_not_count_for_the_customer_that_it_names(lab: Lab, malformed: dict[str, Any]) -> None:
    for number in range(3):
        document = {"transaction_id": f"bad-{number}", "amount": "1", "currency": "USD", "customer_id": "c-1"}
        assert lab.submit(document | malformed).outcome == "REJECTED"
    assert indexed(lab) == {}
    assert ids(history(lab)) == []


@pytest.mark.parametrize("state", ["Validate", "History", "FraudDetection", "Record"])
def test_what_is_parked_counts_once_it_is_decided(lab: Lab, state: str) -> None:
    lab.faults(lab.fault(state, times=9))
    document = {"transaction_id": "parked", "amount": "1", "currency": "USD", "customer_id": "c-1"}
    with pytest.raises(Parked):
        lab.submit(document)
    assert indexed(lab) == {}
    lab.faults()
    assert lab.submit(document).outcome == "APPROVED"
    assert list(indexed(lab)) == ["parked"]


@pytest.mark.parametrize("error", ["DynamoDb.ProvisionedThroughputExceededException", "DynamoDb.SdkClientException"])
def test_a_query_that_fails_for_a_moment_is_sent_again(lab: Lab, error: str) -> None:
    lab.faults(lab.fault("History", "before", error, 3))
    assert ids(history(lab)) == []


def test_without_a_history_the_transaction_is_parked_and_not_scored(lab: Lab) -> None:
    lab.faults(lab.fault("History", "before", "DynamoDb.ResourceNotFoundException"))
    with pytest.raises(Parked, match="History"):
        history(lab)
    [message] = lab.parked()
    assert (message["state"], message["error"]) == ("History", "DynamoDb.ResourceNotFoundException")
    assert (lab.record("own") or {})["status"] == "CLAIMED"
