"""Changes run one at a time, and say how far they are and how they ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from pipeline.console.jobs import KEPT, Job, Jobs, Run
from pipeline.core import interruption
from pipeline.core.errors import SubmissionError
from pipeline.core.events import Note, Report, ResourceChanged, StepFailed, StepFinished, StepStarted, Submitted


@dataclass(frozen=True)
class Done:
    text: str = "done"
    exit_code: int = 0


def ended(job: Job) -> Job:
    until = time.monotonic() + 10
    while job.ended is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    return job


def test_a_change_is_followed() -> None:
    counts = Submitted("redrive", 1, 2, 0.1, {"answered": 1})

    def run(report: Report) -> Done:
        for event in (
            StepStarted("push"), StepFinished("push", "f", 1.0, "3 layers"), StepFailed("stack", "s", 2.0), counts,
            ResourceChanged("s", "Table", "T", "UPDATE_COMPLETE", "why"), Note("a note"),
        ):  # fmt: skip
            report(event)
        return Done()

    job = ended(Jobs().start("Try", "try --it", run))
    assert (job.state, job.text, job.counts) == ("done", "done", counts)
    assert list(job.lines) == [
        "push f 3 layers (1.0 s)", "stack s failed after 2.0 s", "s Table UPDATE_COMPLETE why", "a note",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("problem", [SubmissionError("a", "b", "c"), ValueError("defect"), None])
def test_a_change_that_fails_says_so(problem: Exception | None) -> None:
    def run(_report: Report) -> Done:
        if problem is not None:
            raise problem
        return Done("something stays parked", 1)

    job = ended(Jobs().start("Try", "", run))
    # The warning about its exception belongs to this test, and comes when the thread ends.
    for thread in threading.enumerate():
        if thread.name == f"change {job.number}":
            thread.join(10)
    assert job.state == "failed"
    if isinstance(problem, SubmissionError):
        assert job.error is problem
    else:
        assert ("defect" if problem else "stays parked") in job.text


def test_one_change_at_a_time() -> None:
    jobs, go = Jobs(), threading.Event()

    def waits(_report: Report) -> Done:
        go.wait(10)
        return Done()

    first = jobs.start("First", "", waits)
    assert jobs.running is first
    with pytest.raises(SubmissionError, match="change 1, First, is running"):
        jobs.start("Second", "", waits)
    go.set()
    ended(first)
    assert ended(jobs.start("Second", "", waits)).number == 2


def test_old_changes_are_forgotten() -> None:
    jobs = Jobs()
    run: Run = lambda _report: Done()  # noqa: E731
    for _ in range(KEPT + 2):
        ended(jobs.start("Try", "", run))
    assert [number for number in range(1, KEPT + 3) if jobs.find(number) is None] == [1, 2]


def test_the_end_of_the_console_ends_a_change() -> None:
    jobs, begun = Jobs(), threading.Event()

    def run(report: Report) -> Done:
        while True:
            report(Note("at work"))
            begun.set()
            interruption.sleep(0.005)

    job = jobs.start("Try", "", run)
    assert begun.wait(10)
    try:
        jobs.end()
        assert (job.state, "safe to repeat" in job.text) == ("failed", True)
    finally:
        interruption.forget()
