"""The HTTP routes of a project on a port of this machine, while its files are saved."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

SECONDS = 60.0
HANDLER = """
import json
WORD = "first"
def handle(event, context):
    http = event["requestContext"]["http"]
    return {"word": WORD, "path": event["rawPath"], "query": event["rawQueryString"], "body": event.get("body"),
            "signed": "authorizer" in event["requestContext"], "cookies": event.get("cookies"),
            "own": event["headers"].get("x-own")}
"""
MANIFEST = """
handler = "handler.handle"
timeout = 10
[[events]]
type = "http"
route = "ANY /own/{id}"

[[events]]
type = "http"
route = "GET /open"
auth = "none"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Serving:
    project: Project
    port: int

    def request(
        self, method: str, target: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request(method, target, body, {name.replace("_", "-"): each for name, each in headers.items()})
            answer = connection.getresponse()
            content = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, json.loads(content) if content else None


@pytest.fixture(scope="module")
def serving(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    project = Project(tmp_path_factory.mktemp("served"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "served"\n')
    project.write("images/web/handler.py", HANDLER)
    project.write("images/web/function.toml", MANIFEST)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bootstrap.py"), "serve", "--port", str(port)],
        cwd=project.folder, env=project.variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said: list[str] = []
        while not said or f"serving http://127.0.0.1:{port}" not in said[-1]:
            line = process.stderr.readline()
            said.append(line)
            assert line, "".join(said)
            assert "stays live" not in line, line
        yield Serving(project, port)
        process.send_signal(signal.SIGINT)
        output, _errors = process.communicate(timeout=SECONDS)
        assert (process.returncode, "changes released" in output or "change released" in output) == (0, True)
    finally:
        process.kill()
        process.communicate()
        project.run("down", "--yes", code=(0, 1))
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_routes_answer_signed_and_open(serving: Serving) -> None:
    status, headers, answer = serving.request("POST", "/own/7?a=1&b=%20", '{"x": 1}', content_type="application/json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert answer["path"] == "/own/7"
    assert (answer["query"], answer["body"], answer["signed"]) == ("a=1&b=%20", '{"x": 1}', True)
    assert serving.request("GET", "/open")[2]["word"] == "first"
    assert serving.request("GET", "/elsewhere")[0] == 404
    # A header of its own is not replaced, and is worth nothing on a signed route.
    assert serving.request("GET", "/own/7", authorization="Bearer x")[0] == 403


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/../../_ministack/health", {}, 400),
        ("/own/%2e%2e/%2E%2E/_ministack/health", {}, 400),
        ("/own/..%2f..%2f_ministack", {}, 400),
        ("http://127.0.0.1/open", {}, 403),
        ("*", {}, 400),
        ("/open", {"origin": "http://127.0.0.1:1"}, 403),
        ("/open", {"sec_fetch_site": "cross-site"}, 403),
        ("/open", {"host": "rebound.example"}, 403),
        ("/open", {"transfer_encoding": "gzip, chunked"}, 411),
        ("/open", {"content_length": "-1"}, 411),
        ("/open", {"content_length": "99999999999"}, 413),
    ],
)
def test_requests_that_are_refused(serving: Serving, target: str, headers: dict[str, str], status: int) -> None:
    assert serving.request("GET", target, **headers)[0] == status


@pytest.mark.parametrize(
    ("twice", "status"),
    [
        ([("Host", "127.0.0.1:{port}"), ("Host", "rebound.example")], 403),
        ([("Host", "127.0.0.1:{port}"), ("Content-Length", "0"), ("Content-Length", "1")], 400),
        ([("Host", "127.0.0.1:{port}"), ("Origin", "null"), ("Origin", "http://127.0.0.1:{port}")], 403),
        ([("Host", "127.0.0.1:{port}"), ("X-Own", "a"), ("X-Own", "b")], 200),
    ],
)
def test_a_header_that_is_there_twice(serving: Serving, twice: list[tuple[str, str]], status: int) -> None:
    with closing(HTTPConnection("127.0.0.1", serving.port, timeout=SECONDS)) as connection:
        connection.putrequest("GET", "/own/7", skip_host=True, skip_accept_encoding=True)
        for name, value in twice:
            connection.putheader(name, value.format(port=serving.port))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == status
        if status == 200:
            assert json.loads(answer.read())["own"] == "a,b"


def test_a_saved_file_is_served(serving: Serving) -> None:
    serving.project.write("images/web/handler.py", HANDLER.replace('"first"', '"second"'))
    until = time.monotonic() + SECONDS
    while serving.request("GET", "/open")[2]["word"] != "second":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_port_that_is_taken(serving: Serving) -> None:
    done = serving.project.run("serve", "--port", str(serving.port), code=1)
    assert f"127.0.0.1:{serving.port} cannot be listened on" in done.stderr
    assert "--port" in done.stderr


def test_a_project_without_routes(embedded_aws: EmbeddedAws, tmp_path: Path) -> None:
    project = Project(tmp_path, embedded_aws)
    project.run("init")
    assert "no function of the project has an event of the type http" in project.run("serve", code=1).stderr
    assert "API Gateway serves them on AWS" in project.run("serve", "--target", "aws", code=1).stderr
