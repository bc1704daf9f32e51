"""Ctrl-C ends work between its calls, and only then."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core import interruption
from pipeline.core.events import Clock, Note


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    interruption.forget()


def press_ctrl_c(after: threading.Event) -> None:
    def press() -> None:
        after.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def test_the_result_and_the_error_of_the_work_are_passed_on() -> None:
    assert interruption.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruption.run(lambda: 1 / 0)


def test_a_call_that_is_under_way_is_finished_and_the_next_report_ends_the_work() -> None:
    begun, done = threading.Event(), []

    def work() -> None:
        begun.set()
        interruption._asked.wait(60)  # a call that Ctrl-C comes into
        done.append("call")
        Clock(lambda _: done.append("told"))(Note("next"))

    press_ctrl_c(begun)
    with pytest.raises(KeyboardInterrupt):
        interruption.run(work)
    assert done == ["call"]


def test_threads_of_the_work_that_wait_end_too() -> None:
    begun, ended = threading.Event(), []

    def wait() -> None:
        begun.set()
        try:
            interruption.sleep(60)
        finally:
            ended.append("wait")

    def work() -> None:
        with ThreadPoolExecutor() as pool:
            pool.submit(wait).result()
            ended.append("after")

    press_ctrl_c(begun)
    with pytest.raises(KeyboardInterrupt):
        interruption.run(work)
    assert ended == ["wait"]


def test_work_that_does_not_end_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "PATIENCE", 0.1)
    begun, released = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        released.wait(60)

    press_ctrl_c(begun)
    pressed = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            interruption.run(work)
        assert time.monotonic() - pressed < 10
    finally:
        released.set()


def test_work_that_is_out_of_time_ends_like_ctrl_c() -> None:
    ended = threading.Event()

    def work() -> None:
        try:
            interruption.sleep(60)
        finally:
            ended.set()

    with pytest.raises(interruption.OutOfTime), interruption.limit(0.2):
        interruption.run(work)
    assert ended.is_set()


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with interruption.limit(60):
        assert interruption.run(lambda: 3) == 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before
    with interruption.limit(None):
        pass
