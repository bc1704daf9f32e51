"""What became of the last transactions, from their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.console.function_flow import Latency
from pipeline.transactions.explain import way_of
from pipeline.transactions.transaction_records import Record


@dataclass(frozen=True, slots=True)
class Recent:
    """One of the last transactions. failed: the state that parked it, or ""."""

    transaction_id: str
    outcome: str
    received_at: str
    milliseconds: float | None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class TransactionFlow:
    """The transactions that were logged last.

    seconds  that were sampled for the rate
    entered  how many of the recent transactions entered each state
    parked   messages in the queue, about
    """

    seconds: float
    per_minute: float
    recent: tuple[Recent, ...]
    entered: Mapping[str, int]
    parked: int

    @property
    def outcomes(self) -> Mapping[str, int]:
        return dict(sorted(Counter(each.outcome for each in self.recent).items()))

    @property
    def latency(self) -> Latency:
        return Latency.of([each.milliseconds for each in self.recent if each.milliseconds is not None])

    @property
    def failures(self) -> Mapping[str, int]:
        return dict(Counter(each.failed for each in self.recent if each.failed))


def recent_of(record: Record) -> Recent:
    """A record as one of the last transactions; of any content, because others may write the table."""
    received, decided = _instant(record.get("received_at")), _instant(record.get("decided_at"))
    took = (decided - received).total_seconds() * 1000 if received and decided else None
    failed = "" if decided else str(record.get("parked_error", ""))
    state = "PARKED" if failed else str(record.get("status", ""))
    return Recent(
        str(record.get("transaction_id", "")),
        str(record.get("outcome", state)),
        str(record.get("received_at", "")),
        took,
        failed,
    )


def entered_states(definition: Mapping[str, Any], records: Sequence[Record]) -> dict[str, int]:
    """How many of the transactions entered each state."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(way_of(definition, record))
    return dict(counts)


def _instant(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
