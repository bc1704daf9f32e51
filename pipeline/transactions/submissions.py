"""Submit a file of transactions: several at once, resumable, each line accounted for.

A results file names what is done, one JSON document per line, written as soon as it is known. Killed at any moment, the
program goes on where it was: what was under way is submitted again, and gets the answer it got before.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from pipeline.core.errors import SubmissionError
from pipeline.core.events import Report, Submitted, ignore
from pipeline.transactions.submit import Answer, Parked, Unanswered, parse_transaction, submit

WORKERS = 16
# One line may be far longer than what Step Functions takes, but not so long that it does not fit into memory.
LINE_MAX_BYTES = 8 * 1024 * 1024
# When so many in a row get no answer at all, there is nobody who answers.
GIVE_UP_AFTER = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file. number counts from 1; text is JSON, or "" for a malformed line, and ``why`` says how."""

    number: int
    text: str
    why: str = ""

    @property
    def digest(self) -> str:
        """Tells whether a line is still the one that was done."""
        return hashlib.sha256(f"{self.text}\0{self.why}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a file.

    lines       transactions in the file, malformed lines included
    before      of them done by an earlier run
    counts      all that are done, by outcome, and "parked", "unanswered" and "malformed"
    malformed   (line number, why), in order
    unanswered  (line number, why): the next run tries them again
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


def default_results(path: Path) -> Path:
    """The results file beside the file itself: ``transactions.csv`` → ``transactions.csv.results.jsonl``."""
    return path.with_name(f"{path.name}.results.jsonl")


def read_lines(path: Path) -> Iterator[Line]:
    """The transactions of a ``.jsonl`` or ``.csv`` file, one at a time; blank lines are none.

    In a CSV file the first row names the fields, an empty cell is a missing field, and every value is text. Raises
    SubmissionError when the file cannot be read at all, or when a CSV file names no fields or one twice.
    """
    read = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".csv": _read_csv}.get(path.suffix.lower())
    if read is None:
        raise SubmissionError(
            f"{path} was not submitted", f"{path.suffix or 'a name without ending'} tells no format",
            "Give a file that ends in .jsonl (one JSON object per line) or .csv (a first row with the fields' names).",
        )  # fmt: skip
    try:
        with path.open("rb") as file:
            yield from read(path, file)
    except OSError as error:
        raise SubmissionError(f"{path} was not submitted", str(error), "Give a file that can be read.") from error


def _read_jsonl(_path: Path, file: BinaryIO) -> Iterator[Line]:
    for number, line in _raw_lines(file):
        text, why = _decode(line)
        if why:
            yield Line(number, "", why)
        elif text.strip():
            try:
                parse_transaction(text)
            except SubmissionError as error:
                yield Line(number, "", error.why)
            else:
                yield Line(number, text.strip())


def _raw_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines by number, each at most a byte longer than LINE_MAX_BYTES; the rest of a longer one is skipped."""
    number = 0
    while line := file.readline(LINE_MAX_BYTES + 1):
        number += 1
        if len(line) > LINE_MAX_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_MAX_BYTES)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _decode(line: bytes) -> tuple[str, str]:
    if len(line) > LINE_MAX_BYTES:
        return "", f"it is longer than {LINE_MAX_BYTES:,} bytes"
    try:
        return line.decode(), ""
    except UnicodeDecodeError as error:
        return "", f"it is not UTF-8 at byte {error.start}"


def _read_csv(path: Path, file: BinaryIO) -> Iterator[Line]:
    # Bytes that are not UTF-8 become lone surrogates, so that one bad row does not end the file.
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        fields: list[str] | None = None
        for number, row, why in _rows(text):
            if why:
                yield Line(number, "", why)
            elif fields is None:
                fields = _check_fields(path, row)
            elif len(row) != len(fields):
                yield Line(number, "", f"it has {len(row)} cells and the first row names {len(fields)} fields")
            elif any("\udc80" <= character <= "\udcff" for cell in row for character in cell):
                yield Line(number, "", "it is not UTF-8")
            else:
                document = {name: cell for name, cell in zip(fields, row, strict=True) if cell != ""}
                yield Line(number, json.dumps(document, ensure_ascii=False))
    if fields is None:
        raise SubmissionError(
            f"{path} was not submitted", "its first row names no fields", "Name them, such as transaction_id."
        )


def _rows(text: TextIO) -> Iterator[tuple[int, list[str], str]]:
    """(number of its first line, cells, what is wrong with it) of each row that is not blank."""
    rows = csv.reader(text, strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield number, [], f"it is not CSV: {error}"
            continue
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield number, row, ""


def _check_fields(path: Path, row: list[str]) -> list[str]:
    fields = [name.strip() for name in row]
    twice = sorted({name for name in fields if fields.count(name) > 1})
    if twice or "transaction_id" not in fields:
        raise SubmissionError(
            f"{path} was not submitted",
            f"its first row names {twice[0]!r} twice" if twice else "its first row does not name transaction_id",
            "Let the first row name each field of a transaction once.",
        )
    return fields


@dataclass(frozen=True, slots=True)
class Done:
    """One line of the results file."""

    number: int
    digest: str
    outcome: str
    repeat: bool = False
    why: str = ""
    transaction_id: str | None = None
    document: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Whether the next run may leave it out. What was parked is redriven, not submitted again."""
        return self.outcome != "unanswered"

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "line": self.number, "digest": self.digest, "transaction_id": self.transaction_id, "outcome": self.outcome,
            "repeat": self.repeat,
        }  # fmt: skip
        if self.why:
            document["why"] = self.why
        return document | ({"answer": self.document} if self.document else {})


class Results:
    """The results file, held by one program at a time; see ``open_results``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.done: dict[int, Done] = {}
        complete = 0
        for line in file:
            if not line.endswith(b"\n"):
                break  # the last word of a program that was killed
            complete += len(line)
            told = json.loads(line)
            self.done[told["line"]] = Done(
                told["line"], told["digest"], told["outcome"], told["repeat"], told.get("why", ""),
                told.get("transaction_id"),
            )  # fmt: skip
        file.truncate(complete)
        file.seek(complete)

    def find(self, line: Line) -> Done | None:
        """What an earlier run did with the line, unless the line was another one then or needs another try."""
        done = self.done.get(line.number)
        return done if done is not None and done.digest == line.digest and done.final else None

    def add(self, done: Done) -> None:
        self._file.write(json.dumps(done.to_json(), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._file.flush()


@contextmanager
def open_results(path: Path) -> Iterator[Results]:
    """The results file, for this program alone. Raises SubmissionError when it cannot be, or is not such a file."""
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SubmissionError(
                    "the file was not submitted", f"another program is writing {path}",
                    "Wait until it has ended, or name another results file.",
                ) from error  # fmt: skip
            try:
                results = Results(file)
            except (ValueError, KeyError, TypeError) as error:
                raise SubmissionError(
                    "the file was not submitted", f"{path} is not a file of results",
                    "Name another results file, or remove this one to begin anew.",
                ) from error  # fmt: skip
            yield results
    except OSError as error:
        raise SubmissionError(
            "the file was not submitted to its end", f"the results cannot be written: {error}",
            "Make room or name another results file, and run it again: what is done is not done twice.",
        ) from error  # fmt: skip


def submit_file(
    sfn_client: Any,
    state_machine_arn: str,
    path: Path,
    *,
    results: Path | None = None,
    workers: int = WORKERS,
    report: Report = ignore,
) -> Summary:
    """Submit every transaction of a file that is not done yet; a malformed line is refused by its number alone.

    workers  submissions at once; as many lines are in memory

    Raises SubmissionError when the file or the results file cannot be used, and when nobody answers any more; what was
    done until then is in the results file.
    """
    results = results or default_results(path)
    total = _count(path)
    started = time.monotonic()
    with open_results(results) as file:
        run = _FileRun(file, total, started, report)
        with ThreadPoolExecutor(workers) as pool:
            running: set[Future[Done]] = set()
            try:
                for line in read_lines(path):
                    if (before := file.find(line)) is not None:
                        run.count(before, earlier=True)
                    elif line.why:
                        run.finish(Done(line.number, line.digest, "malformed", why=line.why))
                    else:
                        running.add(pool.submit(_submit_line, sfn_client, state_machine_arn, line))
                    if len(running) >= workers:
                        running = run.collect(running)
                while running:
                    running = run.collect(running)
            finally:
                # Also when interrupted: what is under way comes to its end, and its result is kept.
                for future in running:
                    future.cancel()
                for future in running:
                    if not future.cancelled():
                        run.finish(future.result(), last=True)
    return run.summary(results)


class _FileRun:
    """The counts of one run."""

    def __init__(self, file: Results, total: int, started: float, report: Report) -> None:
        self._file, self._total, self._started, self._report = file, total, started, report
        self._counts: Counter[str] = Counter()
        self._lines = self._before = self._repeats = self._silence = 0
        self._malformed: list[tuple[int, str]] = []
        self._unanswered: list[tuple[int, str]] = []

    def collect(self, running: set[Future[Done]]) -> set[Future[Done]]:
        """Wait for one submission at least; those that are still under way."""
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
                "the file was not submitted to its end",
                f"the last {GIVE_UP_AFTER} submissions got no answer: {done.why}",
                "Correct the cause and run it again: what is done is not done twice.",
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
    """How many lines there may be, for the progress alone."""
    try:
        with path.open("rb") as file:
            return sum(1 for _line in file)
    except OSError:
        return 0


def _submit_line(sfn_client: Any, state_machine_arn: str, line: Line) -> Done:
    try:
        answer: Answer = submit(sfn_client, state_machine_arn, line.text)
    except Parked as error:
        return Done(line.number, line.digest, "parked", why=error.why, transaction_id=error.transaction_id)
    except Unanswered as error:
        return Done(line.number, line.digest, "unanswered", why=error.why)
    return Done(
        line.number, line.digest, answer.outcome, answer.repeat,
        transaction_id=answer.transaction_id, document=answer.to_json(),
    )  # fmt: skip
