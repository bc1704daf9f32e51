"""Processes that end with their owner."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

# A variable of workers and their descendants: the local folder that they belong to.
MARK = "TRANSACTION_PIPELINE_FOLDER"
_PR_SET_PDEATHSIG = 1
# Loaded here: nothing may be loaded between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL, *, parent: int | None = None) -> None:
    """Ask the kernel to send this process ``number`` when its parent's thread ends, also by SIGKILL (Linux).

    ``parent`` is the expected parent; if it is gone already, this process ends at once.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def children(pid: int) -> list[int]:
    """The living child processes of a process, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def descendants(pid: int) -> list[int]:
    """The living descendants of a process."""
    found, pending = [], [pid]
    while pending:
        below = children(pending.pop())
        found += below
        pending += below
    return found


def kill_marked(folder: Path) -> None:
    """Kill every process that workers of ``folder`` started, including orphans."""
    mark = f"\0{MARK}={folder}\0".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal() and place.name != str(os.getpid()):
            try:
                if mark in b"\0" + (place / "environ").read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)
            except OSError:  # gone, or another user's
                continue


def kill_children() -> None:
    """Kill all descendants of this process."""
    for child in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
