"""docker compose brings up the pipeline from the Dockerfiles, confined like Lambda, and leaves nothing."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config

from cfn.workflow.limits import HISTORY_ENTRIES, HISTORY_SECONDS
from pipeline.assembly.dependencies.installation import read_lock
from pipeline.assembly.model import PythonVersion
from pipeline.assembly.sources import find_sources
from pipeline.engine.connection import is_podman
from pipeline.local.containers.compose_context import (
    ROOT_KEY,
    locked_closure,
    prepare_contexts,
    read_variables,
    write_variables,
)
from pipeline.local.containers.rie import read_answer
from pipeline.local.host_state import new_root_key
from pipeline.local.invocation import Status
from pipeline.oci.blobs import BlobStore
from tests.containers.conftest import PYTHON, ROOT, missing

FILE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(FILE)["services"]
SOURCES = {source.name: source for source in find_sources(ROOT / "images")}
_NUMBERS = itertools.count(1)
TRANSACTION = {"amount": 100, "currency": "USD", "merchant_id": "m-1", "customer_id": "c-1"}


# --- the file ------------------------------------------------------------------------------------------------------


def test_every_function_is_a_service_with_the_limits_of_its_function_toml() -> None:
    assert set(SERVICES) - {"aws", "deploy"} == set(SOURCES)
    for name, source in SOURCES.items():
        service, variables = SERVICES[name], SERVICES[name]["environment"]
        assert service["mem_limit"] == f"{source.definition.memory}m"
        assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == str(source.definition.memory)
        assert variables["AWS_LAMBDA_FUNCTION_TIMEOUT"] == str(source.definition.timeout)
        assert ("TABLE_NAME" in variables) == any("state-table" in call.resource for call in source.definition.calls)
        wired = f"--function={name}-${{ENVIRONMENT:-dev}}=http://{name}:8080"
        assert wired in SERVICES["aws"]["command"]


@pytest.mark.parametrize("name", SOURCES)
def test_no_function_has_credentials(name: str) -> None:
    """Its emulator answers anyone on 127.0.0.1, so it must not be able to do more than its code."""
    assert not SOURCES[name].definition.calls
    assert not [each for each in SERVICES[name]["environment"] if "KEY" in each or "ENDPOINT" in each]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not re.match(r"(0|root)(:|$)", service["user"])
    assert "mem_limit" in service
    assert not {"privileged", "volumes", "network_mode", "pid", "cap_add", "devices"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_engine_is_out_of_reach() -> None:
    assert "docker.sock" not in FILE


def test_the_defaults_in_the_file_are_those_of_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE))
    # Contexts have no default: without .env they were not made.
    assert used == {(name, value) for name, value in read_variables(ROOT, ROOT / ".env.example").items() if
                    name not in ("BASE_PYTHON", "CONTEXTS")}  # fmt: skip


def test_the_key_of_the_embedded_aws_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env.example", tmp_path)
    written = write_variables(tmp_path)
    assert written is not None
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    first = read_variables(tmp_path)
    assert all(len(first[name]) >= 20 for name in ROOT_KEY)
    assert write_variables(tmp_path) is None
    # A file of an earlier version gets the key and keeps the rest.
    written.write_text("AWS_PORT=4999\n")
    write_variables(tmp_path)
    again = read_variables(tmp_path)
    assert again["AWS_PORT"] == "4999"
    assert again[ROOT_KEY[1]] != first[ROOT_KEY[1]]


def test_only_what_the_service_imports_is_installed_and_all_that_it_needs() -> None:
    lock = read_lock(ROOT / "requirements.lock")
    lines = locked_closure(lock, ["boto3", "ministack"], PythonVersion(3, 13))
    names = {line.partition("==")[0] for line in lines}
    assert {"boto3", "botocore", "jmespath", "python-dateutil", "six", "ministack", "hypercorn", "h11"} <= names
    assert not {"pytest", "mypy", "cfn-lint", "docker", "uv"} & names
    assert all("--hash=sha256:" in line for line in lines)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"valid": true}', Status.OK),
        (200, b'"errorType"', Status.OK),
        (200, b'{"errorType": "x", "errorMessage": "y", "mine": 1}', Status.OK),
        (200, b'{"errorType": "ValueError", "errorMessage": "y", "stackTrace": []}', Status.ERROR),
        (200, b"Task timed out after 2.00 seconds", Status.ERROR),
        (502, b'{"errorType": "Runtime.ExitError", "errorMessage": "exit status 3"}', Status.ERROR),
    ],
)
def test_what_the_emulator_leaves_out_is_told_apart(status: int, body: bytes, expected: Status) -> None:
    assert read_answer(status, body).status is expected


# --- the real thing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compose:
    """A project of its own, on free ports."""

    command: tuple[str, ...]
    variables: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, "--file", str(ROOT / "docker-compose.yml"), *arguments],
            env=os.environ | self.variables, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def invoke(self, port: str, event: Any) -> Any:
        url = f"http://127.0.0.1:{self.variables[port]}/2015-03-31/functions/function/invocations"
        with urllib.request.urlopen(url, data=json.dumps(event).encode(), timeout=30) as answer:
            return json.loads(answer.read())

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=f"http://127.0.0.1:{self.variables['AWS_PORT']}", region_name="us-east-1",
            aws_access_key_id=self.variables[ROOT_KEY[0]], aws_secret_access_key=self.variables[ROOT_KEY[1]],
            config=Config(inject_host_prefix=False),
        )  # fmt: skip

    def submit(self, **more: Any) -> Any:
        """An answered transaction, from this machine through the workflow to the containers and back."""
        client = self.client("stepfunctions")
        (machine,) = client.list_state_machines()["stateMachines"]
        event = {"transaction_id": f"compose-{next(_NUMBERS)}", **TRANSACTION, **more}
        done = client.start_sync_execution(stateMachineArn=machine["stateMachineArn"], input=json.dumps(event))
        assert done["status"] == "SUCCEEDED", done
        return json.loads(done["output"])


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [str(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def compose_command() -> tuple[str, ...]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose") is None:
        missing("docker compose is not installed")
    return ("docker-compose",)


@pytest.fixture(scope="module")
def compose(
    engine: Any, docker_host: str, base: str, store: BlobStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compose]:
    if is_podman(engine):
        pytest.skip("Podman runs health checks by systemd alone, and compose waits for them")
    if shutil.which("docker") is None:
        missing("the docker command is not installed")
    key = new_root_key()
    names = ("AWS_PORT", "VALIDATION_PORT", "FRAUD_PORT", "COMPLIANCE_PORT")
    variables = read_variables(ROOT, ROOT / ".env.example") | dict(zip(names, free_ports(4), strict=True))
    variables |= {
        "COMPOSE_PROJECT_NAME": f"test{os.getpid()}", "BASE_IMAGE": base, "BASE_PYTHON": str(PYTHON),
        "ARCHITECTURE": engine.inspect_image(base)["Architecture"],
        "CONTEXTS": str(tmp_path_factory.mktemp("contexts")), "DOCKER_HOST": docker_host,
        ROOT_KEY[0]: key.access_key_id, ROOT_KEY[1]: key.secret_access_key,
    }  # fmt: skip
    prepare_contexts(ROOT, variables, store)
    compose = Compose(compose_command(), variables)
    try:
        compose.run("up", "--build", "--detach")
        found = engine.containers(all=True, filters={"label": "com.docker.compose.service=deploy", "name": "deploy"})
        (deploy,) = (each["Id"] for each in found if variables["COMPOSE_PROJECT_NAME"] in each["Names"][0])
        assert engine.wait(deploy, timeout=60)["StatusCode"] == 0, engine.logs(deploy).decode()
        assert "docker compose run --rm deploy bootstrap.py status" in engine.logs(deploy).decode()
        yield compose
    finally:
        compose.run("down", "--volumes", "--rmi", "all", "--remove-orphans")
    label = {"label": f"com.docker.compose.project={variables['COMPOSE_PROJECT_NAME']}"}
    assert engine.containers(all=True, filters=label) == []
    assert engine.networks(filters=label) == []
    assert engine.volumes(filters=label)["Volumes"] in ([], None)


def test_a_transaction_from_this_machine_is_answered_by_the_containers(compose: Compose) -> None:
    assert compose.submit()["outcome"] == "APPROVED"
    rejected = compose.submit(currency="XXQ")
    assert rejected["outcome"] == "REJECTED"
    for service in ("transaction-validation", "fraud-detection", "compliance-checking"):
        assert "START RequestId" in compose.run("logs", service).stdout


@pytest.mark.any_engine
def test_twenty_transactions_at_once_are_answered_although_an_emulator_takes_one(compose: Compose) -> None:
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda number: compose.submit(customer_id=f"many-{number}"), range(20)))
    assert [answer["outcome"] for answer in answers] == ["APPROVED"] * 20, answers


@pytest.mark.any_engine
@pytest.mark.parametrize("port", ["VALIDATION_PORT", "FRAUD_PORT", "COMPLIANCE_PORT"])
def test_each_function_answers_alone(compose: Compose, port: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    event = {"transaction": {"transaction_id": "t", **TRANSACTION}, "received_at": now, "execution": "e"}
    valid = compose.invoke("VALIDATION_PORT", event)
    assert valid["valid"] is True
    since = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - HISTORY_SECONDS))
    until = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + HISTORY_SECONDS + 1))
    history = {"since": since, "until": until, "limit": HISTORY_ENTRIES, "transactions": []}
    answer = compose.invoke(port, event | {"transaction": valid["transaction"], "history": history})
    assert {"valid", "score", "compliant"} & set(answer)


@pytest.mark.any_engine
def test_the_command_line_works_on_it(compose: Compose) -> None:
    own = os.environ | compose.variables
    own |= {"TRANSACTION_PIPELINE_ENDPOINT": f"http://127.0.0.1:{compose.variables['AWS_PORT']}"}
    done = subprocess.run(
        [ROOT / ".venv/bin/python", ROOT / "bootstrap.py", "submit", "--json",
         json.dumps({"transaction_id": f"compose-{next(_NUMBERS)}", **TRANSACTION})],
        env=own, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] in ("APPROVED", "REVIEW")


def test_containers_run_as_lambda_runs_them(compose: Compose, engine: Any) -> None:
    label = {"label": f"com.docker.compose.project={compose.variables['COMPOSE_PROJECT_NAME']}"}
    found = [engine.inspect_container(each["Id"]) for each in engine.containers(filters=label)]
    assert len(found) == 4
    for container in found:
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert container["HostConfig"]["Privileged"] is False
        assert container["Config"]["User"] not in ("", "0", "root")
        assert container["State"]["Health"]["Status"] == "healthy"
        bound = [port["HostIp"] for ports in container["NetworkSettings"]["Ports"].values() for port in ports or ()]
        assert set(bound) == {"127.0.0.1"}


def test_up_straight_after_a_clone_says_what_comes_first(compose: Compose, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    done = subprocess.run([*compose.command, "up"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "first run make compose-context" in done.stderr


def test_a_taken_port_is_said_and_nothing_is_left(compose: Compose, engine: Any) -> None:
    other = Compose(compose.command, compose.variables | {"COMPOSE_PROJECT_NAME": f"other{os.getpid()}"})
    try:
        done = other.run("up", "--detach", "aws", check=False)
        assert done.returncode != 0
        assert "port is already allocated" in done.stdout + done.stderr
    finally:
        other.run("down", "--volumes", "--rmi", "all", "--remove-orphans")
    label = {"label": f"com.docker.compose.project=other{os.getpid()}"}
    assert engine.containers(all=True, filters=label) == []
