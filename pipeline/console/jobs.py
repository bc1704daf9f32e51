"""Changes that the console runs, one at a time, each with its progress."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pipeline.core import interruption
from pipeline.core.errors import NextStep, PipelineError, SubmissionError
from pipeline.core.events import (
    BytesMoved,
    Event,
    Note,
    Report,
    ResourceChanged,
    StepFailed,
    StepFinished,
    StepStarted,
    Submitted,
)

# Changes that are remembered, and lines of each.
KEPT, LINES = 20, 200


class Result(Protocol):
    """The outcome of a command (``commands.context.Outcome``)."""

    @property
    def text(self) -> str: ...

    @property
    def exit_code(self) -> int: ...


Run = Callable[[Report], Result]


@dataclass
class Job:
    """One change. Written by its thread only; ``ended`` last, so who reads it then sees the rest.

    command  the command line that does the same
    counts   (done, total or 0, outcomes) of transactions, if it submits any
    """

    number: int
    title: str
    command: str
    started: datetime
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    counts: Submitted | None = None
    text: str = ""
    error: PipelineError | None = None
    failed: bool = False
    ended: datetime | None = None

    @property
    def state(self) -> str:
        if self.ended is None:
            return "running"
        return "failed" if self.failed else "done"

    def note(self, event: Event) -> None:
        """Keep what a person wants to see of an event. Raises KeyboardInterrupt if the console is to end."""
        interruption.check()
        if isinstance(event, Submitted):
            self.counts = event
        elif (line := line_of(event)) is not None:
            self.lines.append(line)


def line_of(event: Event) -> str | None:
    """An event as a line; None for progress in bytes and the start of a step."""
    match event:
        case StepFinished(step, subject, seconds, detail):
            return " ".join(each for each in (step, subject, detail, f"({seconds:.1f} s)") if each)
        case StepFailed(step, subject, seconds):
            return " ".join(each for each in (step, subject, f"failed after {seconds:.1f} s") if each)
        case ResourceChanged(stack, logical_id, _, status, reason):
            return " ".join(each for each in (stack, logical_id, status, reason) if each)
        case Note(text):
            return text
        case StepStarted() | BytesMoved() | Submitted():
            return None


class Jobs:
    """The changes of this console. Safe to use from several threads."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, title: str, command: str, run: Run) -> Job:
        """Run a change in a thread. Raises SubmissionError while another one runs."""
        with self._lock:
            if (busy := self._running()) is not None:
                raise SubmissionError(
                    f"{title} was not started", f"change {busy.number}, {busy.title}, is running",
                    NextStep("Wait until it has ended, then start this one again."),
                )  # fmt: skip
            number = next(reversed(self._jobs), 0) + 1
            job = self._jobs[number] = Job(number, title, command, datetime.now(UTC))
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
            thread = threading.Thread(target=_work, args=(job, run), name=f"change {number}", daemon=True)
            self._threads = [*(each for each in self._threads if each.is_alive()), thread]
            thread.start()
        return job

    def find(self, number: int) -> Job | None:
        with self._lock:
            return self._jobs.get(number)

    @property
    def running(self) -> Job | None:
        with self._lock:
            return self._running()

    def end(self) -> None:
        """Ask a running change to end, and wait for that as long as Ctrl-C waits for a command."""
        if self.running is None:
            return
        interruption.interrupt()
        for thread in self._threads:
            thread.join(interruption.PATIENCE)

    def _running(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.ended is None), None)


def _work(job: Job, run: Run) -> None:
    try:
        result = run(job.note)
        job.text, job.failed = result.text, result.exit_code != 0
    except PipelineError as error:
        job.error, job.failed = error, True
    except KeyboardInterrupt:
        job.text, job.failed = "stopped with the console; every step is safe to repeat", True
    except BaseException as error:
        job.text, job.failed = f"a defect of this program: {type(error).__name__}: {error}", True
        raise
    finally:
        job.ended = datetime.now(UTC)
