"""The events of a command as values. Stages report them; only ``bootstrap.py`` decides how they look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.core import interruption


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A named step began. ``subject`` is the function or stack that it works on, or ""."""

    step: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A named step succeeded after ``seconds``; ``detail`` is one short phrase for people."""

    step: str
    subject: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A named step ended in an exception after ``seconds``; the exception says why."""

    step: str
    subject: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """``step`` ("push", "fetch") has moved ``done`` of ``total`` bytes of ``subject``; total is 0 when unknown."""

    step: str
    subject: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ResourceChanged:
    """A resource of a stack reached ``status``, with CloudFormation's own reason or ""."""

    stack: str
    logical_id: str
    resource_type: str
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Progress of a file of submissions or a redrive: ``done`` of ``total`` (0 when unknown) after ``seconds``.

    outcomes  counts by outcome: an answer's outcome, "parked", "unanswered" or "malformed"
    """

    step: str
    done: int
    total: int
    seconds: float
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Note:
    """A line for people, such as a fallback that was taken."""

    text: str


Event = StepStarted | StepFinished | StepFailed | BytesMoved | ResourceChanged | Submitted | Note
Report = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A report that discards every event."""


class Clock:
    """A report that passes events on and keeps how long each step took: seconds by step and subject.

    After Ctrl-C it raises KeyboardInterrupt, so that threads which report end too (see ``interruption``).
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        interruption.check()
        if isinstance(event, StepFinished):
            self.seconds[f"{event.step} {event.subject}".strip()] = round(event.seconds, 3)
        self._report(event)


class Step:
    """The running step; its ``detail`` may be set before it ends."""

    def __init__(self) -> None:
        self.detail = ""


@contextmanager
def step(report: Report, name: str, subject: str = "") -> Iterator[Step]:
    """Report the start of a step, and how it ended."""
    report(StepStarted(name, subject))
    running, started = Step(), time.monotonic()
    try:
        yield running
    except BaseException:
        report(StepFailed(name, subject, time.monotonic() - started))
        raise
    report(StepFinished(name, subject, time.monotonic() - started, running.detail))
