"""A silent registry: what is waited for is said, and ``--timeout`` ends the command with an error."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments", [("check", "{host}/app:1"), ("build", "--base", "{host}/app:1")], ids=["check", "build"]
)
def test_a_silent_registry_is_named_and_given_up(tmp_path: Path, silent: str, arguments: tuple[str, ...]) -> None:
    line = CommandLine(tmp_path / "local")
    started = time.monotonic()
    command = [argument.format(host=silent) for argument in arguments]
    done = line.run(*command, "--timeout", "8", code=1)
    assert time.monotonic() - started < 30
    assert f"waiting for GET /v2/app/manifests/1 at {silent}" in done.stderr
    assert f"{arguments[0]} was not finished" in done.stderr
    assert "it took longer than --timeout 8" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_one_document_with_json(tmp_path: Path, silent: str) -> None:
    line = CommandLine(tmp_path / "local")
    error = line.json("check", f"{silent}/app:1", "--timeout", "1", code=1)
    assert error["what"] == "check was not finished"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path, value: str) -> None:
    CommandLine(tmp_path / "local").run("check", "x", "--timeout", value, code=2)
