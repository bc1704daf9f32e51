"""How long releases took on this machine, and how long the next one may take.

A file per environment has the last releases of each kind of work. Durations of different work do not predict each
other: a release that creates the network takes minutes, one that switches an image seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, assert_never

import msgspec

from pipeline.core.files import read_regular, storing, write_atomically
from pipeline.stacks import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    NoChange,
    Refuse,
    ReplaceFailed,
    StackPlan,
    Update,
    Wait,
)

# Releases that are kept for each kind of work.
KEPT = 5
_SIZE_MAX = 1_000_000
# The phases of a release, in their order, by the first word of its steps; work on images is concurrent.
PHASES = {
    "stack": "stacks", "base": "images", "install": "images", "build": "images", "docker": "images", "fetch": "images",
    "push": "push", "verify": "verify", "sample": "sample", "smoke": "sample", "record": "record",
}  # fmt: skip


class Work(StrEnum):
    """What a release has to do, by its slowest part."""

    NOTHING = "nothing"
    IMAGES = "images"
    UPDATE = "update"
    CREATE = "create"


class Past(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release that succeeded: its seconds by phase, and "total"."""

    work: Work
    seconds: dict[str, float]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    past: list[Past]


@dataclass(frozen=True, slots=True)
class Expectation:
    """The medians of ``of`` releases of the same kind, in seconds."""

    total: float
    phases: Mapping[str, float]
    of: int
    work: Work

    def to_json(self) -> dict[str, Any]:
        return {"seconds": self.total, "phases": dict(self.phases), "of": self.of, "work": str(self.work)}


def work_of(pipeline: StackPlan, *, registry: bool, images: Iterable[str]) -> Work:
    """The work of a release, from the plan of its pipeline stack.

    registry  whether the registry stack changes, too
    images    the names of the parameters for images
    """
    match pipeline:
        case NoChange():
            return Work.UPDATE if registry else Work.NOTHING
        case Update():
            switched = frozenset(images).issuperset(pipeline.parameters) and not registry
            return Work.IMAGES if switched and not (pipeline.template_changed or pipeline.tags_changed) else Work.UPDATE
        case Create() | Adopt() | CleanUpReview() | ReplaceFailed():
            return Work.CREATE
        case Wait() | ContinueRollback() | Refuse():
            return Work.UPDATE
    assert_never(pipeline)


def phases_of(seconds: Mapping[str, float], total: float) -> dict[str, float]:
    """Seconds by phase, from those by step: the stacks add up, other steps of a phase run at once.

    >>> phases_of({"stack a": 2.0, "stack b": 3.0, "build f": 1.0, "build g": 4.0}, 9.0)
    {'stacks': 5.0, 'images': 4.0, 'total': 9.0}
    """
    found: dict[str, float] = {}
    for step, took in seconds.items():
        if (phase := PHASES.get(step.split(" ")[0])) is not None:
            before = found.get(phase, 0.0)
            found[phase] = before + took if phase == "stacks" else max(before, took)
    return {**{name: round(found[name], 3) for name in dict.fromkeys(PHASES.values()) if name in found},
            "total": round(total, 3)}  # fmt: skip


def read_past(path: Path) -> tuple[Past, ...]:
    """The recorded releases, oldest first; () for a missing or unreadable file, which the next release replaces."""
    try:
        found = msgspec.json.decode(read_regular(path, _SIZE_MAX), type=_File)
    except (OSError, msgspec.DecodeError):
        return ()
    return tuple(found.past) if found.version == 1 else ()


def record_past(path: Path, release: Past) -> None:
    """Add a release; the oldest of its kind goes. Raises StorageError."""
    past = [*read_past(path), release]
    kept = [each for work in Work for each in [one for one in past if one.work is work][-KEPT:]]
    with storing(path):
        write_atomically(path, msgspec.json.encode(_File(1, kept)))


def expect(past: Sequence[Past], work: Work) -> Expectation | None:
    """What a release of that kind may take; None if none is recorded."""
    same = [each.seconds for each in past if each.work is work and "total" in each.seconds]
    if not same:
        return None
    # A phase counts as skipped where most releases skipped it.
    phases = {
        name: value
        for name in dict.fromkeys(PHASES.values())
        if (value := round(median(each.get(name, 0.0) for each in same), 1)) > 0
    }
    return Expectation(round(median(each["total"] for each in same), 1), phases, len(same), work)
