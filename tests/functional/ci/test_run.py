"""``.ci/run`` on a tree whose engine and steps are stand-ins: ending it ends its steps and its engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT

# Programs that .ci/run installs where they are missing.
TOOLS = ("docker-registry", "skopeo", "umoci", "docker")

ENGINE = """#!/bin/sh
echo "$1" >>"$TREE/engine"
[ "$1" = start ] && echo unix:///nowhere
exit 0
"""

# `make test` has a child that outlives its parent, as a worker of xdist might.
MAKEFILE = """
check audit:
	@echo $@ >>"$(TREE)/steps"
test:
	@echo $@ >>"$(TREE)/steps"
	@sleep 300 & echo $$! >"$(TREE)/child.new"; mv "$(TREE)/child.new" "$(TREE)/child"; wait $$!
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    script(tmp_path / ".ci" / "engine", ENGINE)
    script(tmp_path / ".ci" / "engine-of", "#!/bin/sh\necho /nowhere\n")
    script(tmp_path / ".venv" / "bin" / "python", '#!/bin/sh\necho "$@" >>"$TREE/steps"\n')
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name in TOOLS:
        script(tmp_path / "bin" / name, "#!/bin/sh\nexit 0\n")
    return tmp_path


@pytest.fixture
def running(tree: Path) -> Iterator[subprocess.Popen[bytes]]:
    variables = {"TREE": str(tree), "CI_FOLDER": str(tree), "PATH": f"{tree / 'bin'}:{os.environ['PATH']}"}
    process = subprocess.Popen([tree / ".ci" / "run"], env=os.environ | variables, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def child_of_tests(tree: Path) -> int:
    wait_for("make test did not start", (tree / "child").exists)
    return int((tree / "child").read_text())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_it_alone_ends_its_tests_and_its_engine(
    tree: Path, running: subprocess.Popen[bytes], number: signal.Signals, status: int
) -> None:
    child = child_of_tests(tree)
    running.send_signal(number)
    assert running.wait(60) == status
    assert not is_alive(child)
    assert (tree / "engine").read_text().split() == ["start", "stop"]
    assert [*tree.glob("ci-*")] == []


def test_its_steps_end_when_it_is_killed(tree: Path, running: subprocess.Popen[bytes]) -> None:
    child = child_of_tests(tree)
    running.kill()
    wait_for("the tests went on", lambda: not is_alive(child))


def test_a_failed_step_fails_it(tree: Path, running: subprocess.Popen[bytes]) -> None:
    child = child_of_tests(tree)
    os.kill(child, signal.SIGKILL)
    assert running.wait(60) != 0
    assert (tree / "steps").read_text().split() == ["check", "audit", "test"]
    assert (tree / "engine").read_text().split() == ["start", "stop"]
