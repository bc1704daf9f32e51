"""The customer's recent transactions, as the workflow's state History read them from the table's index ``customer``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from transactions.invocation import InvalidEvent
from transactions.transaction import FieldError, parse_instant
from velocity import Earlier, Window, needed, span


@dataclass(frozen=True, slots=True)
class CustomerHistory:
    """At most ``limit`` transactions of one customer received since ``since``, the newest first."""

    since: datetime
    limit: int
    transactions: tuple[Earlier, ...]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read ``{"since": "…Z", "limit": 21, "transactions": [{"transaction_id": "…", "received_at": "…Z"}…]}``.

        Raises InvalidEvent: without a history a score would be a guess.
        """
        match value:
            case {"since": since, "limit": int(limit), "transactions": [*entries]} if type(limit) is int:
                try:
                    return cls(parse_instant(since), limit, tuple(_entry(entry) for entry in entries))
                except FieldError:
                    pass
        raise InvalidEvent("the event's history cannot be used")

    def check_reach(self, windows: Sequence[Window], received_at: datetime) -> None:
        """Raises InvalidEvent if ``windows`` look back further, or count more, than the history was read for."""
        if received_at - span(windows) < self.since or needed(windows) > self.limit:
            raise InvalidEvent(
                f"the velocity rules look back {span(windows).total_seconds():.0f} s on {needed(windows)} transactions,"
                f" the event's history covers {(received_at - self.since).total_seconds():.0f} s and {self.limit}:"
                " raise HISTORY_SECONDS and HISTORY_ENTRIES of cfn/workflow/limits.py"
            )


def _entry(value: object) -> Earlier:
    match value:
        case {"transaction_id": str(transaction_id), "received_at": received_at}:
            return Earlier(transaction_id, parse_instant(received_at))
    raise FieldError("format", "an entry has a transaction_id and received_at")
