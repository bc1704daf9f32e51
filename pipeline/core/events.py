"""What happens during a release, told as values. Stages report; only ``bootstrap.py`` decides how it looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A named step began. ``subject`` is the function or stack that it works on, or ""."""

    step: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A named step ended well after ``seconds``; ``detail`` is one short phrase for people."""

    step: str
    subject: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A named step ended in an exception after ``seconds``; the exception itself tells why."""

    step: str
    subject: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """``done`` of ``total`` bytes of ``subject`` went through ``step`` ("push", "fetch"); total 0 when unknown."""

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
    """How far a file of submissions, or a redrive, is: ``done`` of ``total`` (0 when unknown) after ``seconds``.

    outcomes  how often each came: an answer's outcome, "parked", "unanswered" or "malformed"
    """

    step: str
    done: int
    total: int
    seconds: float
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Note:
    """A line that people should read, such as a fallback that was taken."""

    text: str


Event = StepStarted | StepFinished | StepFailed | BytesMoved | ResourceChanged | Submitted | Note
Report = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A report that goes nowhere."""


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
