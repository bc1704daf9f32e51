"""Advisory file locks for an environment on this machine; ``pipeline.ledger.environment_lock`` is between machines.

``exclusively`` allows one change at a time. ``present`` marks a process that keeps using an environment, such as
``watch``, by a file FILE.watch-PID, through which ``call_off`` announces that the environment is being deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.core import interruption
from pipeline.core.events import Note, Report, ignore

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


@contextlib.contextmanager
def exclusively(file: Path, what: str, report: Report = ignore) -> Iterator[None]:
    """Hold the lock ``file`` for the block, waiting for other holders. The kernel releases it with the process.

    what  a description for waiting processes: "up dev"
    """
    with _opened(file) as lock:
        pause, reported = _FIRST_PAUSE, False
        while lock is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not reported:
                    holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
                    report(Note(f"{holder} is at work on the same environment; waiting until it is done"))
                    reported = True
                interruption.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        if lock is not None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{what} (process {os.getpid()})".encode(), 0)
        yield


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int | None]:
    """Opens the lock file; None if it cannot be created (not fatal)."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield None
        return
    try:
        yield lock
    finally:
        os.close(lock)


class Presence:
    """This process's marker file. mark: None if it could not be created (not fatal)."""

    def __init__(self, mark: Path | None) -> None:
        self._mark = mark

    @property
    def called_off_by(self) -> str:
        """The command and process that called it off; "" if none has."""
        if self._mark is None:
            return ""
        try:
            return self._mark.read_text(errors="replace")
        except OSError:
            return ""


@contextlib.contextmanager
def present(file: Path) -> Iterator[Presence]:
    """Mark this process as present for the block. file: the environment's lock."""
    mark = file.with_name(f"{file.name}.watch-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError:
        yield Presence(None)
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield Presence(mark)
    finally:
        mark.unlink(missing_ok=True)
        os.close(held)


def call_off(file: Path, by: str) -> tuple[int, ...]:
    """Announce the deletion of the environment to all present processes; returns their ids. by: the command."""
    found = []
    for mark in sorted(file.parent.glob(f"{glob.escape(file.name)}.watch-*")):
        with contextlib.suppress(OSError):
            if _is_held(mark):
                mark.write_text(f"`{by}` (process {os.getpid()})")
                found.append(int(mark.name.rpartition("-")[2]))
            else:
                mark.unlink()  # its process was killed
    return tuple(found)


def _is_held(mark: Path) -> bool:
    with mark.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
