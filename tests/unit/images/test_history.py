"""What fraud detection reads of the customer's history, and what it refuses instead of guessing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.metrics.provider import cold_start
from history import CustomerHistory
from scoring import FraudRules
from transactions.invocation import InvalidEvent
from velocity import Other, Window, needed, span

from cfn.workflow.limits import HISTORY_ENTRIES, HISTORY_SECONDS
from tests.unit.images.loading import IMAGES, context, event, load_handler

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
HISTORY = {
    "since": "2026-11-23T13:00:00.000Z",
    "until": "2026-11-23T15:00:00.000Z",
    "limit": 41,
    "transactions": [{"transaction_id": "t-1", "occurred_at": "2026-11-23T13:59:59.999Z"}],
}


def test_a_history_is_read() -> None:
    assert CustomerHistory.parse(HISTORY) == CustomerHistory(
        NOW - timedelta(hours=1), NOW + timedelta(hours=1), 41, (Other("t-1", NOW - timedelta(milliseconds=1)),)
    )


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        "text",
        HISTORY | {"since": None},
        HISTORY | {"since": "yesterday"},
        HISTORY | {"until": None},
        {name: value for name, value in HISTORY.items() if name != "until"},
        HISTORY | {"limit": "41"},
        HISTORY | {"limit": True},
        HISTORY | {"limit": 41.5},
        HISTORY | {"transactions": None},
        HISTORY | {"transactions": {"transaction_id": "t-1", "occurred_at": "2026-11-23T13:59:59.999Z"}},
        HISTORY | {"transactions": [None]},
        HISTORY | {"transactions": [{"transaction_id": "t-1"}]},
        HISTORY | {"transactions": [{"transaction_id": 1, "occurred_at": "2026-11-23T13:59:59.999Z"}]},
        HISTORY | {"transactions": [{"transaction_id": "t-1", "occurred_at": "secret"}]},
    ],
)
def test_what_is_no_history_is_an_error_that_repeats_nothing_of_it(broken: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        CustomerHistory.parse(broken)
    assert str(refused.value) == "the event's history cannot be used"


@pytest.mark.parametrize(
    ("seconds", "others", "enough"),
    [(3_600, 20, True), (60, 1, True), (3_601, 20, False), (3_600, 21, False)],
)
def test_rules_that_reach_further_than_the_history_refuse_it(seconds: int, others: int, enough: bool) -> None:
    history = CustomerHistory.parse(HISTORY)
    windows = (Window("rule", seconds, others, 10),)
    if enough:
        history.check_reach(windows, NOW)
    else:
        with pytest.raises(InvalidEvent, match=rf"reach {seconds} s on {2 * others + 1} .* covers 3600 s and 41"):
            history.check_reach(windows, NOW)


def test_a_history_that_ends_too_early_is_refused() -> None:
    history = CustomerHistory.parse(HISTORY | {"until": "2026-11-23T14:59:59.999Z"})
    with pytest.raises(InvalidEvent, match="covers 3600 s"):
        history.check_reach((Window("rule", 3_600, 1, 10),), NOW)


def test_the_workflow_reads_what_the_shipped_rules_need() -> None:
    windows = FraudRules.load(IMAGES / "fraud-detection" / "rules").windows
    assert span(windows).total_seconds() == HISTORY_SECONDS
    assert needed(windows) == HISTORY_ENTRIES


def test_a_burst_raises_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "is_cold_start", False)
    document = event("canonical-sample")
    entries = [
        {"transaction_id": f"other-{number}", "occurred_at": f"2026-11-23T13:59:{59 - number}.000Z"}
        for number in range(5)
    ]
    document["history"]["transactions"] = entries
    result = load_handler("fraud-detection").handle(json.loads(json.dumps(document)), context())
    assert (result["score"], [reason["rule"] for reason in result["reasons"]]) == (30, ["velocity_minute"])


def test_a_transaction_is_judged_by_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "is_cold_start", False)
    document = event("canonical-sample")
    document["transaction"]["timestamp"] = "2026-11-20T09:00:00.000Z"
    document["history"] |= {"since": "2026-11-20T08:00:00.000Z", "until": "2026-11-20T10:00:00.000Z"}
    fraud = load_handler("fraud-detection")
    for day, rules in (("23T14:00", []), ("20T08:59", ["velocity_minute"]), ("20T09:00", ["velocity_minute"])):
        document["history"]["transactions"] = [
            {"transaction_id": f"other-{number}", "occurred_at": f"2026-11-{day}:{30 + number}.000Z"}
            for number in range(5)
        ]
        result = fraud.handle(json.loads(json.dumps(document)), context())
        assert [reason["rule"] for reason in result["reasons"]] == rules
