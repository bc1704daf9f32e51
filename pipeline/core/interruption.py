"""Ctrl-C and time limits for work in threads. Python raises them only in the main thread; ``run`` passes them on.

Every long wait uses ``sleep`` of this module, and every progress report calls ``check``, so work ends between calls: a
change set that was not executed is deleted, a push stops at its next block.
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
    """A command's time limit has passed; ends it like Ctrl-C."""


@contextmanager
def limit(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime in the main thread after ``seconds``; None sets no limit. Use it in the main thread."""
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

    Ctrl-C requests the end of the work, waits up to ``PATIENCE`` seconds, and raises KeyboardInterrupt. A thread that
    is still in a call then keeps running; only ``os._exit`` ends the process without waiting for it.
    """
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as problem:  # noqa: BLE001  (raised again by result)
            future.set_exception(problem)

    # Created before the thread, because Ctrl-C may interrupt the thread's start.
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
    """Request that all threads end."""
    _asked.set()


def check() -> None:
    """Raise KeyboardInterrupt if the end was requested."""
    if _asked.is_set():
        raise KeyboardInterrupt


def sleep(seconds: float) -> None:
    """``time.sleep`` that raises KeyboardInterrupt when the end is requested."""
    if _asked.wait(seconds):
        raise KeyboardInterrupt


def forget() -> None:
    """Clear the request, for the next run in the same process, such as a test."""
    _asked.clear()
