"""One release at a time on a machine: a later one waits and reports for which."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.core import interruption
from pipeline.core.events import Event, Note
from pipeline.core.locks import exclusively

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.locks import exclusively
with exclusively(Path(sys.argv[1]), "up dev"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(file: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_waits_says_for_whom_and_goes_on_when_that_one_is_killed(tmp_path: Path) -> None:
    file, events, done = tmp_path / "locks" / "dev", list[Event](), threading.Event()
    told = threading.Event()

    def report(event: Event) -> None:
        events.append(event)
        told.set()

    def wait() -> None:
        with exclusively(file, "down dev", report):
            done.set()

    with hold(file) as holder:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert told.wait(10)
        assert not done.is_set()
        holder.kill()
        waiting.join(10)
        assert done.is_set()
        texts = [event.text for event in events if isinstance(event, Note)]
        assert texts == [f"up dev (process {holder.pid}) is at work on the same environment; waiting until it is done"]


def test_another_environment_is_not_waited_for(tmp_path: Path) -> None:
    with exclusively(tmp_path / "dev", "up dev"), exclusively(tmp_path / "prod", "up prod"):
        pass


def test_ctrl_c_ends_the_waiting(tmp_path: Path) -> None:
    with hold(tmp_path / "dev") as holder:
        try:
            threading.Timer(0.1, interruption.interrupt).start()
            with pytest.raises(KeyboardInterrupt), exclusively(tmp_path / "dev", "up dev"):
                pytest.fail("it is held by another process")
        finally:
            interruption.forget()
            holder.kill()


def test_a_place_that_cannot_be_written_is_no_reason_not_to_release(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with exclusively(tmp_path / "file" / "dev", "up dev"):
        pass
