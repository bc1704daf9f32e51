"""Limits of this process (open files, memory, threads) and its time zone."""

from __future__ import annotations

import errno
import os
import resource
import time

from pipeline.core.errors import LocalError, ResourceError, SettingsError

# Needs of the embedded AWS: a few connections for each function and client, and the stacks of its threads.
OPEN_FILES = 256
ADDRESS_SPACE = 1 << 30
# Python and most systems work with this many.
_USUAL_OPEN_FILES = 1024
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
_OUT_OF_MEMORY = ("can't start new thread", "cannot allocate memory", "failed to map segment")


def require_time_zone() -> None:
    """Raise SettingsError for a time zone that datetime refuses: one of a day or more, as in ``TZ=XXX+25:61``."""
    if max(abs(time.timezone), abs(time.altzone)) >= 24 * 60 * 60:
        raise SettingsError(
            "the command was not run",
            f"TZ is {os.environ.get('TZ', '')!a}, which is a day or more from UTC",
            "Set TZ to a time zone such as Europe/Berlin, or unset it.",
        )


def raise_open_files() -> None:
    """Raise the soft limit of open files to the usual value, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _USUAL_OPEN_FILES if hard == resource.RLIM_INFINITY else min(_USUAL_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def require_limits() -> None:
    """Raise LocalError if the limits are too low for the embedded AWS, which would hang instead of failing."""
    what = "the embedded AWS was not started"
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < OPEN_FILES:
        raise LocalError(
            what,
            f"this shell allows {files} open files for a process, and it needs {OPEN_FILES}",
            f"Raise the limit: ulimit -n {_USUAL_OPEN_FILES}",
        )
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY and space < ADDRESS_SPACE:
        raise LocalError(
            what,
            f"this shell allows {space // 1024:,} kB of address space for a process, and it needs"
            f" {ADDRESS_SPACE // 1024:,}",
            "Raise the limit: ulimit -v unlimited",
        )


def exhausted(error: BaseException) -> ResourceError | None:
    """The explained error if ``error`` means that this machine or a limit of this process is exhausted; else None."""
    what = "the command was not completed"
    if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
        return ResourceError(what, "too many files are open", "Raise the limit (ulimit -n 1024), or close programs.")
    out_of_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if isinstance(error, RuntimeError | ImportError | OSError):
        out_of_memory = out_of_memory or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    if not out_of_memory:
        return None
    return ResourceError(
        what,
        "there is not enough memory for it, or a limit of this shell is too low (ulimit -v, -u)",
        "Free some memory or raise the limit, and run the same command again: every step is safe to repeat.",
    )
