"""Every option and argument of every command with hostile values: an explained error in bounded time, no traceback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import bootstrap
from cfn.workflow.limits import CALLED_FUNCTIONS
from commands.declared import SHARED
from commands.usage import MODULES, find_command

# No environment, region, number or image is called so.
HOSTILE = (
    "", " ", "\t", "\r\n", "a\nb", "\x1b[2J", "\x07", "\x9b2J", "\x7f", "a b", "'", '"', "\\", "*", "?", "%s%n", "{}",
    "{", "[]", "NULL", "NaN", "1e400", "-1", "-0", "0x10", "1.5", "9" * 30, "9" * 5000, "a" * 100_000, "A", "dev\u200b",
    "é", "日本", "٣h", "\u202edev", "\ufeffdev", "😀", "\ud800", "\udcff", "-", "--", "--help", "-x", "@file", "$(id)",
    "`id`", "x/../../y", "../../x", "..", ".", "~", "~root", "a//b", "oci:", "oci:nowhere", "docker-daemon:",
    "http://", "https://user:password@h/x", "file:///etc/passwd", "a@sha256:0", "a:b:c", "aws://", "::", "1_000s",
)  # fmt: skip
# Where a file is read or written, also what is there already and is no file of ours.
FILES = ("/dev/null/x", "/proc/self/mem/x", "/proc/no/such")
DEVICES = ("/dev/zero", "/dev/full", "/proc/self/mem", "/")
# Longest answer and output, in seconds and bytes.
SECONDS, BYTES = 10.0, 250_000
ONLY_THESE_NAMES = {"environment", "region", "target", "timeout", "builder", "runtime"}
# What a command cannot be parsed without.
NEEDED = {
    "synth": ["--out", "out"],
    "check": ["oci:nowhere"],
    "submit": ["{}"],
    "explain": ["t-1"],
    "invoke": ["fraud-detection", "event.json"],
    "verify-workflow": ["machine.json"],
    "verify": ["oci:nowhere"],
    "why-changed": ["oci:nowhere", "oci:nowhere"],
    "completion": ["bash"],
    "up": ["plan.json"],
    "rehearse": ["recorded.jsonl"],
    "promote": ["dev", "prod"],
}
# Of these the argument can be left out.
OPTIONAL = ("up",)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of small functions, no embedded AWS, no network and no credentials; a folder to write into.

    It has what its workflow calls: ``watch`` waits until a project is whole.
    """
    for name in CALLED_FUNCTIONS:
        function = tmp_path / "project" / "images" / name
        function.mkdir(parents=True)
        (function / "handler.py").write_text("def handle(event, context):\n    return event\n")
        (function / "function.toml").write_text('handler = "handler.handle"\n')
    (tmp_path / "project" / "environments.toml").write_text('[project]\nworkflow = "transactions"\n')
    (tmp_path / "file").touch()
    folder = tmp_path / "project" / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "event.json").write_text("{}")
    (folder / "recorded.jsonl").write_text('{"transaction_id": "t-1"}\n')
    (folder / "machine.json").write_text('{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("TRANSACTION_PIPELINE_LOCAL", str(tmp_path / "file" / "local"))
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.delenv("TRANSACTION_PIPELINE_ENDPOINT", raising=False)

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr("pipeline.oci.registry.retries.Retries.delay", lambda *_: None)


def values_for(parameter: click.Parameter) -> tuple[str, ...]:
    if not isinstance(parameter.type, click.Path | click.File):
        return HOSTILE
    reads = isinstance(parameter.type, click.File) or parameter.type.exists
    return (*HOSTILE, *FILES, *(DEVICES if reads else ()))


def lines_for(name: str) -> Iterator[tuple[click.Parameter, str, list[str]]]:
    """Command lines of ``name``, each with one hostile value."""
    parameters = (*find_command(name).parameters, *SHARED)
    arguments = [each for each in parameters if isinstance(each, click.Argument)]
    for parameter in parameters:
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            for value in values_for(parameter):
                yield parameter, value, [name, f"{parameter.opts[0]}={value}", *needed(name, parameter)]
        elif isinstance(parameter, click.Argument):
            for value in values_for(parameter):
                others = NEEDED[name][:]
                others[arguments.index(parameter)] = value
                yield parameter, value, [name, "--", *others]


def needed(name: str, parameter: click.Parameter) -> list[str]:
    words = NEEDED.get(name, []) if name not in OPTIONAL else []
    if parameter.opts[0] in words or (name == "submit" and parameter.name == "file"):
        return []
    return words


def judge(result: Result, seconds: float) -> str:
    """What is wrong with an outcome, or ""."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"traceback: {result.exception!r}"[:300]
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    if result.exit_code and not ("Error: " in result.stderr or "error: " in result.stderr or result.stdout):
        return f"unexplained: {result.stderr!r}"
    if any(each in result.output for each in "\x1b\x07\x9b\x7f\u202e"):
        return f"control characters: {result.output!r}"[:300]
    if len(result.output) > BYTES:
        return f"{len(result.output)} bytes of output"
    return f"{seconds:.1f} s" if seconds > SECONDS else ""


@pytest.mark.parametrize("name", MODULES)
def test_hostile_values_are_explained(name: str) -> None:
    runner, wrong, count = CliRunner(), [], 0
    for parameter, value, line in lines_for(name):
        count += 1
        started = time.monotonic()
        result = runner.invoke(bootstrap.main, line, input=b"")
        found = judge(result, time.monotonic() - started)
        if parameter.name in ONLY_THESE_NAMES and result.exit_code != 2:
            found = f"accepted: {result.output[:200]!r}"
        if found:
            wrong.append(f"{name} {parameter.name} {value[:40]!a}: {found}")
    assert wrong == []
    assert count > 200
