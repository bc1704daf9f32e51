"""Whether a submitted transaction can be judged at all. Pure: every fault at once, or the canonical transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from transactions.results import Fault
from transactions.rules import RulesError, newest_rules
from transactions.transaction import FieldError, Transaction, parse_instant, read_transaction


@dataclass(frozen=True, slots=True)
class ClockRules:
    """How far a transaction's own time may be from the time it was received. Both bounds are inclusive.

    ahead   a sender's clock may run fast by this much
    behind  how late a transaction may be submitted
    """

    version: str
    ahead: timedelta
    behind: timedelta

    @classmethod
    def load(cls, folder: Path) -> ClockRules:
        """Raises RulesError."""
        document = newest_rules(folder)
        try:
            ahead = timedelta(seconds=document["timestamp"]["ahead_seconds"])
            behind = timedelta(days=document["timestamp"]["behind_days"])
        except (KeyError, TypeError) as error:
            raise RulesError(f"the rules of {document['version']} have no usable timestamp bounds") from error
        return cls(document["version"], ahead, behind)


def validate(document: object, received_at: datetime, rules: ClockRules) -> Transaction | tuple[Fault, ...]:
    """The transaction, or all of its faults.

    document     what was submitted, of any JSON type
    received_at  when the state machine received it, UTC
    """
    read = read_transaction(document)
    clock = _clock_faults(document, received_at, rules)
    if isinstance(read, Transaction):
        return clock or read
    return (*read, *clock)


def _clock_faults(document: object, received_at: datetime, rules: ClockRules) -> tuple[Fault, ...]:
    """Looks at the submitted field itself, so that its faults are told beside those of the other fields."""
    submitted = document.get("timestamp") if isinstance(document, dict) else None
    try:
        timestamp = parse_instant(submitted)
    except FieldError:
        return ()
    # Differences, because adding to a time at the end of the calendar overflows.
    if timestamp - received_at > rules.ahead:
        seconds = int(rules.ahead.total_seconds())
        return (Fault("timestamp", "in_future", f"a transaction is at most {seconds} seconds ahead of its receipt"),)
    if received_at - timestamp > rules.behind:
        return (Fault("timestamp", "too_old", f"a transaction is submitted within {rules.behind.days} days"),)
    return ()
