"""Advisory locks on files: one release of an environment at a time on this machine, and who else is at work on it.

``exclusively`` waits for other holders; between machines CloudFormation decides. ``present`` marks a process such as
``watch`` that goes on with an environment, in FILE.watch-PID beside the environment's lock, so that ``call_off`` can
tell it that the environment is being deleted.
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
    """Hold ``file`` inside the block, waiting for whoever holds it; the kernel gives it up with the process.

    what  what is done under it, for the others: "up dev"
    """
    with _opened(file) as lock:
        pause, told = _FIRST_PAUSE, False
        while lock is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
                    report(Note(f"{holder} is at work on the same environment; waiting until it is done"))
                    told = True
                interruption.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        if lock is not None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{what} (process {os.getpid()})".encode(), 0)
        yield


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int | None]:
    """The lock's file; None where none can be made, which is no reason not to release."""
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
    """Somebody's own file; None where none can be made, which is no reason not to begin."""

    def __init__(self, mark: Path | None) -> None:
        self._mark = mark

    @property
    def called_off_by(self) -> str:
        """Who, as a command and its process; "" as long as nobody did."""
        if self._mark is None:
            return ""
        try:
            return self._mark.read_text(errors="replace")
        except OSError:
            return ""


@contextlib.contextmanager
def present(file: Path) -> Iterator[Presence]:
    """Be there inside the block. file: the environment's lock."""
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
    """Tell all who are present that the environment goes; their processes. by: the command that does it."""
    found = []
    for mark in sorted(file.parent.glob(f"{glob.escape(file.name)}.watch-*")):
        with contextlib.suppress(OSError):
            if _is_held(mark):
                mark.write_text(f"`{by}` (process {os.getpid()})")
                found.append(int(mark.name.rpartition("-")[2]))
            else:
                mark.unlink()  # whoever it was of was killed
    return tuple(found)


def _is_held(mark: Path) -> bool:
    with mark.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
