"""How many transactions a customer made around the time of this one. Pure functions over timestamps.

A transaction's time is its own ``timestamp``, or the time of its receipt if it has none. Transactions of a file arrive
in any order, so a window counts later ones too: the burst is found by whichever of it arrives last.

The history holds decided transactions only, and its index is eventually consistent: what is submitted at the same
moment may be undercounted. It is never overcounted, because each id is in the index once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from transactions.results import Reason


class Other(NamedTuple):
    """Another transaction of the same customer, as the index has it."""

    transaction_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """A velocity rule: ``points`` when ``others`` transactions or more lie within ``seconds`` that include this one."""

    rule: str
    seconds: int
    others: int
    points: int


def span(windows: Iterable[Window]) -> timedelta:
    """How far the longest window reaches, before and after."""
    return timedelta(seconds=max((window.seconds for window in windows), default=0))


def needed(windows: Iterable[Window]) -> int:
    """How many entries decide every window: as many before as after, and this transaction, which may be indexed."""
    return 2 * max((window.others for window in windows), default=0) + 1


def count_windows(
    history: Iterable[Other], transaction_id: str, occurred_at: datetime, windows: Iterable[Window]
) -> tuple[Reason, ...]:
    """The velocity rules that a transaction meets. It does not count itself.

    A window is half-open, ``start <= t < start + seconds``: two transactions exactly a minute apart are never in one
    minute. Every window that includes ``occurred_at`` counts, and the fullest decides.
    """
    times = sorted(entry.occurred_at for entry in history if entry.transaction_id != transaction_id)
    reasons = []
    for window in windows:
        if _fullest(times, occurred_at, timedelta(seconds=window.seconds)) >= window.others:
            # Not the count itself: the query is bounded, so a larger count is not known.
            message = f"the customer made {window.others} or more other transactions in {window.seconds} seconds"
            reasons.append(Reason(window.rule, window.points, message))
    return tuple(reasons)


def _fullest(times: list[datetime], occurred_at: datetime, length: timedelta) -> int:
    """The most of ``times`` in one window with ``occurred_at``; the fullest begins at one of them, or at it."""
    starts = [time for time in times if time <= occurred_at < time + length] + [occurred_at]
    return max(sum(start <= time < start + length for time in times) for start in starts)
