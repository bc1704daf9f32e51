"""Starting, finding and stopping the local target, also after a process was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.errors import LocalError
from pipeline.core.events import Event, Note
from pipeline.local.host.control import find_local, local_session, start_local, stop_local
from pipeline.local.host_state import read_state
from pipeline.local.processes import children
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, Registry, make_role, runtime_client, tar

HANDLER = """
import os, time, urllib.request
def handle(event, context):
    if "spawn" in event:
        import subprocess
        subprocess.Popen(["sleep", "300"])
    time.sleep(event.get("sleep", 0))
    return os.getpid()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "a folder with spaces"
    yield place
    stop_local(place)


@pytest.fixture(scope="session")
def client_layer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tar(runtime_client(tmp_path_factory.mktemp("client")))


def wait_for(condition: Callable[[], Any], seconds: float = 15) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return found


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for number in found:
        found += children(number)
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def make_function(aws: EmbeddedAws, layer: bytes, name: str = "worker") -> Function:
    uri = Registry(aws, layer).push(name, {"handler.py": HANDLER})
    return Function.create(aws, name, uri, make_role(aws, f"role-{name}"), Timeout=60)


def emulator_of(host: int) -> int:
    return next(
        pid for pid in children(host) if b"pipeline.local.emulator.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_is_found_while_it_runs_and_not_afterwards(folder: Path) -> None:
    assert find_local(folder) is None
    started = start_local(folder)
    assert find_local(folder) == started
    assert EmbeddedAws.of(started).client("sts").get_caller_identity()["Account"] == "000000000000"
    assert stop_local(folder)
    assert find_local(folder) is None
    assert not stop_local(folder)


def test_a_second_start_finds_the_first(folder: Path) -> None:
    assert start_local(folder).pid == start_local(folder).pid


def test_starts_at_the_same_time_make_one(folder: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert len({local.pid for local in threads.map(lambda _: start_local(folder), range(4))}) == 1


def test_outlives_who_started_it(folder: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.local.host.control import start_local;"
        f"start_local(Path({str(folder)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)
    found = find_local(folder)
    assert found is not None
    assert os.getsid(found.pid) != os.getsid(0)


def test_a_session_ends_with_its_block(tmp_path: Path) -> None:
    with local_session(tmp_path) as local:
        family = tree(local.pid)
        assert len(family) >= 2
    assert all(is_gone(pid) for pid in family)


@pytest.mark.at_length
def test_a_session_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from pipeline.local.host.control import local_session\n"
        f"with local_session(Path({str(tmp_path)!r})) as local: print(local.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True
    ) as process:
        assert process.stdout is not None
        family = tree(int(process.stdout.readline()))
        process.kill()
    wait_for(lambda: all(is_gone(pid) for pid in family))


def test_the_port_that_was_asked_for_is_taken(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert start_local(folder, port=port).endpoint == f"http://127.0.0.1:{port}"
    with pytest.raises(LocalError, match="it is already running at"):
        start_local(folder, port=port + 1)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=f"on port {port}: another program uses that port"):
            start_local(folder, port=port)
    assert find_local(folder) is None


def test_comes_back_on_the_same_port(folder: Path) -> None:
    first = start_local(folder)
    stop_local(folder)
    second = start_local(folder)
    assert second.endpoint == first.endpoint
    os.kill(second.pid, signal.SIGKILL)
    wait_for(lambda: find_local(folder) is None)
    assert start_local(folder).endpoint == first.endpoint


@pytest.mark.at_length
def test_state_follows_to_another_port_when_the_old_one_is_taken(folder: Path) -> None:
    first = start_local(folder)
    url = EmbeddedAws.of(first).client("sqs").create_queue(QueueName="parked")["QueueUrl"]
    assert url.startswith(first.endpoint)
    EmbeddedAws.of(first).client("sqs").send_message(QueueUrl=url, MessageBody="kept")
    stop_local(folder)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.endpoint.rpartition(":")[2])))
        other.listen()
        second = start_local(folder)
    assert second.endpoint != first.endpoint
    sqs = EmbeddedAws.of(second).client("sqs")
    moved = sqs.get_queue_url(QueueName="parked")["QueueUrl"]
    assert moved.startswith(second.endpoint)
    assert sqs.receive_message(QueueUrl=moved)["Messages"][0]["Body"] == "kept"


def test_a_state_file_of_a_process_that_is_gone_is_not_believed(folder: Path) -> None:
    started = start_local(folder)
    text = (folder / "local.json").read_text()
    stop_local(folder)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (folder / "local.json").write_text(text.replace(f'"pid": {started.pid}', f'"pid": {stranger.pid}'))
        assert find_local(folder) is None
        assert not stop_local(folder)
        assert stranger.poll() is None
        stranger.kill()
    assert start_local(folder).pid != started.pid


def test_a_state_file_that_is_damaged_is_as_none(folder: Path) -> None:
    folder.mkdir()
    (folder / "local.json").write_text('{"pid": ')
    assert find_local(folder) is None
    assert start_local(folder).pid


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot be written: Not a directory"):
        start_local(tmp_path / "file" / "folder")


def test_a_missing_ministack_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ministack", None)
    with pytest.raises(LocalError, match=r"pip install 'transaction-pipeline\[local\]'"):
        start_local(folder)


def test_another_version_of_ministack_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "packages" / "ministack-9.9.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ministack\nVersion: 9.9\n")
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{about.parent}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(LocalError, match=r"ministack 9\.9 is installed, but this release is made for"):
        start_local(folder)


def test_nothing_listens_beyond_loopback(folder: Path, client_layer: bytes) -> None:
    local = start_local(folder)
    make_function(EmbeddedAws.of(local), client_layer).invoke()
    family = tree(local.pid)
    addresses = listening(family)
    assert len(family) >= 3
    assert f"127.0.0.1:{local.endpoint.rpartition(':')[2]}" in addresses
    assert all(address.startswith("127.0.0.1:") for address in addresses)


def listening(pids: list[int]) -> set[str]:
    """The addresses on which processes wait for connections or datagrams, from the kernel's own tables."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            # 0A is LISTEN; a datagram socket is in state 07 as soon as it is bound.
            if fields[9] in inodes and fields[3] in ("0A", "07"):
                address, _, port = fields[1].partition(":")
                dotted = ".".join(str(int(address[place : place + 2], 16)) for place in (6, 4, 2, 0))
                found.add(f"{dotted if len(address) == 8 else address}:{int(port, 16)}")
    return found


def test_stopping_leaves_nothing(folder: Path, client_layer: bytes) -> None:
    local = start_local(folder)
    function = make_function(EmbeddedAws.of(local), client_layer)
    function.invoke({"spawn": 1})
    with ThreadPoolExecutor() as threads:
        busy = threads.submit(function.invoke, {"sleep": 50})
        family = wait_for(lambda: (found := tree(local.pid)) and len(found) >= 4 and found)
        time.sleep(0.3)
        assert stop_local(folder)
        assert all(is_gone(pid) for pid in family)
        with pytest.raises((ClientError, BotoCoreError)):
            busy.result()
    assert not any((folder / "work").glob("*"))
    assert not [path for path in Path("/tmp").glob("ministack*") if path.stat().st_mtime > time.time() - 60]


def remove(folder: Path) -> None:
    """The host may be writing into it: then the error is "not empty", and a second attempt removes it."""
    wait_for(lambda: shutil.rmtree(folder, ignore_errors=True) or not folder.exists(), 10)


@pytest.mark.at_length
def test_a_host_whose_folder_was_removed_ends_and_leaves_nothing(folder: Path) -> None:
    running = tree(start_local(folder).pid)
    remove(folder)
    wait_for(lambda: all(is_gone(pid) for pid in running), 30)
    assert not folder.exists()


@pytest.mark.at_length
def test_a_host_whose_folder_was_removed_leaves_the_one_that_was_started_next_alone(folder: Path) -> None:
    running = tree(start_local(folder).pid)
    remove(folder)
    again = start_local(folder)
    wait_for(lambda: all(is_gone(pid) for pid in running), 30)
    found = find_local(folder)
    assert found is not None
    assert found.pid == again.pid
    assert EmbeddedAws.of(again).client("sts").get_caller_identity()["Account"]
    assert (folder / "work").is_dir()


@pytest.mark.at_length
def test_a_killed_host_leaves_nothing_and_loses_nothing(folder: Path, client_layer: bytes) -> None:
    local = start_local(folder)
    aws = EmbeddedAws.of(local)
    function = make_function(aws, client_layer)
    function.invoke({"spawn": 1})
    with ThreadPoolExecutor() as threads:
        busy = threads.submit(function.invoke, {"sleep": 50})
        family = wait_for(lambda: (found := tree(local.pid)) and len(found) >= 4 and found)
        time.sleep(0.3)
        os.kill(local.pid, signal.SIGKILL)
        wait_for(lambda: all(is_gone(pid) for pid in family))
        with pytest.raises((ClientError, BotoCoreError)):
            busy.result()
    events: list[Event] = []
    again = start_local(folder, report=events.append)
    assert not again.fresh
    assert not [event for event in events if isinstance(event, Note) and "killed" in event.text]
    assert Function(EmbeddedAws.of(again), function.name).invoke().error is None


@pytest.mark.at_length
def test_a_killed_emulator_ends_the_host_and_the_next_start_says_what_was_lost(
    folder: Path, client_layer: bytes
) -> None:
    start_local(folder)
    stop_local(folder)
    local = start_local(folder)
    make_function(EmbeddedAws.of(local), client_layer)
    family = tree(local.pid)
    os.kill(emulator_of(local.pid), signal.SIGKILL)
    wait_for(lambda: find_local(folder) is None)
    wait_for(lambda: all(is_gone(pid) for pid in family))
    events: list[Event] = []
    start_local(folder, report=events.append)
    assert any(isinstance(event, Note) and "was killed" in event.text for event in events)


def test_state_survives_a_stop(folder: Path, client_layer: bytes) -> None:
    events: list[Event] = []
    local = start_local(folder, report=events.append)
    assert local.fresh
    assert any(isinstance(event, Note) and "starts empty" in event.text for event in events)
    aws = EmbeddedAws.of(local)
    function = make_function(aws, client_layer)
    aws.client("dynamodb").create_table(
        TableName="table", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )  # fmt: skip
    aws.client("dynamodb").put_item(TableName="table", Item={"id": {"S": "one"}, "data": {"B": b"\x00\xff"}})
    stop_local(folder)
    again = EmbeddedAws.of(start_local(folder))
    item = again.client("dynamodb").get_item(TableName="table", Key={"id": {"S": "one"}})["Item"]
    assert item["data"] == {"B": b"\x00\xff"}
    assert Function(again, function.name).invoke().error is None
    # A pull from the registry too, not only from what was unpacked before.
    stop_local(folder)
    for name in ("images", "layers"):
        subprocess.run(["rm", "-r", folder / name], check=True)
    assert Function(EmbeddedAws.of(start_local(folder)), function.name).invoke().error is None


def test_an_execution_in_flight_does_not_keep_it_from_ending_and_saving(folder: Path) -> None:
    aws = EmbeddedAws.of(start_local(folder))
    waiting = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 200, "End": True}}}
    machine = aws.client("stepfunctions").create_state_machine(
        name="slow", type="EXPRESS", definition=json.dumps(waiting),
        roleArn=make_role(aws, "machine", service="states.amazonaws.com"),
    )["stateMachineArn"]  # fmt: skip
    with ThreadPoolExecutor() as threads:
        running = threads.submit(aws.client("stepfunctions").start_sync_execution, stateMachineArn=machine, input="{}")
        time.sleep(0.5)
        assert not running.done()
        started = time.monotonic()
        assert stop_local(folder)
        assert time.monotonic() - started < 15
        with pytest.raises((ClientError, BotoCoreError)):
            running.result()
    events: list[Event] = []
    again = EmbeddedAws.of(start_local(folder, report=events.append))
    assert again.client("stepfunctions").describe_state_machine(stateMachineArn=machine)["name"] == "slow"
    assert not [event for event in events if isinstance(event, Note) and "killed" in event.text]


def test_the_state_file_is_for_its_owner_only(folder: Path) -> None:
    start_local(folder)
    assert (folder / "local.json").stat().st_mode & 0o077 == 0
    state = read_state(folder)
    assert state is not None
    assert state.alive


def test_finding_is_fast(folder: Path) -> None:
    start_local(folder)
    taken = []
    for _ in range(100):
        started = time.perf_counter()
        find_local(folder)
        taken.append(time.perf_counter() - started)
    assert statistics.median(taken) < 0.005
