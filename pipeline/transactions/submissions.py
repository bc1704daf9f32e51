"""Submit a file of transactions concurrently and resumably.

Each finished line is appended to a results file at once. A run that is killed resumes from there: lines that were in
flight are submitted again and get the same answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import SubmissionError
from pipeline.core.events import Report, Submitted, ignore
from pipeline.core.files import open_regular
from pipeline.transactions.results_file import Done, Origin, Results, default_results, open_results, require_other
from pipeline.transactions.submit import Parked, Unanswered, submit
from pipeline.transactions.transaction_lines import Line, read_lines

WORKERS = 16
# Consecutive submissions without an answer after which the run stops.
GIVE_UP_AFTER = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of submitting a file.

    lines       transactions in the file, including malformed lines
    before      how many of them an earlier run had finished
    counts      lines by outcome, and "parked", "unanswered" and "malformed"
    malformed   (line number, why), in order
    unanswered  (line number, why), in order; the next run retries them
    """

    lines: int
    before: int
    counts: dict[str, int]
    repeats: int
    malformed: tuple[tuple[int, str], ...]
    unanswered: tuple[tuple[int, str], ...]
    seconds: float
    results: Path

    @property
    def without_answer(self) -> int:
        """Lines that have no answer: parked, unanswered or malformed."""
        return sum(self.counts.get(each, 0) for each in ("malformed", "parked", "unanswered"))

    @property
    def per_second(self) -> float:
        return (self.lines - self.before) / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "done_before": self.before,
            "counts": dict(self.counts),
            "repeats": self.repeats,
            "malformed": [{"line": number, "why": why} for number, why in self.malformed],
            "unanswered": [{"line": number, "why": why} for number, why in self.unanswered],
            "seconds": round(self.seconds, 3),
            "per_second": round(self.per_second, 1),
            "results": str(self.results),
        }


def submit_file(
    sfn_client: Any,
    state_machine_arn: str,
    path: Path,
    *,
    results: Path | None = None,
    place: str = "",
    workers: int = WORKERS,
    decided: Callable[[str], bool] = lambda _: False,
    report: Report = ignore,
) -> Summary:
    """Submit every transaction of a file that an earlier run has not finished; malformed lines are only reported.

    place    which AWS the state machine is in (``Target.place``): a results file of another one is refused
    workers  concurrent submissions, and lines held in memory
    decided  whether a transaction has an answer by now: a line parked before, and redriven since, gets that answer

    Raises as ``submit_lines`` does.
    """
    return submit_lines(
        path,
        lambda line: _submit_line(sfn_client, state_machine_arn, line),
        Origin(place, state_machine_arn),
        results=results or default_results(path),
        workers=workers,
        decided=decided,
        report=report,
    )


def submit_lines(
    path: Path,
    submit_line: Callable[[Line], Done],
    origin: Origin,
    *,
    results: Path,
    workers: int = WORKERS,
    decided: Callable[[str], bool] = lambda _: False,
    report: Report = ignore,
) -> Summary:
    """Run ``submit_line`` for every line of a file that an earlier run has not finished; see ``submit_file``.

    Raises SubmissionError if the file or the results file cannot be used, or after GIVE_UP_AFTER consecutive
    submissions without an answer. The results file keeps everything finished by then.
    """
    require_other(path, results)
    total = _count(path)
    started = time.monotonic()
    with open_results(results, origin) as file:
        run = _FileRun(file, total, started, report)
        with ThreadPoolExecutor(workers) as pool:
            running: set[Future[Done]] = set()
            try:
                for line in read_lines(path):
                    before = file.find(line)
                    if before is not None and before.outcome == "parked" and decided(before.transaction_id or ""):
                        before = None
                    if before is not None:
                        run.count(before, earlier=True)
                    elif line.why:
                        run.finish(Done(line.number, line.digest, "malformed", why=line.why))
                    else:
                        running.add(pool.submit(submit_line, line))
                    if len(running) >= workers:
                        running = run.collect(running)
                while running:
                    running = run.collect(running)
            finally:
                # On an interruption too, let submissions in flight finish and keep their results.
                for future in running:
                    future.cancel()
                for future in running:
                    if not future.cancelled():
                        run.finish(future.result(), last=True)
    return run.summary(results)


class _FileRun:
    """Counts and records the results of one run."""

    def __init__(self, file: Results, total: int, started: float, report: Report) -> None:
        self._file, self._total, self._started, self._report = file, total, started, report
        self._counts: Counter[str] = Counter()
        self._lines = self._before = self._repeats = self._silence = 0
        self._malformed: list[tuple[int, str]] = []
        self._unanswered: list[tuple[int, str]] = []

    def collect(self, running: set[Future[Done]]) -> set[Future[Done]]:
        """Wait until at least one submission has ended, record it, and return those still running."""
        ended, rest = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(ended, key=lambda each: each.result().number):
            running.discard(future)
            self.finish(future.result())
        return rest

    def finish(self, done: Done, *, last: bool = False) -> None:
        self._file.add(done)
        self.count(done)
        self._silence = self._silence + 1 if done.outcome == "unanswered" else 0
        if self._silence >= GIVE_UP_AFTER and not last:
            raise SubmissionError(
                "the file was not completely submitted",
                f"the last {GIVE_UP_AFTER} submissions got no answer: {done.why}",
                "Fix the cause and run it again: finished lines are skipped.",
            )

    def count(self, done: Done, *, earlier: bool = False) -> None:
        self._lines += 1
        self._before += earlier
        self._counts[done.outcome] += 1
        self._repeats += done.repeat
        if done.outcome == "malformed":
            self._malformed.append((done.number, done.why))
        elif done.outcome == "unanswered":
            self._unanswered.append((done.number, done.why))
        seconds = time.monotonic() - self._started
        self._report(Submitted("submit", self._lines, self._total, seconds, dict(self._counts)))

    def summary(self, results: Path) -> Summary:
        return Summary(
            lines=self._lines,
            before=self._before,
            counts=dict(sorted(self._counts.items())),
            repeats=self._repeats,
            malformed=tuple(sorted(self._malformed)),
            unanswered=tuple(sorted(self._unanswered)),
            seconds=time.monotonic() - self._started,
            results=results,
        )


def _count(path: Path) -> int:
    """An upper bound of the number of transactions, for progress only."""
    try:
        with open_regular(path) as file:
            count, last = 0, b"\n"
            for block in iter(lambda: file.read(1 << 20), b""):
                count, last = count + block.count(b"\n"), block[-1:]
            return count + (last != b"\n")
    except (OSError, ValueError):
        return 0


def _submit_line(sfn_client: Any, state_machine_arn: str, line: Line) -> Done:
    try:
        answer = submit(sfn_client, state_machine_arn, line.text)
    except Parked as error:
        return Done(line.number, line.digest, "parked", why=error.why, transaction_id=error.transaction_id)
    except Unanswered as error:
        return Done(line.number, line.digest, "unanswered", why=error.why)
    return Done(
        line.number, line.digest, answer.outcome, answer.repeat,
        transaction_id=answer.transaction_id, document=answer.to_json(),
    )  # fmt: skip
