"""The items of a Distributed Map: read from an object, and grouped into the inputs of child executions. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The payload limit of a state, so also of a child execution's input (Step Functions quotas).
INPUT_MAX_BYTES = 262_144
_DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}


class ReaderFailed(Exception):
    """The cause of States.ItemReaderFailed."""


class TooLarge(Exception):
    """The cause of States.DataLimitExceeded."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one child execution, and how many items it holds."""

    input: Any
    items: int


def parse_items(body: bytes, config: Mapping[str, Any]) -> list[Any]:
    """The items of an object, by an evaluated ReaderConfig. Raises ReaderFailed.

    Causes that are recorded are worded as recorded; the others say what is wrong in words of their own.
    """
    most = config.get("MaxItems", 0)
    if most < 0:
        raise ReaderFailed("field MaxItems must be positive")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ReaderFailed(f"The object is not UTF-8 at byte {error.start}.") from None
    match config.get("InputType", "JSON"):
        case "JSONL":
            items = list(_lines(text))
        case "CSV":
            items = _rows(text, config)
        case _:
            items = _document(text, config.get("ItemsPointer", ""))
    return items[: int(most)] if most else items


def _lines(text: str) -> Iterator[Any]:
    # Not splitlines(): a JSON string may hold U+2028 and other characters that Python takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ReaderFailed(f"Line {number} of the object is not JSON: {error}") from None


def _rows(text: str, config: Mapping[str, Any]) -> list[Any]:
    try:
        delimiter = _DELIMITERS[config.get("CSVDelimiter", "COMMA")]
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise ReaderFailed(f"The object is not CSV: {error}") from None
    if config.get("CSVHeaderLocation") == "GIVEN":
        headers = list(config.get("CSVHeaders") or ())
    else:
        headers, rows = (rows[0], rows[1:]) if rows else ([], [])
    if len(set(headers)) < len(headers):
        raise ReaderFailed("CSV headers cannot contain duplicates.")
    # A missing field is an empty string, and a field without a header is dropped (recorded).
    return [
        {name: row[index] if index < len(row) else "" for index, name in enumerate(headers)} for row in rows
    ]  # fmt: skip


def _document(text: str, pointer: str) -> list[Any]:
    try:
        data = json.loads(text)
        for part in filter(None, pointer.split("/")):
            data = data[int(part)] if isinstance(data, list) else data[part]
    except (ValueError, LookupError, TypeError) as error:
        raise ReaderFailed(f"The object has no items: {error}") from None
    if not isinstance(data, list):
        raise ReaderFailed("Attempting to map over non-iterable node.")
    return data


def batches(
    items: Sequence[Any], *, most_items: int = 0, most_bytes: int = 0, batch_input: Any = None
) -> Iterator[Batch]:
    """Group items in order. Without a limit of either kind each item is an input of its own.

    most_items, most_bytes  per batch; 0 for no limit. Bytes count the whole input as compact JSON
    batch_input             what each input has besides its items; None for nothing

    Raises TooLarge for an input, or a single item, of more bytes than an execution takes.
    """
    if not most_items and not most_bytes:
        for item in items:
            _check_size(_size(item), INPUT_MAX_BYTES)
            yield Batch(item, 1)
        return
    frame = {} if batch_input is None else {"BatchInput": batch_input}
    limit = min(most_bytes or INPUT_MAX_BYTES, INPUT_MAX_BYTES)
    empty = _size({**frame, "Items": []})
    held: list[Any] = []
    size = empty
    for item in items:
        added = _size(item) + (1 if held else 0)
        if held and (size + added > limit or (most_items and len(held) >= most_items)):
            yield Batch({**frame, "Items": held}, len(held))
            held, size, added = [], empty, _size(item)
        _check_size(size + added, limit)
        held.append(item)
        size += added
    if held:
        yield Batch({**frame, "Items": held}, len(held))


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"The input of a child workflow execution has {size:,} bytes, and at most {limit:,} are allowed."
        )
