"""Answers compared, and what the differences of a file come to."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.rehearsal.comparison import Difference, Failure, Rehearsal, Speed, compare, percentile
from pipeline.rehearsal.gate import Gate, require_kind

VELOCITY = {"source": "fraud-detection", "rule": "velocity_minute", "points": 30, "message": "3 or more"}
AMOUNT = {"source": "fraud-detection", "rule": "amount_high", "points": 25, "message": "band 2"}


def answer(outcome: str = "APPROVED", score: int | None = 25, reasons: Any = (AMOUNT,), **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "reasons": list(reasons), **more}


def difference(before: dict[str, Any], after: dict[str, Any], name: str = "t-1") -> Difference:
    found = compare(name, 1, before, after)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "after",
    [
        answer(),
        answer(decided_at="2026-01-01T00:00:00.000Z", repeat=True),
        answer(reasons=(dict(reversed(AMOUNT.items())),)),
    ],
)
def test_what_is_not_judged_makes_no_difference(after: dict[str, Any]) -> None:
    assert compare("t-1", 1, answer(decided_at="2025-01-01T00:00:00.000Z", repeat=False), after) is None


def test_the_order_of_reasons_makes_no_difference_and_their_number_does() -> None:
    assert compare("t-1", 1, answer(reasons=(AMOUNT, VELOCITY)), answer(reasons=(VELOCITY, AMOUNT))) is None
    assert difference(answer(reasons=(AMOUNT,)), answer(reasons=(AMOUNT, AMOUNT))).rules == (
        "fraud-detection/amount_high",
    )


@pytest.mark.parametrize(
    ("after", "kind", "rules"),
    [
        (answer("REVIEW", 55, (AMOUNT, VELOCITY)), "APPROVED to REVIEW", ("fraud-detection/velocity_minute",)),
        (answer(reasons=()), "APPROVED", ("fraud-detection/amount_high",)),
        (answer(score=26), "APPROVED", ()),
        (answer(reasons=({**AMOUNT, "message": "another"},)), "APPROVED", ("fraud-detection/amount_high",)),
        (answer("REJECTED", None, ()), "APPROVED to REJECTED", ("fraud-detection/amount_high",)),
        ({"outcome": "\x1b[2J", "reasons": [AMOUNT]}, "APPROVED to '\\x1b[2J'", ()),
        ({"outcome": 7, "reasons": "none"}, "APPROVED to nothing", ("fraud-detection/amount_high",)),
    ],
)
def test_a_difference_has_its_kind_and_the_rules_that_explain_it(
    after: dict[str, Any], kind: str, rules: tuple[str, ...]
) -> None:
    found = difference(answer(), after)
    assert (found.kind, found.rules) == (kind, rules)


def test_the_fault_of_a_field_is_a_rule_of_its_own() -> None:
    fault = {"source": "transaction-validation", "rule": "missing", "field": "amount", "message": "it is required"}
    assert difference(answer(), answer(reasons=(AMOUNT, fault))).rules == ("transaction-validation/missing amount",)


def rehearsal(*differences: Difference, **more: Any) -> Rehearsal:
    return Rehearsal(10_000, differences, seconds=41.2, **more)


def flagged(count: int) -> list[Difference]:
    return [difference(answer(), answer("REVIEW", 55, (AMOUNT, VELOCITY)), f"t-{n}") for n in range(count)]


def test_the_summary_is_one_line() -> None:
    speeds = (Speed("fraud-detection", 3.0, 9.0, 3.0, 7.0), Speed("compliance-checking", 2.0, 5.0))
    assert rehearsal(*flagged(37), speeds=speeds).summary == (
        "10,000 replayed in 41 s: 37 APPROVED to REVIEW, all by rule velocity_minute; 0 errors;"
        " p99 +2 ms in fraud-detection"
    )
    assert rehearsal().summary == "10,000 replayed in 41 s: no difference; 0 errors"


def test_the_summary_counts_everything_that_is_no_change_of_an_outcome() -> None:
    found = rehearsal(
        difference(answer(), answer(score=26)),
        uncertain=tuple(flagged(2)),
        failures=(Failure("t-9", 9, "FraudDetection: InvalidEvent"),),
        skipped={"not recorded": 3, "repeated": 1},
        malformed=((4, "it is not JSON"),),
    )
    assert found.summary == (
        "10,000 replayed in 41 s: 1 with the same outcome and other reasons; 2 uncertain; 4 not compared; 1 malformed;"
        " 1 error"
    )


def test_several_rules_are_counted_and_the_rest_is_named_as_others() -> None:
    def by(*rules: str) -> Difference:
        return difference(answer(reasons=()), answer("REVIEW", 55, [{"source": "s", "rule": rule} for rule in rules]))

    found = rehearsal(by("a"), by("a", "b"), by("c"), by("d"))
    assert "4 APPROVED to REVIEW, by rules a (2), b (1), c (1) and others" in found.summary


@pytest.mark.parametrize(
    ("gate", "found", "refusals"),
    [
        (Gate(), rehearsal(*flagged(5)), ()),
        (Gate(max_changed=5), rehearsal(*flagged(5)), ()),
        (Gate(max_changed=4), rehearsal(*flagged(5)), ("5 have another outcome, and at most 4 may",)),
        (Gate(max_changed=0), rehearsal(difference(answer(), answer(score=26))), ()),
        (Gate(max_changed=0), rehearsal(uncertain=tuple(flagged(1))), ()),
        (Gate(forbidden=("APPROVED to REVIEW",)), rehearsal(*flagged(2)), ("2 are APPROVED to REVIEW, such as t-0",)),
        (Gate(forbidden=("REVIEW to APPROVED",)), rehearsal(*flagged(2)), ()),
        (Gate(), rehearsal(failures=(Failure("t-9", 9, "why"),)), ("1 are not answered, the first t-9: why",)),
        (Gate(), rehearsal(stopped="20 in a row were not answered"), ("20 in a row were not answered",)),
        (Gate(), Rehearsal(0), ("nothing was replayed",)),
    ],
)
def test_a_gate_refuses_by_name(gate: Gate, found: Rehearsal, refusals: tuple[str, ...]) -> None:
    assert gate.refusals(found) == refusals


@pytest.mark.parametrize("kind", ["", "APPROVED", "approved to REVIEW", "APPROVED to APPROVED", "A to B", "REVIEW to"])
def test_a_kind_that_could_never_be_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="a kind is like"):
        require_kind(kind)
    assert require_kind("REJECTED to APPROVED") == "REJECTED to APPROVED"


@pytest.mark.parametrize(("share", "value"), [(0.07, 7), (0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(range(100, 0, -1), share) == value
    assert percentile([3.0], share) == 3.0
