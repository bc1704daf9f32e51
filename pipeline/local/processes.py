"""Processes that end with their owner."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

# In the environment of workers and of what they start: the local folder they belong to.
MARK = "TRANSACTION_PIPELINE_FOLDER"
_PR_SET_PDEATHSIG = 1
# Loaded here, because nothing may be loaded between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL, *, parent: int | None = None) -> None:
    """Ask the kernel to send this process ``number`` when its parent's thread ends, also by SIGKILL (Linux).

    ``parent`` is the process that should be the parent; when it is gone already, this process ends at once.
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


def kill_marked(folder: Path) -> None:
    """Kill every process that workers of ``folder`` started, also when nobody is their parent any more."""
    mark = f"\0{MARK}={folder}\0".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal() and place.name != str(os.getpid()):
            try:
                if mark in b"\0" + (place / "environ").read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)
            except OSError:  # gone meanwhile, or another user's
                continue


def kill_children() -> None:
    """Kill what this process started and what that started in turn."""
    pending = [os.getpid()]
    while pending:
        for child in children(pending.pop()):
            pending.append(child)
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
