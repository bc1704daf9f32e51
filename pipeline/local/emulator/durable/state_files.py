"""The files with the states of the services: FOLDER/SERVICE.json, as ministack reads them, all replaced together.

FOLDER/next/       the new files, until all are complete
FOLDER/commit/     complete: each is moved to FOLDER, by the next start if this process is killed
FOLDER/blobs/      the layers of the registry, by digest, each written once
FOLDER/unsaved     what changed since: a time and a service per line, written before the change is acknowledged
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

NEXT, COMMIT, BLOBS, UNSAVED = "next", "commit", "blobs", "unsaved"


def replace_together(folder: Path, documents: Mapping[str, str]) -> None:
    """Replace FOLDER/NAME.json for each document; a kill leaves either all old or all new. Raises OSError."""
    following = folder / NEXT
    shutil.rmtree(following, ignore_errors=True)
    following.mkdir(mode=0o700)
    for name, text in documents.items():
        (following / f"{name}.json").write_text(text)
    following.rename(folder / COMMIT)
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Complete a replacement that was interrupted, or drop one that had not become complete."""
    shutil.rmtree(folder / NEXT, ignore_errors=True)
    complete = folder / COMMIT
    if complete.is_dir():
        for file in complete.iterdir():
            file.replace(folder / file.name)
        complete.rmdir()


def keep_blob(folder: Path, digest: str, content: bytes) -> None:
    """Write a layer unless it is there. Raises OSError."""
    place = folder / BLOBS
    place.mkdir(mode=0o700, exist_ok=True)
    path = _blob(place, digest)
    if not path.exists():
        temporary = place / f"writing-{path.name}"
        temporary.write_bytes(content)
        temporary.replace(path)


def read_blob(folder: Path, digest: str) -> bytes | None:
    """A layer, or None if it is missing or damaged."""
    try:
        content = _blob(folder / BLOBS, digest).read_bytes()
    except OSError:
        return None
    return content if digest == f"sha256:{hashlib.sha256(content).hexdigest()}" else None


def forget_blobs(folder: Path, keep: Iterable[str]) -> None:
    """Remove all layers but those with these digests, and what a killed process left."""
    place = folder / BLOBS
    kept = {_blob(place, digest) for digest in keep}
    if place.is_dir():
        for path in place.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)


def _blob(place: Path, digest: str) -> Path:
    return place / hashlib.sha256(digest.encode()).hexdigest()


class Unsaved:
    """What was changed and is not saved yet: each service, with the time of its first such change in UTC."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / UNSAVED
        self._lock = threading.Lock()
        self._since: dict[str, str] = {}
        self._being_saved: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """What a killed process had not saved."""
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return {}
        return {service: time for time, _, service in (line.partition(" ") for line in lines) if service}

    def note(self, service: str) -> None:
        """Raises OSError."""
        with self._lock:
            if service not in self._since:
                self._since[service] = f"{datetime.now(UTC):%H:%M:%S}"
                self._write()

    def begin_saving(self) -> None:
        """What is noted now is about to be saved; what is noted later may not be."""
        with self._lock:
            self._being_saved, self._since = {**self._since, **self._being_saved}, {}

    def saved(self) -> None:
        """What was being saved is saved. Raises OSError."""
        with self._lock:
            self._being_saved = {}
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_name(f"{UNSAVED}.writing")
        lines = {**self._since, **self._being_saved}.items()
        temporary.write_text("".join(f"{time} {service}\n" for service, time in lines))
        temporary.replace(self._path)
