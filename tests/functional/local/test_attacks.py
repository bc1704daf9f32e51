"""A web page in a real browser, and another user of the machine, try to use the embedded AWS, and get nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.host_state import read_state
from pipeline.local.processes import descendants
from tests.functional.browser import browser, missing
from tests.functional.conftest import EmbeddedAws
from tests.functional.local.test_access import ATTACKS
from tests.functional.local_images import Function, Registry, make_role, runtime_client, tar

PAGE = Path(__file__).with_name("attack_page.html")
SECRET = "a parked transaction"


@pytest.fixture(scope="module")
def victim(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An embedded AWS with a table, a parked message and a function, which are the same afterwards."""
    dynamodb, sqs, functions = (embedded_aws.client(name) for name in ("dynamodb", "sqs", "lambda"))
    dynamodb.create_table(
        TableName="transaction-state-dev", BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )  # fmt: skip
    dynamodb.put_item(TableName="transaction-state-dev", Item={"id": {"S": "1"}, "of": {"S": SECRET}})
    queue = sqs.create_queue(QueueName="transaction-dlq-dev")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=SECRET)
    registry = Registry(embedded_aws, tar(runtime_client(tmp_path_factory.mktemp("client"))))
    uri = registry.push("function", {"handler.py": "def handle(event, context): return 'its own answer'"})
    function = Function.create(embedded_aws, "function", uri, make_role(embedded_aws, "attacked"))
    assert function.invoke().payload == "its own answer"
    yield embedded_aws
    assert dynamodb.scan(TableName="transaction-state-dev")["Count"] == 1
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "1"
    assert function.invoke().payload == "its own answer"
    assert [user["UserName"] for user in embedded_aws.client("iam").list_users()["Users"]].count("intruder") == 0
    assert "intruder" not in [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    repositories = embedded_aws.client("ecr").describe_repositories()["repositories"]
    assert "intruder" not in [each["repositoryName"] for each in repositories]


class Attacker:
    """A web server with the page, and a server without any protection, for comparison."""

    def __init__(self) -> None:
        self.report: dict[str, str] | None = None
        self.reached: list[str] = []
        self.done = threading.Event()
        attacker = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(PAGE.read_bytes(), {"Content-Type": "text/html"})

            def do_POST(self) -> None:
                attacker.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(b"", {})
                attacker.done.set()

            def _answer(self, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(200)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None: ...

        class Open(Pages):
            def do_GET(self) -> None:
                attacker.reached.append(f"{self.command} {self.path}")
                cors = {f"Access-Control-Allow-{each}": "*" for each in ("Origin", "Headers", "Methods")}
                self._answer(SECRET.encode(), cors)

            do_POST = do_PUT = do_OPTIONS = do_GET

        self.pages, self.open = (ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (Pages, Open))

    def __enter__(self) -> Attacker:
        for server in (self.pages, self.open):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.pages, self.open):
            server.shutdown()
            server.server_close()


def test_a_web_page_gets_nothing(victim: EmbeddedAws, tmp_path: Path) -> None:
    with Attacker() as attacker:
        wanted = {
            "attacks": {name: [method, path, headers, body.decode()] for name, (method, path, headers, body)
                        in ATTACKS.items() if method != "OPTIONS"},
            "targets": {"the open server": f"http://127.0.0.1:{attacker.open.server_port}",
                        "the embedded AWS": victim.endpoint},
        }  # fmt: skip
        page = f"http://evil.example:{attacker.pages.server_port}/#{urllib.parse.quote(json.dumps(wanted))}"
        with browser(tmp_path, page, "--remote-debugging-port=0"):
            assert attacker.done.wait(150), "the page did not report"
        report = attacker.report or {}
        # The attacks are real: where nothing protects a server, the page reads all of it.
        assert len(attacker.reached) >= 2 * len(wanted["attacks"]) - 2
        assert sum(said.startswith("read: ") for name, said in report.items() if name.startswith("the open")) >= 12
        read = {name: said for name, said in report.items() if name.startswith("the embedded") and "read: " in said}
        assert read == {}
        assert sum(name.startswith("the embedded") for name in report) >= 30


@pytest.mark.parametrize(
    "path", ["/_ministack/sqs/messages", "/_ministack/health", "/?Action=ListUsers", "/v2/_catalog"]
)
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(victim: EmbeddedAws, tmp_path: Path, path: str) -> None:
    port = victim.registry_host.partition(":")[2]
    with browser(tmp_path, f"http://rebound.example:{port}{path}", "--dump-dom") as process:
        shown = process.communicate(timeout=90)[0]
    assert "the Host header is not that of this embedded AWS" in shown
    assert SECRET not in shown


OTHER_USER = """
import http.client, json, os, sys
place = json.loads(sys.argv[1])
said = {}

def attempt(name, action):
    try:
        said[name] = action()
    except OSError as error:
        said[name] = "refused: " + type(error).__name__

def ask(method, path, headers, body):
    connection = http.client.HTTPConnection("127.0.0.1", place["port"], timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return [answer.status, answer.read().decode(errors="replace")]

for name, (method, path, headers, body) in place["attacks"].items():
    attempt(name, lambda: ask(method, path, headers, body))
for path in place["files"]:
    attempt(path, lambda: str(os.listdir(path)) if os.path.isdir(path) else open(path).read())
for port in place["ports"]:
    def take():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        return connection.getresponse().status
    attempt(f"port {port}", take)
said["user"] = os.getuid()
print(json.dumps(said))
"""


def test_another_user_gets_nothing(victim: EmbeddedAws) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        missing("only root can start a program as another user, with setpriv")
    state = read_state(victim.folder)
    assert state is not None
    everything = [state.pid, *descendants(state.pid)]
    names = ("", "root.json", "local.json", "state", "host.log", "images")
    files = [str(victim.folder / name) for name in names]
    files += [f"/proc/{pid}/{name}" for pid in everything for name in ("environ", "fd", "root/tmp", "mem")]
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = {int(line[1].partition(":")[2], 16) for line in listening if line[3] == "0A" and "0100007F" in line[1]}
    place = {
        "port": int(victim.registry_host.partition(":")[2]), "files": files,
        "ports": [9001, *sorted(ports & _ports_of(everything))],
        "attacks": {name: [method, path, headers, body.decode()] for name, (method, path, headers, body)
                    in ATTACKS.items()},
    }  # fmt: skip
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--", "/usr/bin/python3",
         "-I", "-c", OTHER_USER, json.dumps(place)],
        capture_output=True, text=True, cwd="/", timeout=120, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert said.pop("user") == 65534
    assert {path: said[path] for path in files if not said[path].startswith("refused: ")} == {}
    for name in ATTACKS:
        status, text = said[name]
        assert status in (400, 401, 403), (name, status)
        assert SECRET not in text
    assert all(
        str(said[f"port {port}"]).startswith("refused") or said[f"port {port}"] == 403 for port in place["ports"]
    )


def _ports_of(processes: list[int]) -> set[int]:
    """The ports that processes listen on, of this machine's network."""
    inodes = set()
    for pid in processes:
        with contextlib.suppress(OSError):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))  # noqa: PTH115
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}
