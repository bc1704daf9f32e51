"""An append-only journal in numbered segments: FOLDER/NAME.1.journal, FOLDER/NAME.2.journal, …

A segment is lines of JSON: a header with format and identity, then one line per write, each a list of entries that
belong together. A line is complete once ``write`` returns, and survives the kill of the process, because it is in the
kernel's page cache. It is not flushed to disk: a loss of power costs what the kernel has not written back yet, by
default up to 30 seconds.

Entries state results ("the item is now …"), so replaying one twice, or over a newer snapshot, changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FORMAT = 1
Entry = Sequence[Any]


class Journal:
    """One journal. It writes only between ``begin`` and ``close``; before that, ``write`` does nothing.

    damaged  after ``replay``: the segments that were not read to their end, and why
    size     bytes of the segment that is being written
    lock     held while a change is made and written, so that both happen in the same order
    """

    def __init__(self, folder: Path, name: str, identity: str) -> None:
        self.damaged: list[str] = []
        self.size = 0
        self.lock = threading.RLock()
        self._folder, self._name, self._identity = folder, name, identity
        self._descriptor: int | None = None
        self._batches = threading.local()

    def begin(self) -> int:
        """Continue in a new segment, also because the end of the last one may be torn; returns its number."""
        with self.lock:
            number = max((found for found, _ in self._segments()), default=0) + 1
            path = self._folder / f"{self._name}.{number}.journal"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self.close()
            self._descriptor, self.size = descriptor, 0
            self._append(descriptor, {"format": FORMAT, "identity": self._identity})
            return number

    def close(self) -> None:
        with self.lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def write(self, *entries: Entry) -> None:
        """Append entries as one line. Raises OSError, with nothing of them written."""
        pending: list[Entry] | None = getattr(self._batches, "entries", None)
        if pending is not None:
            pending += entries
            return
        with self.lock:
            if entries and self._descriptor is not None:
                self._append(self._descriptor, entries)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes in the block becomes one line at its end, also if it raises."""
        if getattr(self._batches, "entries", None) is not None:
            yield
            return
        self._batches.entries = []
        try:
            yield
        finally:
            entries, self._batches.entries = self._batches.entries, None
            self.write(*entries)

    def replay(self, first: int) -> Iterator[Entry]:
        """The entries of all segments from ``first`` on. A segment ends at its first damaged line."""
        for number, path in self._segments():
            if number >= first:
                yield from self._read(path)

    def forget(self, before: int) -> None:
        """Delete the segments below ``before``."""
        for number, path in self._segments():
            if number < before:
                path.unlink(missing_ok=True)

    def _append(self, descriptor: int, line: Any) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, self.size)
            raise
        self.size += written

    def _segments(self) -> list[tuple[int, Path]]:
        pattern = re.compile(rf"{re.escape(self._name)}\.([0-9]{{1,9}})\.journal")
        found = [(match, path) for path in self._folder.glob("*.journal") if (match := pattern.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in found)

    def _read(self, path: Path) -> Iterator[Entry]:
        with path.open("rb") as file:
            header = _parse(file.readline())
            if header is None:
                return  # killed before the header was complete: nothing was acknowledged in it
            if header.get("identity") != self._identity if isinstance(header, dict) else True:
                self.damaged.append(f"{path.name} belongs to another embedded AWS")
                return
            for number, line in enumerate(file, 2):
                entries = _parse(line)
                if not isinstance(entries, list):
                    # The last line of a killed process may be torn; its change was never acknowledged.
                    if file.readline():
                        self.damaged.append(f"{path.name} is damaged at line {number}")
                    return
                yield from entries


def _parse(line: bytes) -> Any:
    """The value of a complete line, else None."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
