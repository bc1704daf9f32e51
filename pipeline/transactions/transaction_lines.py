"""The transactions of a ``.jsonl`` or ``.csv`` file, one line at a time."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import SubmissionError
from pipeline.core.files import open_regular
from pipeline.core.shown import shorten
from pipeline.transactions.submit import parse_transaction

# Far above what Step Functions accepts, far below what fits into memory.
LINE_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file.

    number  counts from 1
    text    JSON; "" for a malformed line
    why     what is wrong with a malformed line; "" for a good one
    """

    number: int
    text: str
    why: str = ""

    @property
    def digest(self) -> str:
        """Identifies the content, so that an edited line is submitted again."""
        return hashlib.sha256(f"{self.text}\0{self.why}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the transactions of a ``.jsonl``, ``.ndjson`` or ``.csv`` file; blank lines are skipped.

    In a CSV file the first row names the fields, an empty cell is a missing field, and every value is text. Raises
    SubmissionError if the file cannot be read, or if the first row of a CSV file is missing or repeats a field.
    """
    read = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".csv": _read_csv}.get(path.suffix.lower())
    if read is None:
        raise SubmissionError(
            f"{path} was not submitted", f"unknown file format {path.suffix!r}",
            "Use a .jsonl file (one JSON object per line) or a .csv file (the first row holds the field names).",
        )  # fmt: skip
    try:
        with open_regular(path) as file:
            yield from read(path, file)
    except OSError as error:
        raise SubmissionError(f"{path} was not submitted", str(error), "Check the path and its permissions.") from error


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
    """Yield numbered lines, each truncated to LINE_MAX_BYTES + 1 bytes; the rest of a longer line is skipped."""
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
    fields: list[str] | None = None
    for number, row, why in _rows(_RowText(file)):
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
            f"{path} was not submitted", "its first row names no fields", "Add a first row with the field names."
        )


class _RowText:
    """The lines of a CSV file as text. A row of more than LINE_MAX_BYTES ends in csv.Error, and the next one begins.

    A quoted cell can contain line ends, so a row can have any number of lines.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _raw_lines(file)
        self.number = self.row_bytes = 0

    def __iter__(self) -> _RowText:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        self.row_bytes += len(line)
        if self.row_bytes > LINE_MAX_BYTES:
            raise csv.Error(f"a row is longer than {LINE_MAX_BYTES:,} bytes")
        # Bytes that are not UTF-8 become lone surrogates, so one bad row does not abort the file.
        return line.decode(errors="surrogateescape")


def _rows(text: _RowText) -> Iterator[tuple[int, list[str], str]]:
    """Yield (number of the first line, cells, error or "") for each row that is not blank."""
    rows = csv.reader(text, strict=True)
    while True:
        number, text.row_bytes = text.number + 1, 0
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
    twice = sorted(name for name, count in Counter(fields).items() if count > 1)
    if twice or "transaction_id" not in fields:
        raise SubmissionError(
            f"{path} was not submitted",
            f"its first row names {shorten(twice[0])} twice" if twice else "its first row does not name transaction_id",
            "Name each field of a transaction once in the first row.",
        )
    return fields
