"""The command line in surroundings that a shell can have: limits, folders, variables and streams."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.context import Context
from commands.releasing import infra, up
from pipeline.core.errors import PipelineError
from pipeline.core.files import cache_folder
from pipeline.local.host.control import find_local
from tests.functional.command_line import ROOT


def shell(tmp_path: Path, line: str, stdin: bytes = b"", **variables: str | None) -> subprocess.CompletedProcess[bytes]:
    """Run ``line`` in a shell, where BOOTSTRAP is the program. A variable of None is unset."""
    environment = {
        **os.environ,
        "BOOTSTRAP": f"{sys.executable} {ROOT / 'bootstrap.py'}",
        "TRANSACTION_PIPELINE_LOCAL": str(tmp_path / "local"),
        "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache"),
        **{name: value for name, value in variables.items() if value is not None},
    }
    for name in (name for name, value in variables.items() if value is None):
        environment.pop(name, None)
    return subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, env=environment, timeout=120)


EXPLAINED = [
    ("$BOOTSTRAP releases", {"TZ": "XXX+25:61"}, "TZ is 'XXX+25:61', which is a day or more from UTC"),
    ("ulimit -n 32; $BOOTSTRAP up", {}, "this shell allows 32 open files for a process, and it needs 256"),
    ("ulimit -v 400000; $BOOTSTRAP up", {}, "this shell allows 400,000 kB of address space"),
    ("$BOOTSTRAP up", {"HOME": "/proc", "TRANSACTION_PIPELINE_CACHE": None}, "/proc/.cache/transaction-pipeline could"),
    ("$BOOTSTRAP up", {"TRANSACTION_PIPELINE_LOCAL": "/proc/x"}, "its folder /proc/x cannot be written"),
    *(
        ("$BOOTSTRAP status", {"TRANSACTION_PIPELINE_ENDPOINT": url}, "which is not the URL of a host")
        for url in ("x", "http://", "file:///etc", "http://127.0.0.1:99999", "http://u:p@127.0.0.1", "http://[")
    ),
    ("$BOOTSTRAP status", {"PYTHONSAFEPATH": "1"}, "the embedded AWS is not running"),
    ("$BOOTSTRAP status", {"PYTHONWARNINGS": "error"}, "the embedded AWS is not running"),
    ("$BOOTSTRAP status --target aws --region us-east-1", {"AWS_PROFILE": "nope"}, "nope"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "variables", "why"), EXPLAINED)
def test_surroundings_that_cannot_be_used_are_explained(
    tmp_path: Path, line: str, variables: dict[str, str | None], why: str
) -> None:
    done = shell(tmp_path, line, **variables)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), said
    assert why in said
    assert "Traceback" not in said
    assert find_local(tmp_path / "local") is None


@pytest.mark.parametrize(
    ("line", "stdin", "why"),
    [
        ("submit -", b"\xff\xfe{}", "is not UTF-8"),
        ("invoke fraud-detection -", b"\xff\xfe{}", "is not UTF-8"),
        ("invoke fraud-detection -", b"", "the event is not JSON"),
        ("invoke fraud-detection -", b"[" * 100_000, "the event is not JSON"),
        ("invoke fraud-detection /dev/zero", b"", "has more than 6,291,456 bytes"),
        ("invoke fraud-detection /proc/self/mem", b"", "cannot be read"),
        ("submit - </dev/zero", b"", "has more than 6,291,456 bytes"),
    ],
)
def test_input_that_cannot_be_used_is_explained(tmp_path: Path, line: str, stdin: bytes, why: str) -> None:
    done = shell(tmp_path, f"$BOOTSTRAP {line}", stdin)
    assert done.returncode == 2
    assert why in done.stderr.decode()
    assert b"Traceback" not in done.stderr


HOSTILE = {
    "AWS_CA_BUNDLE": "/no/such/file",
    "AWS_DATA_PATH": "/no/such/folder",
    "AWS_DEFAULTS_MODE": "x",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_MAX_ATTEMPTS": "x",
    "AWS_PROFILE": "no-such-profile",
    "AWS_REGION": "mars-1",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "x",
    "AWS_RETRY_MODE": "x",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_CONFIG_FILE": "/dev/zero",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "error",
    "REQUESTS_CA_BUNDLE": "/no/such/file",
}


def test_the_settings_of_a_shell_do_not_reach_the_local_target(tmp_path: Path) -> None:
    try:
        # Dependencies come from the package index, for which a proxy counts.
        cache = {"TRANSACTION_PIPELINE_CACHE": str(cache_folder())}
        assert shell(tmp_path, "$BOOTSTRAP build", **cache).returncode == 0
        done = shell(tmp_path, "$BOOTSTRAP up && $BOOTSTRAP plan", **HOSTILE, **cache)
        assert done.returncode == 0, done.stderr.decode()
        assert b"a sample transaction was answered: APPROVED" in done.stdout
        for log in (tmp_path / "local").glob("*.log"):
            assert "Traceback" not in log.read_text(), log
    finally:
        done = shell(tmp_path, "$BOOTSTRAP down --yes", **HOSTILE)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", [up, infra])
def test_a_start_that_fails_leaves_nothing_running(
    tmp_path: Path, command: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are wrong, which is found when the embedded AWS has been started for a command."""
    monkeypatch.setenv("TRANSACTION_PIPELINE_LOCAL", str(tmp_path / "local"))
    shutil.copytree(ROOT / "images", tmp_path / "images", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "environments.toml").write_text('[project]\nworkflow = "transactions"\n[defaults]\nzones = -1\n')
    context = Context(project=tmp_path)
    with pytest.raises(PipelineError, match="zones is -1"):
        infra(context, yes=True) if command is infra else up(context, smoke=False, sbom=False, yes=True)
    assert find_local(tmp_path / "local") is None
