"""Who goes on with an environment on this machine, such as ``watch``, so that whoever deletes it can call them off.

Each has a file beside the environment's lock, FILE.watch-PID: held as long as the process lives, empty until somebody
writes into it who called it off.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
from collections.abc import Iterator
from pathlib import Path


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
