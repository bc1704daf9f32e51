"""Recorded transactions: a file as for ``submit --file``, or lines that have the answer beside the transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import ReleaseError, SubmissionError
from pipeline.transactions.submit import USABLE_ID
from pipeline.transactions.transaction_lines import read_lines

# The keys of a line with its answer. No transaction has one called "transaction".
_KEYS = {"transaction", "answer", "received_at", "history"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What was answered to a transaction.

    answer       {"outcome", "score", "reasons", …}
    received_at  when it was first received; the time that the functions judge by
    decided_at   when it was decided
    fingerprint  of the payload, as the table has it; "" if the answer came with the file
    history      the customer's other transactions, newest first, as they came with the file; None: the table has them
    """

    answer: Mapping[str, Any]
    received_at: str
    decided_at: str
    fingerprint: str = ""
    history: tuple[Mapping[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of the file.

    number       counts from 1
    transaction  as it was submitted, of any JSON type
    stored       the answer that came with it; None if it is looked up
    why          what is wrong with the line; "" for a good one
    """

    number: int
    transaction: Any = None
    stored: Stored | None = None
    why: str = ""

    @property
    def transaction_id(self) -> str:
        """The id; "" without one that the workflow records answers for."""
        value = self.transaction.get("transaction_id") if isinstance(self.transaction, dict) else None
        return value if isinstance(value, str) and USABLE_ID.fullmatch(value) else ""


def moment_of(text: str) -> datetime:
    """A time as the workflow writes it, ``2026-11-23T14:00:00.000Z``. Raises ValueError for one without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"a time has a zone, saw: {text[:40]!a}")
    return found


def read_recordings(path: Path) -> Iterator[Recording]:
    """Yield the lines of a ``.jsonl`` or ``.csv`` file of transactions, or of a ``.jsonl`` file of

        {"transaction": {…}, "answer": {…}, "received_at": "2026-11-23T14:00:00.000Z", "history": […]}

    received_at is the answer's decided_at if it is left out. history has the customer's other transactions that were
    decided before, [{"transaction_id", "occurred_at"}]; without it there were none.

    Raises ReleaseError if the file cannot be read or is empty.
    """
    for number, document, why in recorded_lines(path):
        if why:
            yield Recording(number, why=why)
            continue
        if not (isinstance(document, dict) and "transaction" in document and "answer" in document):
            yield Recording(number, document)
            continue
        try:
            yield Recording(number, document["transaction"], _stored(document))
        except (KeyError, TypeError, ValueError) as error:
            yield Recording(number, why=f"it has no usable answer: {error}")


def recorded_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Yield (number, document, what is wrong with it or "") for each line. Raises ReleaseError, also without one."""
    number = 0
    try:
        for line in read_lines(path):
            number = line.number
            yield number, None if line.why else json.loads(line.text), line.why
    except SubmissionError as problem:
        raise ReleaseError(
            "the release was not rehearsed", f"{path} cannot be used: {problem.why}", problem.next_step
        ) from problem
    if not number:
        raise ReleaseError("the release was not rehearsed", f"{path} is empty", "Name a file of what was recorded.")


def _stored(document: Mapping[str, Any]) -> Stored:
    if unknown := sorted(document.keys() - _KEYS):
        raise ValueError(f"a line has the keys {', '.join(sorted(_KEYS))}, saw: {unknown[0][:80]!a}")
    answer = document["answer"]
    if not isinstance(answer, dict) or not isinstance(answer.get("outcome"), str):
        raise ValueError("the answer is an object with an outcome")
    decided_at = answer.get("decided_at", "")
    received_at = document.get("received_at", decided_at)
    if not (isinstance(received_at, str) and isinstance(decided_at, str)):
        raise ValueError("received_at is a time, as the table has it")
    moment_of(received_at)
    history = document.get("history", [])
    if not isinstance(history, list) or not all(_is_entry(entry) for entry in history):
        raise ValueError('history is a list of {"transaction_id", "occurred_at"}')
    return Stored(answer, received_at, decided_at or received_at, history=tuple(history))


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("transaction_id", "occurred_at"))
