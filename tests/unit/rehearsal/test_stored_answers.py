"""The table as it was: which answers it has, and which history a transaction was judged with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.core.errors import StackError
from pipeline.rehearsal import stored_answers
from pipeline.rehearsal.recordings import Stored
from pipeline.rehearsal.stored_answers import Known, Table

ARGUMENTS = {
    "TableName": "${Table}", "IndexName": "customer", "Limit": 3, "ScanIndexForward": False,
    "KeyConditionExpression": "…", "ExpressionAttributeValues": {},
}  # fmt: skip


@dataclass
class Dynamo:
    """The two reads of DynamoDB over a dictionary of records; a query gives every record, two on a page."""

    records: Mapping[str, Mapping[str, str]]
    unanswered: int = 0
    asked: list[Any] = field(default_factory=list)

    def batch_get_item(self, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        [(table, request)] = RequestItems.items()
        keys = [key["transaction_id"]["S"] for key in request["Keys"]]
        self.asked.append(keys)
        answered = keys[self.unanswered :]
        left = [{"transaction_id": {"S": key}} for key in keys[: self.unanswered]]
        wanted = request["ExpressionAttributeNames"].values()
        items = [
            {
                name: {"S": value}
                for name, value in {"transaction_id": key, **self.records[key]}.items()
                if name in wanted
            }
            for key in answered
            if key in self.records
        ]
        return {"Responses": {table: items}, "UnprocessedKeys": {table: {"Keys": left}} if left else {}}

    def get_paginator(self, operation: str) -> Dynamo:
        assert operation == "query"
        return self

    def paginate(self, **query: Any) -> Iterator[Any]:
        assert query["TableName"] == "state"
        assert "Limit" not in query  # what was decided later may come first
        found = sorted(self.records, key=lambda key: self.records[key]["occurred_at"], reverse=True)
        items = [
            {"transaction_id": {"S": key}, "occurred_at": {"S": self.records[key]["occurred_at"]}} for key in found
        ]
        for first in range(0, len(items), 2):
            yield {"Items": items[first : first + 2]}


def at(seconds: float) -> str:
    return f"2026-11-23T14:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"


def record(occurred: float, decided: float | None) -> dict[str, str]:
    return {"occurred_at": at(occurred), **({"decided_at": at(decided)} if decided is not None else {})}


def ids(result: Mapping[str, Any]) -> list[str]:
    return [item["transaction_id"]["S"] for item in result["Items"]]


def known(received: float, decided: float, **more: Any) -> Known:
    found = Known.of("own", Stored({}, at(received), at(decided)))
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_a_history_has_only_what_had_been_decided() -> None:
    records = {"before": record(10, 20), "own": record(60, 62), "after": record(30, 90), "undecided": record(40, None)}
    assert ids(Table(Dynamo(records), "state").history(ARGUMENTS, known(60, 62))) == ["before"]


def test_what_was_decided_later_takes_no_place_of_the_limit() -> None:
    records = {f"later-{n}": record(50 + n, 500) for n in range(5)} | {f"old-{n}": record(n, 20) for n in range(5)}
    assert ids(Table(Dynamo(records), "state").history(ARGUMENTS, known(60, 62))) == ["old-4", "old-3", "old-2"]


def test_what_was_decided_in_the_meantime_may_have_been_seen() -> None:
    records = {"early": record(1, 60.5), "late": record(2, 61.5), "sure": record(3, 30)}
    table, own = Table(Dynamo(records), "state"), known(60, 62)
    assert ids(table.history(ARGUMENTS, own)) == ["sure", "early"]
    assert (own.between, own.likely, list(own.others())) == (2, 1, [0, 2])
    assert [ids(table.history(ARGUMENTS, known(60, 62, seen=seen))) for seen in range(3)] == [
        ["sure"], ["sure", "early"], ["sure", "late", "early"],
    ]  # fmt: skip


def test_a_record_may_be_missing_in_the_index_for_a_moment_after_its_decision() -> None:
    own = known(60, 62)
    Table(Dynamo({"fresh": record(1, 59.5), "sure": record(2, 58.5)}), "state").history(ARGUMENTS, own)
    assert (own.between, own.likely) == (1, 1)


def test_times_of_decisions_are_read_once() -> None:
    dynamo = Dynamo({"before": record(10, 20)})
    table = Table(dynamo, "state")
    for _ in range(3):
        table.history(ARGUMENTS, known(60, 62))
    assert [keys for keys in dynamo.asked if keys] == [["before"]]


def test_a_history_is_whole_when_another_thread_forgets_what_it_was_reading() -> None:
    records = {f"before-{n}": record(10 + n, 20) for n in range(2)}

    class Forgetting(Dynamo):
        def batch_get_item(self, **request: Any) -> dict[str, Any]:
            answer = super().batch_get_item(**request)
            table._decided.clear()
            return answer

    table = Table(Forgetting(records), "state")
    assert len(ids(table.history(ARGUMENTS, known(60, 62)))) == 2
    records["before-2"] = record(12, 20)
    assert len(ids(table.history(ARGUMENTS, known(60, 62)))) == 3


DECIDED = {
    "status": "DECIDED", "answer": '{"outcome":"APPROVED"}', "received_at": at(1), "decided_at": at(2),
    "fingerprint": "f",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Stored({"outcome": "APPROVED"}, at(1), at(2), "f")),
        ({"status": "CLAIMED"}, None),
        ({"answer": "{"}, None),
        ({"answer": "[]"}, None),
    ],
)
def test_an_answer_is_that_of_a_decided_record(changed: dict[str, str], expected: Stored | None) -> None:
    assert Table(Dynamo({"t": DECIDED | changed}), "state").answers(["t", "absent", "t"]) == {"t": expected}


def test_keys_that_stay_unanswered_are_an_error_and_never_a_record_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_answers.time, "sleep", lambda _: None)
    dynamo = Dynamo({"t": DECIDED}, unanswered=1)
    with pytest.raises(StackError, match="left 1 keys unanswered"):
        Table(dynamo, "state").answers(["t"])
