"""What leaves the machine and what is written down: nothing listens beyond loopback, and no log tells a payload."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.deployed import CARD_NUMBER, PERSONAL, ROOT, Deployed

LISTEN, UNCONNECTED = "0A", "07"


def cloudwatch_logs(deployed: Deployed) -> dict[str, str]:
    """Log group → everything in it."""
    client = deployed.aws.client("logs")
    return {
        group["logGroupName"]: "\n".join(
            event["message"]
            for stream in client.describe_log_streams(logGroupName=group["logGroupName"])["logStreams"]
            for event in client.get_log_events(
                logGroupName=group["logGroupName"], logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        )
        for group in client.describe_log_groups()["logGroups"]
    }


@pytest.fixture(scope="module")
def written(deployed: Deployed) -> dict[str, str]:
    """Everything that a run wrote down, by where."""
    found = {f"CloudWatch {name}": text for name, text in cloudwatch_logs(deployed).items()}
    found |= {path.name: path.read_text(errors="replace") for path in deployed.local.folder.glob("*.log")}
    found["progress and results"] = "\n".join(deployed.said)
    transaction = {"transaction_id": "told-9", "currency": "USD", **PERSONAL, "pan": CARD_NUMBER}
    run = subprocess.run(
        [sys.executable, ROOT / "bootstrap.py", "submit", json.dumps(transaction)],
        capture_output=True, text=True, env={**os.environ, "HOME": str(deployed.root)}, timeout=60,
    )  # fmt: skip
    assert "REJECTED" in run.stdout, run.stderr
    found["bootstrap.py"] = run.stdout + run.stderr
    return found


def test_functions_do_write_logs(written: dict[str, str]) -> None:
    for function in ("transaction-validation", "fraud-detection", "compliance-checking"):
        assert "told-1" in written[f"CloudWatch {function}-dev"]
    assert {"emulator.log", "host.log"} <= set(written)


@pytest.mark.parametrize("field", [*PERSONAL, "pan"])
def test_no_log_has_a_field_of_a_transaction(written: dict[str, str], field: str) -> None:
    value = CARD_NUMBER if field == "pan" else PERSONAL[field]
    assert [where for where, text in written.items() if value in text] == []


def test_no_log_has_a_secret(deployed: Deployed, written: dict[str, str]) -> None:
    # The embedded AWS's own root key is a constant that everybody knows; sessions and signatures are not.
    secrets = re.compile(
        r"aws_session_token|x-amz-security-token|authorization: |Signature=|\bASIA[A-Z0-9]{16}\b|password",
        re.IGNORECASE,
    )
    assert {where: found[0] for where, text in written.items() if (found := secrets.findall(text))} == {}


def test_the_state_machine_logs_no_execution_data(deployed: Deployed) -> None:
    template = deployed.aws.client("cloudformation").get_template(StackName="transaction-pipeline-dev")["TemplateBody"]
    document = template if isinstance(template, dict) else json.loads(template)
    machine = document["Resources"]["StateMachine"]["Properties"]
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_the_file_with_the_credentials_is_its_owners_alone(deployed: Deployed) -> None:
    for path in (deployed.local.folder, deployed.local.folder / "local.json"):
        mode = path.stat().st_mode
        # The files in a folder that no other user may enter are protected.
        if stat.S_ISDIR(mode) and not mode & 0o077:
            return
    assert not mode & 0o077, oct(mode)


def processes(root: int) -> set[int]:
    """A process and everything that it started, and what those started."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        # The command's name is in parentheses and may have any character.
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(status.parent.name))
    found, waiting = set(), [root]
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting += children.get(process, [])
    return found


def sockets(pids: set[int]) -> set[str]:
    """The inodes of the sockets that processes hold."""
    found = set()
    for pid in pids:
        try:
            descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if match := re.fullmatch(r"socket:\[(\d+)\]", target):
                found.add(match[1])
    return found


def listening(inodes: set[str]) -> Iterator[tuple[str, ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """(protocol, address, port) of every socket of ``inodes`` that takes something from outside."""
    for protocol, state in (("tcp", LISTEN), ("tcp6", LISTEN), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)):
        table = Path(f"/proc/net/{protocol}")
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in inodes:
                host, port = fields[1].split(":")
                # The kernel writes each group of four bytes in the machine's own order.
                raw = bytes.fromhex(host)
                groups = [
                    int.from_bytes(raw[i : i + 4], sys.byteorder).to_bytes(4, "big") for i in range(0, len(raw), 4)
                ]
                yield protocol, ipaddress.ip_address(b"".join(groups)), int(port, 16)


def test_nothing_listens_beyond_loopback(deployed: Deployed) -> None:
    pids = processes(deployed.local.pid)
    assert len(pids) > 3, "the emulator and its workers run"
    found = list(listening(sockets(pids)))
    assert int(deployed.local.endpoint.rpartition(":")[2]) in {port for _, _, port in found}
    assert [each for each in found if not each[1].is_loopback] == []


def test_that_look_sees_a_socket_that_listens_everywhere() -> None:
    import socket

    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]
        found = list(listening(sockets({os.getpid()})))
    assert ("tcp", ipaddress.ip_address("0.0.0.0"), port) in found
