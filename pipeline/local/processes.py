"""Processes that end with their owner, and how to tell whether a process is still the one that was meant."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

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


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot, or None when there is no such process or it is a zombie.

    A pid with its start time names one process for good; a pid alone is given out again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may itself contain spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """The living child processes of a process, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


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
