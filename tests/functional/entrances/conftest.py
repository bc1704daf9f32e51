"""An environment with all entrances, deployed once on the shared embedded AWS."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project
from tests.functional.signed_requests import request

ENVIRONMENT = "doors"
# A load that a busy machine carries, too: two batches of the queue at a time.
SETTINGS = f"""
[project]
workflow = "transactions"

[environments.{ENVIRONMENT}]
entrances = ["http", "queue", "files"]
transactions_per_minute = 600
reserved_concurrency = 50
"""


@dataclass(frozen=True)
class Entrances:
    """The environment: its project and the outputs of its pipeline stack."""

    project: Project
    outputs: Mapping[str, str]

    @property
    def aws(self) -> EmbeddedAws:
        return self.project.aws

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        """A signed request to the API; gives the parsed body."""
        status, lines, content = request(self.aws, method, f"{self.outputs['ApiUrl']}{path}", body, headers)
        return status, lines, json.loads(content) if content else None

    def submit(self, document: Any, **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """``POST /transactions``. Underscores in names of headers become hyphens."""
        lines = {"Content-Type": "application/json"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.send("POST", "/transactions", body, lines)

    def record(self, transaction_id: str) -> Mapping[str, Any]:
        """The attributes of a transaction's record as plain values; {} without one."""
        item = self.aws.client("dynamodb").get_item(
            TableName=self.outputs["StateTableName"], Key={"transaction_id": {"S": transaction_id}}, ConsistentRead=True
        )
        return {name: next(iter(value.values())) for name, value in item.get("Item", {}).items()}

    def decided(self, transaction_id: str, seconds: float = 30) -> Mapping[str, Any]:
        """The record once it has an answer. AssertionError if it has none in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (record := self.record(transaction_id)).get("status") == "DECIDED":
                return record
            time.sleep(0.1)
        raise AssertionError(f"{transaction_id} has no answer after {seconds} s: {self.record(transaction_id)}")


def new_project(folder: Path, embedded_aws: EmbeddedAws) -> Project:
    """A project with the functions of this one."""
    shutil.copytree(ROOT / "images", folder / "images", ignore=shutil.ignore_patterns("__pycache__"))
    return Project(folder, embedded_aws)


def deploy(project: Project, environment: str, *options: str) -> Entrances:
    project.run("up", "-e", environment, *options)
    stacks = project.aws.client("cloudformation").describe_stacks(StackName=f"transaction-pipeline-{environment}")
    return Entrances(project, {each["OutputKey"]: each["OutputValue"] for each in stacks["Stacks"][0]["Outputs"]})


@pytest.fixture(scope="session")
def entrances(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entrances]:
    project = new_project(tmp_path_factory.mktemp("entrances"), embedded_aws)
    project.write("environments.toml", SETTINGS)
    yield deploy(project, ENVIRONMENT)
    project.run("down", "-e", ENVIRONMENT, "--yes", code=(0, 1))


def transaction(transaction_id: str, **changes: Any) -> dict[str, Any]:
    """A transaction that is approved."""
    return {
        "transaction_id": transaction_id,
        "amount": "10.00",
        "currency": "USD",
        "merchant_id": "m-1",
        "customer_id": f"customer-of-{transaction_id}",
    } | changes
