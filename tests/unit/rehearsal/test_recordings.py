"""The lines of a file to rehearse on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.rehearsal.recordings import Recording, Stored, read_recordings

TRANSACTION = {"transaction_id": "t-1", "amount": "10.00"}
ANSWER = {"outcome": "APPROVED", "decided_at": "2026-11-23T14:00:01.000Z"}


def read(folder: Path, *lines: Any) -> list[Recording]:
    path = folder / "recorded.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return list(read_recordings(path))


def test_a_transaction_has_its_answer_in_the_table(tmp_path: Path) -> None:
    assert read(tmp_path, TRANSACTION) == [Recording(1, TRANSACTION)]


def test_an_answer_may_be_beside_its_transaction(tmp_path: Path) -> None:
    history = [{"transaction_id": "t-0", "occurred_at": "2026-11-23T13:59:00.000Z"}]
    whole = {
        "transaction": TRANSACTION,
        "answer": ANSWER,
        "received_at": "2026-11-23T14:00:00.000Z",
        "history": history,
    }
    [first, second] = read(tmp_path, whole, {"transaction": TRANSACTION, "answer": ANSWER})
    assert first.stored == Stored(ANSWER, "2026-11-23T14:00:00.000Z", ANSWER["decided_at"], history=tuple(history))
    assert second.stored == Stored(ANSWER, ANSWER["decided_at"], ANSWER["decided_at"], history=())


@pytest.mark.parametrize(
    "line",
    [
        "{",
        {"transaction": TRANSACTION, "answer": "APPROVED"},
        {"transaction": TRANSACTION, "answer": {}},
        {"transaction": TRANSACTION, "answer": {"outcome": "APPROVED"}},
        {"transaction": TRANSACTION, "answer": ANSWER, "received_at": "yesterday"},
        {"transaction": TRANSACTION, "answer": ANSWER, "received_at": "2026-11-23T14:00:00"},
        {"transaction": TRANSACTION, "answer": ANSWER, "received_at": 7},
        {"transaction": TRANSACTION, "answer": ANSWER, "history": {}},
        {"transaction": TRANSACTION, "answer": ANSWER, "history": [{"transaction_id": "t-0"}]},
        {"transaction": TRANSACTION, "answer": ANSWER, "recieved_at": "2026-11-23T14:00:00.000Z"},
    ],
)
def test_a_line_that_cannot_be_used_says_why_and_the_next_is_read(tmp_path: Path, line: Any) -> None:
    bad, good = read(tmp_path, line, TRANSACTION)
    assert bad.why
    assert bad.stored is None
    assert good == Recording(2, TRANSACTION)


@pytest.mark.parametrize(
    ("transaction", "identifier"),
    [
        (TRANSACTION, "t-1"),
        ({}, ""),
        ([], ""),
        ("t-1", ""),
        ({"transaction_id": "<b>"}, ""),
        ({"transaction_id": 1}, ""),
    ],
)
def test_only_an_id_that_the_workflow_records_is_looked_up(transaction: Any, identifier: str) -> None:
    assert Recording(1, transaction).transaction_id == identifier
