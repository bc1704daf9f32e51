"""A child process ends with the work that it is part of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import children, interruption
from pipeline.core.children import run_child

SLEEP = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    interruption.forget()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(path: Path) -> int:
    ends = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return int(path.read_text())


def test_output_and_status_are_returned() -> None:
    # Slower than one look at the child, and more than a pipe holds.
    echo = (
        "import sys, time; time.sleep(0.5); data = sys.stdin.buffer.read();"
        "sys.stdout.buffer.write(data); sys.stderr.write('e'); sys.exit(3)"
    )
    done = run_child([sys.executable, "-c", echo], content=b"x" * 300_000)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"x" * 300_000, b"e")


def test_a_child_is_killed_when_the_work_is_asked_to_end(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run_child([sys.executable, "-c", SLEEP, str(note)])
        except KeyboardInterrupt as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    pid = wait_for(note)
    interruption.interrupt()
    thread.join(20)
    assert raised
    assert gone(pid)


def test_a_child_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        run_child([sys.executable, "-c", SLEEP, str(note)], seconds=3)
    assert gone(wait_for(note))


STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
# As `docker` runs its plugins: a child of its own, which it ends when it is told to end.
PARENT = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
signal.signal(signal.SIGTERM, lambda *_: (child.kill(), child.wait(), os._exit(1)))
with open(sys.argv[1], "w") as note:
    note.write(str(child.pid))
while True:
    signal.pause()
"""


@pytest.mark.parametrize("program", [STUBBORN, PARENT])
def test_a_child_can_end_its_own_and_cannot_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    # Long enough for the parent even on a busy machine; the stubborn one always takes all of it.
    monkeypatch.setattr(children, "_GRACE", 10.0 if program is PARENT else 0.1)
    note = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        run_child([sys.executable, "-c", program, str(note)], seconds=3)
    assert gone(wait_for(note))


def test_a_file_is_read_from_where_it_is(tmp_path: Path) -> None:
    with (tmp_path / "input").open("w+b") as file:
        file.write(b"head and rest")
        file.seek(5)
        assert run_child(["cat"], content=file).stdout == b"and rest"


def test_a_program_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run_child(["no-such-program-here"])
