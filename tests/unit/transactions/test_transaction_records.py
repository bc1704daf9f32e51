"""Records are read by key, in batches, and what DynamoDB leaves unanswered is asked for again."""

from __future__ import annotations

from typing import Any

from cfn.workflow.limits import PARKED_CUSTOMER
from pipeline.transactions.transaction_records import BATCH_MAX, find_by_customer, read_records


class Table:
    """A table that answers some keys of each batch only, as DynamoDB may."""

    def __init__(self, keys: list[str], at_once: int = BATCH_MAX) -> None:
        self.keys, self.at_once = keys, at_once
        self.batches: list[int] = []

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:
        [(name, request)] = RequestItems.items()
        keys = [key["transaction_id"]["S"] for key in request["Keys"]]
        assert len(set(keys)) == len(keys) <= 100
        self.batches.append(len(keys))
        known = [key for key in keys[: self.at_once] if key in self.keys]
        items = [{"transaction_id": {"S": key}, "received_at": {"S": f"{int(key):09}"}} for key in known]
        left = [{"transaction_id": {"S": key}} for key in keys[self.at_once :]]
        return {"Responses": {name: items}, "UnprocessedKeys": {name: {"Keys": left}} if left else {}}

    def query(self, **_request: Any) -> dict[str, Any]:
        return {"Items": [{"transaction_id": {"S": key}} for key in ("parked#1", "details#2", *self.keys)]}


def test_many_keys_are_read_in_batches() -> None:
    keys = [str(number) for number in range(250)]
    table = Table(keys[:-1])
    found = read_records(table, "t", [*keys, keys[0]])
    assert [record["transaction_id"] for record in found] == keys[:-1][::-1]
    assert table.batches == [100, 100, 50]


def test_keys_that_were_not_answered_are_asked_for_again() -> None:
    keys = [str(number) for number in range(10)]
    table = Table(keys, at_once=4)
    assert len(read_records(table, "t", keys)) == 10
    assert table.batches == [10, 6, 2]


def test_what_is_never_answered_is_left_out() -> None:
    assert read_records(Table(["1"], at_once=0), "t", ["1"]) == ()


def test_other_records_of_the_index_are_no_transactions() -> None:
    found = find_by_customer(Table(["7"]), "t", PARKED_CUSTOMER, 10)
    assert [record["transaction_id"] for record in found] == ["7"]
