"""The lines of a plan about money, load, time and drift."""

from __future__ import annotations

from commands.drift_lines import drift_document, drift_lines
from commands.forecasts import forecast
from pipeline.drift.detection import StackDrift
from pipeline.drift.drifted import Difference, Drifted
from pipeline.forecast.carried_load import Load
from pipeline.forecast.money import Bill, CostChange
from pipeline.forecast.release_times import Past, Work
from pipeline.release.exact_plan import ExactPlan
from pipeline.release.planning import Drift, ReleasePlan
from pipeline.stacks import ResourceChange
from pipeline.transactions.capacity import Limit

EXACT = ExactPlan(1, "local/x", "dev", {}, {})
QUEUE = Drifted("Queue", "AWS::SQS::Queue", "q", (Difference("VisibilityTimeout", "60", "5"),))


def plan(cost: CostChange | None = None, load: Load | None = None, work: Work = Work.IMAGES) -> ReleasePlan:
    return ReleasePlan((), (), None, cost, load, work, Drift(), EXACT)


def test_each_figure_is_shown_before_and_after() -> None:
    cost = CostChange(Bill(30.0, 4.0), Bill(20.0, 4.0))
    load = Load(1200, 1000, 3.0, Limit("Lambda rate", 1200, ""), 600)
    document, lines = forecast(plan(cost, load), [Past(Work.IMAGES, {"push": 2.0, "total": 9.0})])
    assert lines == [
        "about 20.00 → 30.00 USD a month, and 4.00 USD for a million transactions",
        "carries 600 → 1,200 transactions a minute (Lambda rate);"
        " the settings need 1,000, and 3 times as many at the peak",
        "takes about 9.0 s: push 2.0 s (as did one of the releases of images)",
    ]
    assert document["cost"]["before"] == {"per_month": 20.0, "per_million": 4.0}
    assert document["expected"] == {"seconds": 9.0, "phases": {"push": 2.0}, "of": 1, "work": "images"}


def test_what_is_unknown_is_said() -> None:
    cost = CostChange(Bill(1.0, None, {"shop-new-dev": 2.0, "shop-untimed-dev": None}), Bill(1.0))
    document, lines = forecast(plan(cost, work=Work.CREATE), [])
    assert lines[1].split() == ["shop-new-dev", "2.00", "USD", "for", "a", "million", "invocations"]
    assert "unknown: set milliseconds" in lines[2]
    assert lines[-1] == "takes an unknown time: there were no first releases from this machine"
    assert document["expected"] is None
    assert document["cost"]["per_million_invocations"]["shop-untimed-dev"] is None


def test_drift_is_named_with_what_putting_it_back_would_lose() -> None:
    lost = ResourceChange("Table", "AWS::DynamoDB::Table", "Modify", "True")
    drift = Drift((), {"shop": StackDrift("change set", (QUEUE,), (lost,)), "other": StackDrift("")})
    assert list(drift_lines(drift)) == [
        "changed outside of the stack: q: VisibilityTimeout is 5 instead of 60",
        "putting Table back replaces or deletes it with its data; `up --revert-drift` asks first",
        "other: CloudFormation did not compare its resources; only functions were compared",
    ]
    assert drift_document(drift)["compared"] == {"shop": "change set", "other": None}


def test_no_drift_is_said_only_if_it_was_asked_for() -> None:
    assert list(drift_lines(Drift())) == []
    assert list(drift_lines(Drift((), {"shop": StackDrift("change set")}))) == [
        "no change outside of the stacks was found"
    ]


def test_both_sides_of_a_function_are_one_entry() -> None:
    own = Drifted("F", "AWS::Lambda::Function", "f", (Difference("Timeout", "3", "5"),))
    theirs = Drifted(
        "F", "AWS::Lambda::Function", "f", (Difference("Timeout", "3", "5"), Difference("Tags.0", "a", "b"))
    )
    (merged,) = Drift((own,), {"shop": StackDrift("detection", (theirs,))}).all
    assert [each.path for each in merged.differences] == ["Timeout", "Tags.0"]


def test_a_plan_counts_what_a_release_puts_back_anyway() -> None:
    image = Drifted("F", "AWS::Lambda::Function", "f", (Difference("Code.ImageUri", "a", "b"),))
    memory = Drifted("F", "AWS::Lambda::Function", "f", (Difference("MemorySize", "1", "2"),))
    assert Drift((image,)).changes
    assert not Drift((memory,)).changes
    assert Drift((memory,), {"shop": StackDrift("")}).changes
