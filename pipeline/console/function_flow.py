"""The invocations of a function in the last minutes, from the platform's REPORT lines in its log.

The format of a line is documented in the Lambda developer guide, "Log and monitor".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.ledger.releases import Release
from pipeline.operations.logs import Sample

_REPORT = re.compile(
    r"^REPORT RequestId: \S+\s+Duration: (?P<duration>[\d.]+) ms.*?Max Memory Used: (?P<memory>\d+) MB"
    r"(?:\s+Init Duration: (?P<init>[\d.]+) ms)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; None without a measurement."""

    p50: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Latency:
        """
        >>> Latency.of([3.0, 1.0, 2.0])
        Latency(p50=2.0, p99=3.0)
        """
        ordered = sorted(values)
        if not ordered:
            return cls()
        return cls(*(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)))


@dataclass(frozen=True, slots=True)
class FunctionFlow:
    """A function, and its invocations in the sampled time.

    release      the newest release that has its image, if any
    memory       MB that it has; memory_used: the most that an invocation used
    init         ms of its last cold start in the sampled time
    per_minute   invocations
    errors       log lines of level ERROR
    """

    name: str
    state: str
    digest: str
    release: int | None
    memory: int
    memory_used: int | None
    init: float | None
    per_minute: float
    latency: Latency
    errors: int


@dataclass(frozen=True, slots=True)
class Reports:
    """What REPORT lines say."""

    durations: tuple[float, ...] = ()
    memory_used: int | None = None
    init: float | None = None

    @classmethod
    def of(cls, sample: Sample) -> Reports:
        found = [match for event in sample.events if (match := _REPORT.match(event.message))]
        inits = [float(match["init"]) for match in found if match["init"]]
        return cls(
            tuple(float(match["duration"]) for match in found),
            max((int(match["memory"]) for match in found), default=None),
            inits[-1] if inits else None,
        )


def release_of(releases: Sequence[Release], function: str, digest: str) -> int | None:
    """The newest release in which the function has that image."""
    numbers = [each.number for each in releases if str(each.images.get(function, "")) == digest]
    return max(numbers, default=None)
