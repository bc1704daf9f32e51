"""Validation: the clock, and that its faults stand beside those of the fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from transactions.rules import RulesError
from transactions.transaction import Transaction, format_instant
from validation import ClockRules, validate

from tests.unit.images.loading import IMAGES, event, transaction

RECEIVED = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
RULES = ClockRules("test", ahead=timedelta(minutes=5), behind=timedelta(days=30))
TICK = timedelta(milliseconds=1)


def faults(document: Any) -> list[tuple[str, str]]:
    result = validate(document, RECEIVED, RULES)
    return [] if isinstance(result, Transaction) else [(fault.field, fault.code) for fault in result]


@pytest.mark.parametrize(
    ("timestamp", "code"),
    [
        (RECEIVED, None),
        (RECEIVED + timedelta(minutes=5), None),
        (RECEIVED + timedelta(minutes=5) + TICK, "in_future"),
        (RECEIVED - timedelta(days=30), None),
        (RECEIVED - timedelta(days=30) - TICK, "too_old"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "in_future"),
        (datetime(1, 1, 1, tzinfo=UTC), "too_old"),
    ],
)
def test_how_far_a_clock_may_be_off(timestamp: datetime, code: str | None) -> None:
    expected = [("timestamp", code)] if code else []
    assert faults(transaction(timestamp=format_instant(timestamp))) == expected


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-11-23T19:30:00+05:30", []),
        ("2026-11-23T09:04:59-05:00", []),
        ("2026-11-23T14:05:00+00:00", []),
        ("2026-11-23T14:06:00-00:30", [("timestamp", "in_future")]),
    ],
)
def test_the_offset_counts_and_not_the_reading_of_the_clock(timestamp: str, expected: list[tuple[str, str]]) -> None:
    assert faults(transaction(timestamp=timestamp)) == expected


def test_a_clock_fault_is_told_beside_the_faults_of_other_fields() -> None:
    assert faults(transaction(amount="-1", timestamp="2036-01-01T00:00:00Z")) == [
        ("amount", "not_positive"),
        ("timestamp", "in_future"),
    ]


def test_an_unreadable_time_is_one_fault() -> None:
    assert faults(transaction(timestamp="soon")) == [("timestamp", "format")]


def test_a_time_is_optional() -> None:
    assert faults(event("sample")["transaction"]) == []


def test_the_shipped_rules_are_named_after_their_date() -> None:
    rules = ClockRules.load(IMAGES / "transaction-validation" / "rules")
    assert rules == ClockRules("2026-11-01", timedelta(seconds=300), timedelta(days=30))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("draft.json", "{}", "no rule file"),
        ("2026-13.json", "{}", "no rule file"),
        ("2026-12-01.json", "{", "is not JSON"),
        ("2026-12-01.json", "[]", '"version": "2026-12-01"'),
        ("2026-12-01.json", '{"version": "2026-11-01"}', '"version": "2026-12-01"'),
        ("2026-12-01.json", '{"version": "2026-12-01"}', "no usable timestamp bounds"),
        (
            "2026-12-01.json",
            '{"version": "2026-12-01", "timestamp": {"ahead_seconds": "x"}}',
            "no usable timestamp bounds",
        ),
    ],
)
def test_rules_that_cannot_be_used_are_told_at_load(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RulesError, match=message):
        ClockRules.load(tmp_path)


def test_the_newest_rules_are_in_force(tmp_path: Path) -> None:
    for version, seconds in (("2026-11-01", 1), ("2027-01-01", 3), ("2026-12-01", 2)):
        document = {"version": version, "timestamp": {"ahead_seconds": seconds, "behind_days": 1}}
        (tmp_path / f"{version}.json").write_text(json.dumps(document))
    assert ClockRules.load(tmp_path).ahead == timedelta(seconds=3)
