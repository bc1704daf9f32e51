"""The customer's other transactions, as the workflow's state History read them from the table's index ``customer``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from transactions.invocation import InvalidEvent
from transactions.transaction import FieldError, parse_instant
from velocity import Other, Window, needed, span


@dataclass(frozen=True, slots=True)
class CustomerHistory:
    """At most ``limit`` decided transactions of one customer from ``since`` to ``until``, the newest first."""

    since: datetime
    until: datetime
    limit: int
    transactions: tuple[Other, ...]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read ``{"since": "…Z", "until": "…Z", "limit": 41, "transactions": [{"transaction_id": "…",
        "occurred_at": "…Z"}…]}``.

        Raises InvalidEvent: without a history a score would be a guess.
        """
        match value:
            case {
                "since": since,
                "until": until,
                "limit": int(limit),
                "transactions": [*entries],
            } if type(limit) is int:
                try:
                    entries_read = tuple(_entry(entry) for entry in entries)
                    return cls(parse_instant(since), parse_instant(until), limit, entries_read)
                except FieldError:
                    pass
        raise InvalidEvent("the event's history cannot be used")

    def check_reach(self, windows: Sequence[Window], occurred_at: datetime) -> None:
        """Raises InvalidEvent if ``windows`` reach further, or count more, than the history was read for."""
        reach = min(occurred_at - self.since, self.until - occurred_at)
        if span(windows) > reach or needed(windows) > self.limit:
            raise InvalidEvent(
                f"the velocity rules reach {span(windows).total_seconds():.0f} s on {needed(windows)} transactions,"
                f" the event's history covers {reach.total_seconds():.0f} s and {self.limit}:"
                " raise HISTORY_SECONDS and HISTORY_ENTRIES of cfn/workflow/limits.py"
            )


def _entry(value: object) -> Other:
    match value:
        case {"transaction_id": str(transaction_id), "occurred_at": occurred_at}:
            return Other(transaction_id, parse_instant(occurred_at))
    raise FieldError("format", "an entry has a transaction_id and occurred_at")
