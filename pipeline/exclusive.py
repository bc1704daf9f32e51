"""One release of an environment at a time on this machine; others wait. Between machines CloudFormation decides."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline import interruption
from pipeline.events import Note, Report, ignore

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
