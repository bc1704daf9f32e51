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

from commands.usage import MODULES
from tests.functional.command_line import ROOT


def test_a_release_loads_the_template_library_only_to_build_templates() -> None:
    """Templates are cached, because importing it takes longer than the rest of a release without changes."""
    code = "import sys, pipeline.release.release; sys.exit('troposphere' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_needs_no_heavy_library() -> None:
    heavy = "boto3,botocore,docker,troposphere,rich,urllib3,uv,yaml"
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


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--version",), 0, "0.1.0"),
        (("no-such-command",), 2, "No such command"),
        (("status",), 1, "is not running"),
        (("invoke", "fraud-detection", '{"transaction": 1}'), 2, "Name a file, or - to read standard input."),
        (("why-changed", "No:Image@"), 1, "nothing was compared"),
    ],
)
def test_the_exit_status_and_all_that_was_said_reach_the_shell(
    tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = program(tmp_path, *arguments, TRANSACTION_PIPELINE_LOCAL=str(tmp_path / "nowhere"))
    assert (done.returncode, told in done.stdout + done.stderr) == (status, True)


@pytest.mark.parametrize("settings", ["", '[project]\nname = "orders"\n\n[defaults]\nzones = "three"\n'])
@pytest.mark.parametrize("command", ["up", "infra"])
def test_a_mistake_in_the_settings_starts_no_embedded_aws(tmp_path: Path, command: str, settings: str) -> None:
    function = tmp_path / "images" / "greeting"
    function.mkdir(parents=True)
    (function / "function.toml").write_text('handler = "handler.handle"\n')
    (function / "handler.py").write_text("def handle(event, context):\n    return event\n")
    (tmp_path / "environments.toml").write_text(settings)
    done = program(tmp_path, command, "--project", str(tmp_path), TRANSACTION_PIPELINE_LOCAL=str(tmp_path / "local"))
    assert (done.returncode, "environments.toml" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "local" / "host.log").exists()


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


def test_ctrl_c_before_a_command_begins_just_ends_it() -> None:
    seen = []
    for moment in range(12):
        process = subprocess.Popen(
            [sys.executable, "bootstrap.py", "plan"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        time.sleep(0.02 * moment)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        seen.append((process.returncode, said))
    # In the very first moments Python itself is still starting, up to the line that catches it.
    catching = (ROOT / "bootstrap.py").read_text().partition("\ntry:")[0].count("\n") + 1
    stopped_at = [int(line) for _, said in seen for line in re.findall(rb'bootstrap\.py", line (\d+)', said)]
    assert [line for line in stopped_at if line > catching] == []
    assert {code for code, _ in seen} <= {130, 1, 2, -signal.SIGINT}  # 1, 2: it had ended


@pytest.mark.parametrize("command", ["--help", "up --help", "--version", "synth --out OUT"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whatever_cannot_be_written_is_explained(tmp_path: Path, command: str, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "bootstrap.py", *command.replace("OUT", str(tmp_path)).split()],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == ["error: the result was not written", "  why:  No space left on device"]
    assert len(done.stderr.splitlines()) == 3


# Every command with all streams closed, and one with each of them.
CLOSED = [(name, "<&- >&- 2>&-") for name in MODULES if name not in ("up", "infra", "watch")]
CLOSED += [("status", stream) for stream in ("<&-", ">&-", "2>&-")]


@pytest.mark.at_length
@pytest.mark.parametrize(("name", "closed"), CLOSED)
def test_closed_streams_change_no_exit_status(tmp_path: Path, name: str, closed: str) -> None:
    words = {
        "synth": f"--out {tmp_path}",
        "check": "oci:/nowhere",
        "submit": "-",
        "explain": "t-1",
        "verify-workflow": "README.md",
        "invoke": "fraud-detection -",
    }
    done = [
        subprocess.run(
            f"{sys.executable} bootstrap.py {name} {words.get(name, '')} {streams}",
            shell=True,
            cwd=ROOT,
            env={**os.environ, "TRANSACTION_PIPELINE_LOCAL": str(tmp_path / "local")},
            capture_output=True,
            text=True,
        )
        for streams in ("</dev/null", closed)
    ]
    assert len({each.returncode for each in done}) == 1
    assert not any("Traceback" in each.stderr for each in done)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} bootstrap.py --help | true", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
