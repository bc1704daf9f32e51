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


def claimed(lab: Lab, *ages: float, customer: str = "c-1", prefix: str = "earlier") -> None:
    """Write what the state machine's claims write of transactions that were received ``ages`` seconds ago."""
    now = datetime.now(UTC)
    for number, age in enumerate(ages):
        lab.client("dynamodb").put_item(
            TableName=lab.names.table,
            Item={
                "transaction_id": {"S": f"{prefix}-{number}"},
                "customer_id": {"S": customer},
                "received_at": {"S": text(now - timedelta(seconds=age))},
                "status": {"S": "CLAIMED"},
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


def test_a_new_customer_has_only_the_transaction_itself(lab: Lab) -> None:
    found = history(lab)
    assert ids(found) == ["own"]
    record = lab.record("own") or {}
    assert found["transactions"][0]["received_at"] == record["received_at"]
    assert found["limit"] == HISTORY_ENTRIES
    reach = datetime.fromisoformat(record["received_at"]) - datetime.fromisoformat(found["since"])
    assert reach == timedelta(seconds=HISTORY_SECONDS)


def test_the_newest_come_first_and_no_more_than_the_limit(lab: Lab) -> None:
    claimed(lab, *range(1, HISTORY_ENTRIES + 5))
    found = ids(history(lab))
    assert found == ["own", *(f"earlier-{number}" for number in range(HISTORY_ENTRIES - 1))]


def test_older_later_and_other_customers_transactions_are_left_out(lab: Lab) -> None:
    claimed(lab, HISTORY_SECONDS + 5, prefix="older")
    claimed(lab, -60, prefix="later")
    claimed(lab, 1, 2, 3, customer="c-2", prefix="other")
    claimed(lab, HISTORY_SECONDS - 30, prefix="old")
    assert ids(history(lab)) == ["own", "old-0"]


@pytest.mark.parametrize("error", ["DynamoDb.ProvisionedThroughputExceededException", "DynamoDb.SdkClientException"])
def test_a_query_that_fails_for_a_moment_is_sent_again(lab: Lab, error: str) -> None:
    lab.faults(lab.fault("History", "before", error, 3))
    assert ids(history(lab)) == ["own"]


def test_without_a_history_the_transaction_is_parked_and_not_scored(lab: Lab) -> None:
    lab.faults(lab.fault("History", "before", "DynamoDb.ResourceNotFoundException"))
    with pytest.raises(Parked, match="History"):
        history(lab)
    [message] = lab.parked()
    assert (message["state"], message["error"]) == ("History", "DynamoDb.ResourceNotFoundException")
    assert (lab.record("own") or {})["status"] == "CLAIMED"
