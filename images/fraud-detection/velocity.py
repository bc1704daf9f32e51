"""How many transactions a customer made shortly before this one. Pure functions over timestamps.

The history comes from an index that DynamoDB brings up to date a little after the table (eventual consistency), so a
burst of transactions within that lag can be undercounted; it cannot be overcounted, because each id is in the index
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from transactions.results import Reason


class Earlier(NamedTuple):
    """A transaction of the same customer, as the index knows it."""

    transaction_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """A velocity rule: ``points`` when at least ``earlier`` other transactions lie in the last ``seconds``."""

    rule: str
    seconds: int
    earlier: int
    points: int


def span(windows: Iterable[Window]) -> timedelta:
    """How far back the longest window looks."""
    return timedelta(seconds=max((window.seconds for window in windows), default=0))


def needed(windows: Iterable[Window]) -> int:
    """How many of the newest entries decide every window, and one more: the index may hold this transaction already."""
    return max((window.earlier for window in windows), default=0) + 1


def count_windows(
    history: Iterable[Earlier], transaction_id: str, received_at: datetime, windows: Iterable[Window]
) -> tuple[Reason, ...]:
    """The velocity rules that a transaction meets.

    A window is half-open, ``received_at - seconds < t <= received_at``: of two transactions exactly a minute apart
    the earlier one is out of the later one's minute, so back-to-back windows never count one transaction twice. Later
    transactions do not count (they will count this one), nor does this one itself.
    """
    ages = [
        received_at - entry.received_at
        for entry in history
        if entry.transaction_id != transaction_id and entry.received_at <= received_at
    ]
    reasons = []
    for window in windows:
        count = sum(age < timedelta(seconds=window.seconds) for age in ages)
        if count >= window.earlier:
            # Not the count itself: the query is bounded, so a larger count is not known.
            message = f"the customer made {window.earlier} or more other transactions in {window.seconds} seconds"
            reasons.append(Reason(window.rule, window.points, message))
    return tuple(reasons)
