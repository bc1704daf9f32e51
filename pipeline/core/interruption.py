"""Ctrl-C and time limits for work in threads: Python raises them in the main thread only, and ``run`` passes them on.

Every long wait of the pipeline is a ``sleep`` of this module and every report of progress a ``check``, so work ends
between calls: a change set that was not executed is deleted, a push stops at its next block.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")
_asked = threading.Event()
# How long ``run`` waits for the work to end after Ctrl-C (seconds).
PATIENCE = 10.0
_STEP = 0.5


class OutOfTime(KeyboardInterrupt):
    """The time that a command was given is over; ends it like Ctrl-C."""


@contextmanager
def limit(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime in the main thread after ``seconds``; None sets no limit. To be used in the main thread."""
    if seconds is None:
        yield
        return

    def end(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(action: Callable[[], _T]) -> _T:
    """Run ``action`` in a thread and return its result.

    At Ctrl-C the work is asked to end, given ``PATIENCE`` seconds for it, and KeyboardInterrupt is raised. A thread
    that is still in a call by then goes on: only ``os._exit`` ends such a process without waiting for it.
    """
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as problem:  # noqa: BLE001  (raised again by result)
            future.set_exception(problem)

    # Ctrl-C may come while the thread is being started: the future is there before it.
    try:
        threading.Thread(target=work, name="work").start()
        # In steps: a signal that arrives just before a wait begins does not wake it.
        while not wait([future], timeout=_STEP).done:
            pass
        return future.result()
    except KeyboardInterrupt:
        interrupt()
        wait([future], timeout=PATIENCE)
        raise


def interrupt() -> None:
    """Ask all threads to end."""
    _asked.set()


def check() -> None:
    """Raise KeyboardInterrupt if the work was asked to end."""
    if _asked.is_set():
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """``time.sleep``, cut short by KeyboardInterrupt when the work is asked to end."""
    if _asked.wait(seconds):
        raise KeyboardInterrupt


def forget() -> None:
    """Clear the request, for the next run in the same process, such as a test."""
    _asked.clear()
