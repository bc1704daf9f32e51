"""The command line as a process: its streams, its exit status and its byte code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT


def test_help_needs_no_heavy_library() -> None:
    heavy = "boto3,botocore,docker,troposphere,rich,urllib3,uv"
    script = (
        "import sys, bootstrap\n"
        "try: bootstrap.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in '{heavy}'.split(',') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def program(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``bootstrap.py`` as a process of its own, with a cache of its own."""
    return subprocess.run(
        [sys.executable, "bootstrap.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache"), **variables},
        capture_output=True,
        text=True,
    )


def test_byte_code_that_must_not_lie_beside_its_source_is_kept_in_the_cache(tmp_path: Path) -> None:
    options = ("synth", "--out", str(tmp_path / "out"))
    assert program(tmp_path, *options, PYTHONDONTWRITEBYTECODE="1").returncode == 0
    kept = {path.name.partition(".")[0] for path in (tmp_path / "cache" / "byte-code").rglob("*.pyc")}
    assert {"context", "settings", "synth"} <= kept


def test_a_program_that_may_write_byte_code_does_so_beside_the_source(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "bootstrap.py", "synth", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**variables, "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
    )
    assert (done.returncode, (tmp_path / "cache" / "byte-code").exists()) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--version",), 0, "0.1.0"),
        (("no-such-command",), 2, "No such command"),
        (("status",), 1, "is not running"),
    ],
)
def test_the_exit_status_and_all_that_was_said_reach_the_shell(
    tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = program(tmp_path, *arguments, TRANSACTION_PIPELINE_LOCAL=str(tmp_path / "nowhere"))
    assert (done.returncode, told in done.stdout + done.stderr) == (status, True)


def test_a_result_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "bootstrap.py", "synth", "--out", str(tmp_path / "out")],
            cwd=ROOT,
            env={**os.environ, "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, "the result was not written" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_closed_output_changes_no_exit_status(tmp_path: Path) -> None:
    command = f"{sys.executable} bootstrap.py synth --json --out {tmp_path / 'out'} >&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


STOPPED_AT = re.compile(rb'bootstrap\.py", line (\d+)')


def test_ctrl_c_before_a_command_begins_just_ends_it() -> None:
    seen = []
    for moment in range(12):
        process = subprocess.Popen(
            [sys.executable, "bootstrap.py", "plan"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(0.02 * moment)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        seen.append(said)
    # In the very first moments Python itself is still starting, up to the line that minds the signal.
    minding = (ROOT / "bootstrap.py").read_text().partition("_signal.signal(")[0].count("\n") + 1
    assert [said for said in seen if any(int(line) > minding for line in STOPPED_AT.findall(said))] == []


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} bootstrap.py --help | true", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
