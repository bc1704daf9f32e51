"""A process that keeps using an environment is known to the command that deletes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.core.locks import call_off, present

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.locks import present
with present(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_is_present_is_told_who_called_it_off(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "dev"
    with present(file) as presence:
        assert presence.called_off_by == ""
        assert call_off(file, "down") == (os.getpid(),)
        assert presence.called_off_by == f"`down` (process {os.getpid()})"
    assert call_off(file, "down") == ()
    assert list(file.parent.iterdir()) == []


def test_another_environment_is_left_alone(tmp_path: Path) -> None:
    with present(tmp_path / "dev-2") as presence:
        assert call_off(tmp_path / "dev", "down") == ()
        assert presence.called_off_by == ""


def test_who_was_killed_is_not_there_any_more(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "dev")], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
    assert [each.name for each in tmp_path.iterdir()] == [f"dev.watch-{process.pid}"]
    assert call_off(tmp_path / "dev", "down") == ()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_no_reason_not_to_begin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with present(tmp_path / "file" / "dev") as presence:
        assert presence.called_off_by == ""
    assert call_off(tmp_path / "file" / "dev", "down") == ()


def test_a_folder_that_was_removed_calls_nobody_off(tmp_path: Path) -> None:
    with present(tmp_path / "dev") as presence:
        for each in tmp_path.iterdir():
            each.unlink()
        assert presence.called_off_by == ""
