"""What a plan says of money, load and time, as text and JSON; and the durations of releases that it is based on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.context import Context
from commands.deploying import lock_of
from commands.progress import seconds_text
from pipeline.core.errors import StorageError
from pipeline.forecast.release_times import Expectation, Past, Work, expect, phases_of, record_past

if TYPE_CHECKING:
    from pipeline.forecast.carried_load import Load
    from pipeline.forecast.money import Bill, CostChange
    from pipeline.release.planning import ReleasePlan
    from pipeline.release.release import Released

_RELEASES = {
    Work.NOTHING: "releases without a change",
    Work.IMAGES: "releases of images",
    Work.UPDATE: "releases that changed a stack",
    Work.CREATE: "first releases",
}


def past_of(context: Context) -> Path:
    """The file with the durations of the environment's releases on this machine."""
    lock = lock_of(context)
    return lock.parent.parent / "durations" / context.names.pipeline_stack / f"{lock.name}.json"


def remember(context: Context, released: Released, seconds: float) -> None:
    """Record how long a release took. Without space for it the next plan knows less, and nothing else is wrong."""
    with suppress(StorageError):
        record_past(past_of(context), Past(released.work, phases_of(released.seconds, seconds)))


def forecast(planned: ReleasePlan, past: Sequence[Past]) -> tuple[dict[str, Any], list[str]]:
    """The cost, load and duration of a plan as a part of its JSON, and as lines."""
    expected = expect(past, planned.work)
    document: dict[str, Any] = {"expected": None if expected is None else expected.to_json()}
    lines: list[str] = []
    if planned.cost is not None:
        document["cost"] = planned.cost.to_json()
        lines += _cost_lines(planned.cost)
    if planned.load is not None:
        document["load"] = planned.load.to_json()
        lines.append(_load_line(planned.load))
    return document, [*lines, _time_line(expected, planned.work)]


def _cost_lines(cost: CostChange) -> Iterator[str]:
    before: Bill = cost.before or cost.after
    per_month = _moved(before.per_month, cost.after.per_month)
    if cost.after.per_million is not None:
        per_million = _moved(before.per_million, cost.after.per_million)
        yield f"about {per_month} USD a month, and {per_million} USD for a million transactions"
        return
    yield f"about {per_month} USD a month, without what invocations cost"
    for name, usd in cost.after.functions.items():
        was = cost.before.functions.get(name) if cost.before is not None else usd
        if usd is None:
            yield f"  {name:<40} unknown: set milliseconds in its function.toml"
        else:
            yield f"  {name:<40} {_moved(was, usd)} USD for a million invocations"


def _moved(before: float | None, after: float) -> str:
    """
    >>> _moved(1.0, 1.001), _moved(1.0, 2.0), _moved(None, 2.0)
    ('1.00', '1.00 → 2.00', '2.00')
    """
    old, new = None if before is None else f"{before:.2f}", f"{after:.2f}"
    return new if old in (None, new) else f"{old} → {new}"


def _load_line(load: Load) -> str:
    now = f"{load.per_minute:,}"
    if load.before is not None and load.before != load.per_minute:
        now = f"{load.before:,} → {now}"
    wanted = f"the settings need {load.wanted:,}, and {load.burst:g} times as many at the peak"
    return f"carries {now} transactions a minute ({load.narrowest.name}); {wanted}"


def _time_line(expected: Expectation | None, work: Work) -> str:
    if expected is None:
        return f"takes an unknown time: there were no {_RELEASES[work]} from this machine"
    phases = ", ".join(f"{name} {seconds_text(seconds)}" for name, seconds in expected.phases.items())
    of = f"median of {expected.of} {_RELEASES[work]}" if expected.of > 1 else f"as did one of the {_RELEASES[work]}"
    return f"takes about {seconds_text(expected.total)}{f': {phases}' if phases else ''} ({of})"
