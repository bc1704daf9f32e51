"""Ctrl-C for work that runs in threads: Python tells only the main thread, which tells the others here.

Every long wait of the pipeline is one of these ``sleep``s, and every report of progress a ``check``, so that threads
end where they may: a change set that was not executed is deleted, a push stops at its next block.
"""

from __future__ import annotations

import threading

_asked = threading.Event()


def interrupt() -> None:
    """Ask all threads to end."""
    _asked.set()


def check() -> None:
    """Raises KeyboardInterrupt once the end was asked for."""
    if _asked.is_set():
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """``time.sleep`` that the end cuts short. Raises KeyboardInterrupt then."""
    if _asked.wait(seconds):
        raise KeyboardInterrupt


def forget() -> None:
    """For the next run in the same process, such as a test."""
    _asked.clear()
