"""Functions of the process runtime are kept apart from this machine, from each other, and from impostors."""

from __future__ import annotations

import ast
import contextlib
import http.client
import itertools
import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.local.host.control import LocalAws, local_session
from pipeline.local.host_state import read_state
from pipeline.local.processes import descendants
from pipeline.local.runtime.command import interpreter
from pipeline.local.runtime.sandbox import GROUP, USER, find_isolation
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, Registry, make_role, runtime_client, tar

# What a function that was broken into would look for. Each gives what it found, or the name of the error.
HANDLER = """
import ctypes, os, signal, socket, tempfile, urllib.error, urllib.request

def attempt(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__ + ": " + (error.strerror or str(error))

def connect(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return "connected"

def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code

def write(path):
    with open(path, "w") as file:
        file.write("x")
    return "written"

def processes():
    names = [name for name in os.listdir("/proc") if name.isdigit()]
    return {int(name): attempt(lambda: open(f"/proc/{name}/cmdline").read()) for name in names}

def handle(event, context):
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    found = {
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "capabilities": [status["CapEff"], status["CapPrm"], status["CapBnd"], status["NoNewPrivs"]],
        "read": {path: attempt(lambda: str(os.listdir(path) if os.path.isdir(path) else open(path).read(20)))
                 for path in event.get("read", ())},
        "write": {path: attempt(lambda: write(path)) for path in event.get("write", ())},
        "connect": {port: attempt(lambda: connect(port)) for port in event.get("connect", ())},
        "next": {port: attempt(lambda: ask(f"http://127.0.0.1:{port}/2018-06-01/runtime/invocation/next"))
                 for port in event.get("next", ())},
        "aws": attempt(lambda: ask(os.environ["AWS_ENDPOINT_URL"])),
        "api": os.environ["AWS_LAMBDA_RUNTIME_API"],
        "outside": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "kill": {pid: attempt(lambda: os.kill(pid, signal.SIGKILL)) for pid in event.get("kill", ())},
        "processes": processes(),
        "environment": sorted(os.environ),
        "temporary": [os.environ["TMPDIR"], os.listdir(tempfile.gettempdir()), os.statvfs("/tmp").f_blocks
                      * os.statvfs("/tmp").f_frsize],
        "root": sorted(os.listdir("/")),
    }
    if "leave" in event:
        write(os.path.join(tempfile.gettempdir(), event["leave"]))
    return found
"""
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def client_layer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tar(runtime_client(tmp_path_factory.mktemp("client")))


def maker(aws: EmbeddedAws, client_layer: bytes) -> Callable[..., Function]:
    registry, role = Registry(aws, client_layer), make_role(aws, "isolation")

    def make() -> Function:
        name = f"isolated-{next(_NUMBERS)}"
        return Function.create(aws, name, registry.push(name, {"handler.py": HANDLER}), role, Timeout=20)

    return make


@pytest.fixture(scope="module")
def sandboxed(embedded_aws: EmbeddedAws) -> EmbeddedAws:
    if find_isolation().sandbox is None:
        if os.environ.get("REQUIRE_EVERYTHING") == "1":
            pytest.fail(find_isolation().text)
        pytest.skip(find_isolation().text)
    return embedded_aws


@pytest.fixture(scope="module")
def make(sandboxed: EmbeddedAws, client_layer: bytes) -> Callable[..., Function]:
    return maker(sandboxed, client_layer)


def host_of(aws: EmbeddedAws) -> int:
    state = read_state(aws.folder)
    assert state is not None
    return state.pid


def test_the_start_says_what_keeps_functions_apart(sandboxed: EmbeddedAws) -> None:
    state = read_state(sandboxed.folder)
    assert state is not None
    assert state.isolation.startswith("each worker runs in its own sandbox (bubblewrap ")


def test_runs_as_lambdas_user_without_any_privilege(make: Callable[..., Function]) -> None:
    found = make().invoke().payload
    user, group, groups = found["user"]
    assert (set(user), set(group)) == ({USER}, {GROUP})
    if os.geteuid() == 0:
        assert groups == []
    assert found["capabilities"][:2] == ["0" * 16, "0" * 16]
    assert found["capabilities"][3] == "1"


def test_runs_as_another_user_of_this_machine_where_root_starts_it(
    make: Callable[..., Function], sandboxed: EmbeddedAws
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of other users")
    make().invoke()
    clients = [
        pid for pid in descendants(host_of(sandboxed))
        if b"awslambdaric" in Path(f"/proc/{pid}/cmdline").read_bytes() and Path(f"/proc/{pid}").stat().st_uid != 0
    ]  # fmt: skip
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in clients} == {USER}


def test_sees_no_file_of_this_machines_users_nor_of_the_embedded_aws(
    make: Callable[..., Function], sandboxed: EmbeddedAws
) -> None:
    secret = sandboxed.folder / "root.json"
    places = [str(secret), str(sandboxed.folder), str(Path.home() / ".aws"), str(Path.cwd()), "/etc/shadow"]
    places += ["/etc/passwd", "/var/log", f"/proc/{host_of(sandboxed)}/environ", f"/proc/1/root{secret}", "/sys"]
    assert secret.exists()
    found = make().invoke({"read": places}).payload
    assert {path: said for path, said in found["read"].items() if "Error" not in said} == {}
    assert not {"home", "mnt", "srv", "sys"} & set(found["root"])


def test_only_its_own_tmp_can_be_written(make: Callable[..., Function]) -> None:
    read_only = ["/var/task/own", "/var/task/handler.py", "/usr/own", "/own", "/run/own", "/var/own"]
    found = make().invoke({"write": [*read_only, "/tmp/own"]}).payload["write"]
    assert found.pop("/tmp/own") == "written"
    assert all("Read-only file system" in said or "PermissionError" in said for said in found.values()), found
    assert "Read-only file system" in found["/var/task/own"]


def test_each_worker_has_a_tmp_of_its_own(make: Callable[..., Function], tmp_path: Path) -> None:
    one, other = make(), make()
    one.invoke({"leave": "a secret"})
    folder, names, size = one.invoke().payload["temporary"]
    assert (folder, names) == ("/tmp", ["a secret"])
    assert size == 512 << 20
    assert other.invoke().payload["temporary"][1] == []
    assert str(tmp_path).split("/")[2] not in names


def test_sees_and_ends_no_other_process(make: Callable[..., Function], sandboxed: EmbeddedAws) -> None:
    one, other = make(), make()
    one.invoke()
    found = other.invoke({"kill": [host_of(sandboxed)]}).payload
    assert "ProcessLookupError" in found["kill"][str(host_of(sandboxed))]
    assert len(found["processes"]) == 2  # the sandbox's own first process, and the function
    assert sum("awslambdaric" in command for command in found["processes"].values()) <= 2
    assert one.invoke().error is None


def test_reaches_the_embedded_aws_and_its_runtime_api_alone(
    make: Callable[..., Function], sandboxed: EmbeddedAws
) -> None:
    aws = int(sandboxed.registry_host.partition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        found = make().invoke({"connect": [port, aws, 22, 631]}).payload
    assert found["aws"] == 403  # it answers, and asks for a signature
    assert found["connect"].pop(str(aws)) == "connected"
    assert all("refused" in said for said in found["connect"].values()), found["connect"]
    assert "unreachable" in found["outside"]
    assert found["interfaces"] == ["lo"]
    assert found["api"] == "127.0.0.1:9001"


def test_a_function_knows_nothing_of_the_host(make: Callable[..., Function], sandboxed: EmbeddedAws) -> None:
    found = make().invoke().payload
    assert not {"PWD", "TRANSACTION_PIPELINE_FOLDER", "LOCAL_TOKEN"} & set(found["environment"])


def test_the_runtime_api_of_a_sandbox_cannot_be_reached_from_this_machine(
    make: Callable[..., Function], sandboxed: EmbeddedAws
) -> None:
    make().invoke()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 9001), 1)
    host = host_of(sandboxed)
    assert runtime_api_ports(host) == set()


def test_the_sandbox_of_a_user_without_privileges_is_as_closed(sandboxed: EmbeddedAws) -> None:
    sandbox = find_isolation().sandbox
    assert sandbox is not None
    code = """
import os
said = [os.getuid(), os.getgid(), sorted(os.listdir("/"))]
for path in ("/own", "/run/own", "/usr/own", "/tmp/own"):
    try:
        open(path, "w").close()
        said.append("written")
    except OSError as error:
        said.append(type(error).__name__)
print(said)
"""
    arguments = replace(sandbox, setpriv="").wrap(None, "/", [interpreter(), "-S", "-c", code])
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    if "No permissions to create" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this kernel gives no user namespaces")
    user, group, root, *written = ast.literal_eval(done.stdout)
    assert (user, group) == (USER, GROUP)
    assert not {"home", "mnt", "srv", "sys", "boot"} & set(root)
    assert written == ["OSError", "OSError", "OSError", "written"]


@pytest.fixture(scope="module")
def without_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """An embedded AWS that finds no bubblewrap."""
    programs = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs))
        with local_session(tmp_path_factory.mktemp("local")) as local:
            yield local


def test_without_a_sandbox_the_start_says_so_and_what_to_do(without_sandbox: LocalAws) -> None:
    assert "without a sandbox" in without_sandbox.isolation
    assert "bubblewrap is not installed" in without_sandbox.isolation
    assert "apt-get install bubblewrap" in without_sandbox.unsafe


@pytest.fixture(scope="module")
def make_plain(without_sandbox: LocalAws, client_layer: bytes) -> Callable[..., Function]:
    return maker(EmbeddedAws.of(without_sandbox), client_layer)


def runtime_api_ports(host: int) -> set[int]:
    """The ports that a host without sandboxes listens on for its workers."""
    inodes = set()
    for each in Path(f"/proc/{host}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))  # noqa: PTH115
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/2018-06-01/runtime/invocation/next", b""),
        ("POST", "/2018-06-01/runtime/invocation/1/response", b"{}"),
        ("POST", "/2018-06-01/runtime/init/error", b"{}"),
    ],
)
def test_without_a_sandbox_a_runtime_api_answers_its_own_worker_alone(
    without_sandbox: LocalAws, make_plain: Callable[..., Function], method: str, path: str, body: bytes
) -> None:
    function = make_plain()
    assert function.invoke().error is None
    ports = runtime_api_ports(without_sandbox.pid)
    assert ports
    for port in ports:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(ConnectionError):  # or the answer is missed
            connection.request(method, path, body)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            connection.getresponse()
        connection.close()
    # Nor another worker of the same host.
    said = make_plain().invoke({"next": sorted(ports)}).payload["next"]
    assert set(said) == {str(port) for port in ports}
    assert all(re.match(r"\w*(Error|RemoteDisconnected): ", each) for each in said.values()), said
    assert function.invoke().error is None


def test_without_a_sandbox_files_of_the_host_are_private_at_least(without_sandbox: LocalAws) -> None:
    assert stat.S_IMODE(without_sandbox.folder.stat().st_mode) == 0o700
    assert shutil.which("bwrap") is None or find_isolation() is not None
