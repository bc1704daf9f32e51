"""Logs, single invocations and the debugger, through the command line on an environment that stands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.processes import MARK
from tests.functional.command_line import CommandLine, copy_project
from tests.functional.debug_client import DebugClient

TRANSACTION = {"amount": 100, "currency": "USD", "merchant_id": "merchant-001", "customer_id": "customer-001"}
FUNCTIONS = {"compliance-checking", "fraud-detection", "transaction-validation"}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("logs")
    line = CommandLine(folder / "local", project=copy_project(folder / "project"))
    line.run("up", "--no-smoke", "--no-sbom")
    for number in (1, 12):
        line.run("submit", json.dumps({"transaction_id": f"logged-{number}", **TRANSACTION}))
    yield line
    line.run("down", "--yes")


def start(line: CommandLine, *arguments: str) -> subprocess.Popen[str]:
    """A command that keeps running; end it with SIGINT."""
    environment = os.environ | {
        "TRANSACTION_PIPELINE_LOCAL": str(line.local),
        "TRANSACTION_PIPELINE_CACHE": str(line.cache),
    }
    return subprocess.Popen(
        [sys.executable, str(line.project / "bootstrap.py"), *arguments],
        cwd=line.project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_logs_of_all_functions_are_merged_by_time(line: CommandLine) -> None:
    events = line.json("logs")["events"]
    assert {each["source"] for each in events} == FUNCTIONS
    assert [each["time"] for each in events] == sorted(each["time"] for each in events)
    told = [each["message"] for each in events if isinstance(each["message"], dict)]
    assert {each["transaction_id"] for each in told if "transaction_id" in each} == {"logged-1", "logged-12"}


def test_logs_of_one_function(line: CommandLine) -> None:
    assert {each["source"] for each in line.json("logs", "--function", "fraud-detection")["events"]} == {
        "fraud-detection"
    }


def test_logs_of_a_transaction_are_its_invocations_and_no_others(line: CommandLine) -> None:
    events = line.json("logs", "--transaction", "logged-1")["events"]
    assert {each["source"] for each in events} == FUNCTIONS
    text = json.dumps(events)
    assert "logged-12" not in text
    # Lines that do not name the transaction, such as the report, belong to it too.
    assert sum(str(each["message"]).startswith("REPORT") for each in events) == 3
    counted = [each["source"] for each in events if "TransactionsJudged" in each["message"]]
    assert sorted(counted) == sorted(FUNCTIONS)
    assert line.json("logs", "--transaction", "nobody")["events"] == []
    silent = line.run("logs", "--transaction", "nobody")
    assert silent.stdout == ""
    assert "no logs for nobody in the last 10m" in silent.stderr


def test_older_lines_are_left_out(line: CommandLine) -> None:
    time.sleep(1.1)
    assert line.json("logs", "--since", "1s")["events"] == []


def test_lines_for_people_have_no_colour_in_a_pipe(line: CommandLine) -> None:
    text = line.run("logs", "--transaction", "logged-1").stdout
    assert "\x1b" not in text
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3}  fraud-detection +INFO fraud score transaction_id=logged-1", text, re.M)


def test_what_is_logged_meanwhile_is_followed_once(line: CommandLine) -> None:
    with start(line, "logs", "--follow", "--json", "--function", "fraud-detection") as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        try:
            told = [follower.stdout.readline()]  # of what was there before: it looks by now
            for number in range(4):
                line.run("submit", json.dumps({"transaction_id": f"followed-{number}", **TRANSACTION}))
                while told[-1] and f"followed-{number}" not in told[-1]:
                    told.append(follower.stdout.readline())
            time.sleep(1)  # what came with the last is written, too
        finally:
            follower.send_signal(signal.SIGINT)
        lines, _, result = "".join([*told, follower.stdout.read()]).rpartition("\n{\n")
        assert follower.wait(20) == 0, follower.stderr.read()
    messages = [json.loads(each)["message"] for each in lines.splitlines()]
    ids = [each["transaction_id"] for each in messages if isinstance(each, dict) and "transaction_id" in each]
    followed = [each for each in ids if each.startswith("followed-")]
    assert followed == [f"followed-{number}" for number in range(4)]
    assert json.loads("{" + result) == {"events": len(messages)}


@pytest.mark.parametrize(
    "arguments", [["--since", "soon"], ["--function", "nobody"], ["--transaction", "not an id"]], ids=lambda a: a[0]
)
def test_what_cannot_be_asked_for_is_wrong_usage(line: CommandLine, arguments: list[str]) -> None:
    assert arguments[0] in line.run("logs", *arguments, code=2).stderr


def event_file(folder: Path, transaction_id: str = "invoked-1") -> Path:
    file = folder / "event.json"
    event = {
        "transaction": {"transaction_id": transaction_id, **TRANSACTION, "amount": "100.00"},
        "received_at": "2026-11-23T14:00:00.000Z",
        "execution": "by-hand",
    }
    file.write_text(json.dumps(event))
    return file


def test_one_function_is_invoked(line: CommandLine, tmp_path: Path) -> None:
    invoked = line.json("invoke", "transaction-validation", str(event_file(tmp_path)))
    assert invoked["failed"] is False
    assert invoked["result"]["valid"] is True
    assert invoked["measured"]["duration"] > 0
    assert any('"transaction_id":"invoked-1"' in each for each in invoked["log"])
    again = line.run("invoke", "transaction-validation", str(tmp_path / "event.json"))
    assert json.loads(again.stdout) == invoked["result"]
    assert "no init (warm)" in again.stderr


def test_the_time_of_an_init_is_told(line: CommandLine, tmp_path: Path) -> None:
    handler = line.project / "images" / "compliance-checking" / "handler.py"
    handler.write_text(handler.read_text() + "\n# for a new worker\n")
    line.run("up", "--no-smoke", "--no-sbom")
    invoked = line.json("invoke", "compliance-checking", str(event_file(tmp_path)))
    assert invoked["measured"]["init"] > 0


def test_an_error_of_the_function_is_exit_code_1(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "empty.json"
    file.write_text("{}")
    failed = line.json("invoke", "fraud-detection", str(file), code=1)
    assert failed["failed"] is True
    assert failed["result"]["errorType"] == "InvalidEvent"
    text = line.run("invoke", "fraud-detection", str(file), code=1)
    assert text.stdout.startswith("error: InvalidEvent: the event has no transaction")


def test_an_event_that_is_not_json_is_wrong_usage(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text("{nope")
    assert "not JSON" in line.run("invoke", "fraud-detection", str(file), code=2).stderr


def waiting(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """The port that a function waits on, and the settings for VS Code."""
    assert process.stderr is not None
    text = ""
    for each in process.stderr:
        text += each
        if "remote project path" in each:
            break
    port = re.search(r"waits for a debugger on 127\.0\.0\.1:(\d+)", text)
    assert port is not None, text
    settings = text[text.index("launch.json:") + len("launch.json:") : text.index("PyCharm")]
    return int(port[1]), json.loads(settings)


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("mapped", ["by the editor", "by the function"])
def test_a_debugger_stops_in_the_files_of_the_project(line: CommandLine, tmp_path: Path, mapped: str) -> None:
    process = start(line, "invoke", "--debug", "transaction-validation", str(event_file(tmp_path)), "--json")
    handler = line.project / "images" / "transaction-validation" / "handler.py"
    shared = line.project / "images" / "transactions" / "invocation.py"
    first, second = line_of(handler, "result = validate("), line_of(shared, "response = {**judge")
    try:
        port, settings = waiting(process)
        assert settings["connect"] == {"host": "127.0.0.1", "port": port}
        resolved = json.loads(json.dumps(settings).replace("${workspaceFolder}", str(line.project)))
        arguments = {name: resolved[name] for name in ("name", "type", "request", "connect", "pathMappings")}
        if mapped == "by the function":
            del arguments["pathMappings"]
        with DebugClient("127.0.0.1", port) as debugger:
            debugger.attach({handler: [first], shared: [second]}, **arguments)
            for path, lineno in ((shared, second), (handler, first)):
                thread = debugger.stopped()
                frame = debugger.ask("stackTrace", threadId=thread, levels=1)["stackFrames"][0]
                assert (frame["source"]["path"], frame["line"]) == (str(path), lineno)
                if path == handler:
                    said = debugger.ask("evaluate", expression="invocation.execution", frameId=frame["id"])
                    assert said["result"] == "'by-hand'"
                debugger.ask("continue", threadId=thread)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert json.loads(out)["result"]["valid"] is True
    finally:
        process.kill()
        process.wait()
    assert not marked(line.local / "debug" / "transaction-validation")


def test_ctrl_c_ends_a_function_that_waits_for_a_debugger(line: CommandLine, tmp_path: Path) -> None:
    process = start(line, "invoke", "--debug", "fraud-detection", str(event_file(tmp_path)))
    waiting(process)
    assert marked(line.local / "debug" / "fraud-detection")
    taken = line.run("invoke", "--debug", "fraud-detection", str(tmp_path / "event.json"), code=1)
    assert "being debugged already" in taken.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not marked(line.local / "debug" / "fraud-detection")


def test_a_killed_command_leaves_no_function_waiting(line: CommandLine, tmp_path: Path) -> None:
    process = start(line, "invoke", "--debug", "fraud-detection", str(event_file(tmp_path)))
    waiting(process)
    process.kill()
    process.communicate(timeout=20)
    until = time.monotonic() + 10
    while marked(line.local / "debug" / "fraud-detection") and time.monotonic() < until:
        time.sleep(0.05)
    assert not marked(line.local / "debug" / "fraud-detection")


def marked(folder: Path) -> list[int]:
    """Processes that were started for a function under debug."""
    mark = f"\0{MARK}={folder.resolve()}\0".encode()
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if mark in b"\0" + (place / "environ").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
    return found
