"""The fraud score: which rules fire, and the edges of bands and windows."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring import FraudRules, assess
from transactions.currencies import MINOR_UNIT_DIGITS
from transactions.money import Currency, Money
from transactions.results import Reason
from transactions.rules import RulesError
from transactions.transaction import Transaction, read_transaction
from velocity import Other, Window, count_windows, needed, span

from tests.unit.images.loading import IMAGES, event, transaction

FOLDER = IMAGES / "fraud-detection" / "rules"
RULES = FraudRules.load(FOLDER)
NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
TICK = timedelta(milliseconds=1)


def read(**changes: Any) -> Transaction:
    made = read_transaction(transaction(**changes))
    assert isinstance(made, Transaction)
    return made


def points(made: Transaction, velocity: tuple[Reason, ...] = ()) -> dict[str, int]:
    return {reason.rule: reason.points for reason in assess(made, velocity, RULES).reasons}


def test_the_sample_transaction_has_no_reason() -> None:
    assert assess(read(), (), RULES).score == 0


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("999.99", "USD", {}),
        ("1000", "USD", {"amount_elevated": 10}),
        ("4999.99", "USD", {"amount_elevated": 10}),
        ("5000.00", "USD", {"amount_high": 25}),
        ("19999.99", "USD", {"amount_high": 25}),
        ("20000", "USD", {"amount_very_high": 40}),
        ("9999999999.99", "USD", {"amount_very_high": 40}),
        ("5000", "JPY", {}),
        ("149999", "JPY", {}),
        ("150000", "JPY", {"amount_elevated": 10}),
        ("299.999", "KWD", {}),
        ("300.000", "KWD", {"amount_elevated": 10}),
        ("1", "ZMW", {"amount_unrated": 10}),
    ],
)
def test_an_amount_is_judged_in_its_own_currency(amount: str, currency: str, expected: dict[str, int]) -> None:
    assert points(read(amount=amount, currency=currency)) == expected


@pytest.mark.parametrize("currency", ["USD", "ZMW"])
def test_the_amount_of_an_account_verification_is_not_judged(currency: str) -> None:
    assert points(read(kind="account_verification", amount=0, currency=currency)) == {}


IP, ABROAD, MERCHANT_IP, THREE = (
    "country_ip_mismatch",
    "country_cross_border",
    "country_merchant_ip_mismatch",
    "country_three_way",
)


@pytest.mark.parametrize(
    ("customer", "merchant", "ip", "expected"),
    [
        (None, None, None, set()),
        ("DE", "DE", "DE", set()),
        ("DE", None, None, set()),
        (None, "DE", None, set()),
        (None, None, "DE", set()),
        ("DE", None, "FR", {IP}),
        ("DE", "DE", "FR", {IP}),
        ("DE", "FR", None, {ABROAD}),
        ("DE", "FR", "DE", {ABROAD}),
        ("DE", "FR", "FR", {IP, ABROAD}),
        ("DE", "FR", "NL", {IP, ABROAD, THREE}),
        (None, "DE", "FR", {MERCHANT_IP}),
        (None, "DE", "DE", set()),
    ],
)
def test_each_disagreement_of_countries_counts_once(
    customer: str | None, merchant: str | None, ip: str | None, expected: set[str]
) -> None:
    assert points(read(customer_country=customer, merchant_country=merchant, ip_country=ip)).keys() == expected


@pytest.mark.parametrize(("category", "expected"), [("7995", 25), ("5411", 0), (None, 0), ("4829", 20)])
def test_risky_merchant_categories_add_points(category: str | None, expected: int) -> None:
    assert points(read(merchant_category=category)).get("merchant_category", 0) == expected


def test_the_score_is_the_sum_of_its_reasons_heaviest_first_and_at_most_100() -> None:
    risky = read_transaction(event("canonical-risky")["transaction"], canonical=True)
    assert isinstance(risky, Transaction)
    assessment = assess(risky, (), RULES)
    assert [reason.points for reason in assessment.reasons] == [40, 25, 20, 10, 10]
    assert assessment.score == 100
    assert assess(read(amount=25000, merchant_category="7995"), (), RULES).score == 65


# -- velocity

MINUTE = Window("minute", seconds=60, others=2, points=30)


def entries(*ages: timedelta) -> list[Other]:
    return [Other(f"tx-{number}", NOW - age) for number, age in enumerate(ages)]


@pytest.mark.parametrize(
    ("ages", "fires"),
    [
        ([], False),
        ([0], False),
        ([0, 0], True),
        ([1, 59_999], True),
        ([1, 60_000], False),
        ([1, 60_001], False),
        ([59_999, 59_999], True),
        ([60_000, 60_000], False),
        ([1, -1], True),
        ([-1, -59_999], True),
        ([-1, -60_000], False),
        ([30_000, -29_999], True),
        ([30_000, -30_000], False),
        ([0, -60_000], False),
    ],
)
def test_the_edges_of_a_window_in_milliseconds(ages: list[int], fires: bool) -> None:
    history = entries(*(timedelta(milliseconds=age) for age in ages))
    assert bool(count_windows(history, "this", NOW, [MINUTE])) is fires


def test_the_transaction_itself_does_not_count() -> None:
    history = [Other("this", NOW), Other("other", NOW - TICK)]
    assert count_windows(history, "this", NOW, [MINUTE]) == ()
    assert len(count_windows(history, "third", NOW, [MINUTE])) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_a_burst_is_found_in_whatever_order_it_arrives(order: int) -> None:
    burst = [Other(f"tx-{second}", NOW + timedelta(seconds=second)) for second in range(30)][::order]
    found = [
        count_windows(burst[:place], each.transaction_id, each.occurred_at, RULES.windows)
        for place, each in enumerate(burst)
    ]
    assert [[reason.rule for reason in each] for each in found] == [
        *[[]] * 5,
        *[["velocity_minute"]] * 5,
        *[["velocity_minute", "velocity_10_minutes"]] * 10,
        *[["velocity_minute", "velocity_10_minutes", "velocity_hour"]] * 10,
    ]


def test_thirty_transactions_of_five_days_are_no_burst() -> None:
    days = [Other(f"tx-{number}", NOW + timedelta(hours=4 * number)) for number in range(30)]
    assert not any(count_windows(days, each.transaction_id, each.occurred_at, RULES.windows) for each in days)


AGES = st.lists(st.integers(-4_000_000, 4_000_000).map(lambda ms: timedelta(milliseconds=ms)), max_size=30)
WINDOWS = st.lists(
    st.builds(Window, st.just("w"), st.integers(1, 3600), st.integers(1, 12), st.integers(1, 50)),
    min_size=1,
    max_size=4,
)


@given(AGES.map(lambda ages: [age for age in ages if age >= timedelta()]), WINDOWS, st.booleans())
def test_the_bounded_query_decides_every_window_of_what_arrives_in_order(
    ages: list[timedelta], windows: list[Window], indexed: bool
) -> None:
    history = entries(*ages) + ([Other("this", NOW)] if indexed else [])
    newest_first = sorted(history, key=lambda entry: (entry.occurred_at, entry.transaction_id != "this"), reverse=True)
    page = [entry for entry in newest_first if NOW - span(windows) <= entry.occurred_at][: needed(windows)]
    assert count_windows(page, "this", NOW, windows) == count_windows(history, "this", NOW, windows)


@given(AGES, WINDOWS)
def test_a_window_counts_if_any_placement_of_it_is_full(ages: list[timedelta], windows: list[Window]) -> None:
    fired = count_windows(entries(*ages), "this", NOW, windows)
    times = [NOW - age for age in ages]

    def full(window: Window) -> bool:
        length = timedelta(seconds=window.seconds)
        # A window can be moved on until its end meets a transaction, or until it would leave this one.
        ends = [time + TICK for time in times if NOW < time + TICK <= NOW + length] + [NOW + TICK, NOW + length]
        return any(sum(end - length <= time < end for time in times) >= window.others for end in ends)

    assert [reason.points for reason in fired] == [window.points for window in windows if full(window)]


@given(AGES, WINDOWS)
def test_a_longer_history_never_lowers_a_score(ages: list[timedelta], windows: list[Window]) -> None:
    for length in range(len(ages)):
        fewer = count_windows(entries(*ages[:length]), "this", NOW, windows)
        more = count_windows(entries(*ages[: length + 1]), "this", NOW, windows)
        assert set(fewer) <= set(more)


@given(st.sampled_from(sorted(RULES.band_limits)), st.integers(1, 10**12 - 2), st.integers(1, 10**11))
def test_a_larger_amount_never_lowers_a_score(code: str, minor: int, more: int) -> None:
    def score(value: int) -> int:
        base = read()
        made = Transaction(
            transaction_id=base.transaction_id,
            money=Money(value, Currency.parse(code)),
            merchant_id=base.merchant_id,
            customer_id=base.customer_id,
        )
        return assess(made, (), RULES).score

    assert score(minor) <= score(minor + more)


# -- rule file


def test_the_shipped_rules_name_real_currencies_and_stay_readable_per_window() -> None:
    assert RULES.version == "2026-11-30"
    assert RULES.band_limits.keys() <= MINOR_UNIT_DIGITS.keys()
    assert len({window.rule for window in RULES.windows}) == len(RULES.windows)
    assert needed(RULES.windows) == 41
    assert span(RULES.windows) == timedelta(hours=1)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("amount", "from", "USD"), ["1000", "5000"]),
        (("amount", "from", "USD"), ["5000", "1000", "20000"]),
        (("amount", "from", "USD"), ["1000.001", "5000", "20000"]),
        (("amount", "from", "JPY"), ["1.5", "2", "3"]),
        (("amount", "from", "XYZ"), ["1", "2", "3"]),
        (("amount", "bands", 0, "points"), 0),
        (("amount", "bands", 0, "points"), -10),
        (("country", "all_differ"), None),
        (("country", "surprise"), {"rule": "x", "points": 1}),
        (("merchant", "points", "7995"), "25"),
        (("velocity", 0, "seconds"), 0),
        (("velocity", 0, "others"), None),
        (("velocity",), None),
    ],
)
def test_a_broken_rule_file_is_told_at_load(tmp_path: Path, path: tuple[Any, ...], value: object) -> None:
    document = json.loads((FOLDER / "2026-11-30.json").read_text())
    inner = broken = copy.deepcopy(document)
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    (tmp_path / "2026-11-30.json").write_text(json.dumps(broken))
    with pytest.raises(RulesError, match="2026-11-30"):
        FraudRules.load(tmp_path)
