"""The results file of a submitted file: one JSON document per finished line, appended as soon as it is known.

The first line names the AWS and the state machine that the results are of, since only these have the transactions.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.documents import parse_json
from pipeline.core.errors import SubmissionError
from pipeline.transactions.transaction_lines import Line

# How every entry begins, and more bytes than one has.
_BEGINNING = b'{"line": '
_ENTRY_MAX = 1 << 20


def default_results(path: Path) -> Path:
    """The results file next to the input: ``transactions.csv`` → ``transactions.csv.results.jsonl``."""
    return path.with_name(f"{path.name}.results.jsonl")


def require_other(path: Path, results: Path) -> None:
    """Raises SubmissionError if the results file is the input itself, which an empty one could become."""
    with contextlib.suppress(OSError):  # the results file need not exist yet
        if results.samefile(path):
            raise SubmissionError(
                "the file was not submitted", f"{results} is the file itself", "Use another --results file."
            )


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
        """Whether the next run skips the line. A parked line is left to ``redrive``."""
        return self.outcome != "unanswered"

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "line": self.number, "digest": self.digest, "transaction_id": self.transaction_id, "outcome": self.outcome,
            "repeat": self.repeat,
        }  # fmt: skip
        if self.why:
            document["why"] = self.why
        return document | ({"answer": self.document} if self.document else {})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where lines were submitted.

    place          an account and a region, or the identity of an embedded AWS
    state_machine  its ARN, or the URL of the queue in front of it
    """

    place: str
    state_machine: str

    def to_json(self) -> dict[str, Any]:
        return {"line": 0, "aws": self.place, "state_machine": self.state_machine}


class OtherOrigin(Exception):
    """A results file of another AWS or state machine."""


def _parse_origin(line: bytes) -> Origin | None:
    """The first line of a results file; None for an entry. Raises ValueError for anything else."""
    entry = parse_json(line)
    if not isinstance(entry, dict) or entry.get("line") != 0:
        return None
    return Origin(str(entry["aws"]), str(entry["state_machine"]))


def _parse(line: bytes) -> Done:
    """An entry of a results file. Raises ValueError, KeyError or TypeError for any other line."""
    entry = parse_json(line)
    number, digest, outcome, repeat = entry["line"], entry["digest"], entry["outcome"], entry["repeat"]
    if not (type(number) is int and isinstance(digest, str) and isinstance(outcome, str) and type(repeat) is bool):
        raise TypeError("it is not an entry")
    return Done(number, digest, outcome, repeat, str(entry.get("why", "")), entry.get("transaction_id"))


class Results:
    """An open, locked results file; see ``open_results``."""

    def __init__(self, file: BinaryIO, origin: Origin) -> None:
        self._file = file
        self.done: dict[int, Done] = {}
        complete = 0
        found: Origin | None = None
        while line := file.readline(_ENTRY_MAX):
            if not line.endswith(b"\n"):
                # Cut off when a previous run was killed, or the end of another file.
                if not line.startswith(_BEGINNING) and not (self.done and _BEGINNING.startswith(line)):
                    raise ValueError("it does not end in an entry")
                if len(line) >= _ENTRY_MAX:
                    raise ValueError("a line of it is too long for an entry")
                break
            if complete == 0 and (found := _parse_origin(line)) is not None:
                complete += len(line)
                continue
            complete += len(line)
            done = _parse(line)
            self.done[done.number] = done
        if found is not None and found != origin:
            other = found.place if found.place != origin.place else found.state_machine
            raise OtherOrigin(f"{other}, and this is {origin.place if other == found.place else origin.state_machine}")
        file.truncate(complete)
        file.seek(complete)
        if complete == 0:
            self._write(origin.to_json())

    def find(self, line: Line) -> Done | None:
        """The result of an earlier run; None if the line is new, has changed, or must be retried."""
        done = self.done.get(line.number)
        return done if done is not None and done.digest == line.digest and done.final else None

    def add(self, done: Done) -> None:
        self._write(done.to_json())

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._file.flush()


@contextmanager
def open_results(path: Path, origin: Origin) -> Iterator[Results]:
    """Open and lock the results file of an origin.

    Raises SubmissionError if it is locked, cannot be written, or is another file, which is left as it is.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644), "r+b") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SubmissionError(
                    "the file was not submitted", f"{path} is not a regular file", "Use another --results file."
                )
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SubmissionError(
                    "the file was not submitted", f"another process is writing {path}",
                    "Wait for it to finish, or use another --results file.",
                ) from error  # fmt: skip
            try:
                results = Results(file, origin)
            except OtherOrigin as error:
                raise SubmissionError(
                    "the file was not submitted", f"{path} has the results of {error}, which does not have them",
                    "Use another --results file, or remove this one to submit every line again.",
                ) from error  # fmt: skip
            except (ValueError, KeyError, TypeError) as error:
                raise SubmissionError(
                    "the file was not submitted", f"{path} is not a results file",
                    "Use another --results file, or remove this one to start over.",
                ) from error  # fmt: skip
            yield results
    except OSError as error:
        raise SubmissionError(
            "the file was not completely submitted", f"the results file cannot be written: {error}",
            "Free disk space or use another --results file, then run it again: finished lines are skipped.",
        ) from error  # fmt: skip
