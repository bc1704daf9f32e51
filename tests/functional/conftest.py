"""The embedded AWS for tests: one emulator per test process, on a free port of loopback, with IAM enforced."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from pipeline.local.emulator import environment

REGION = "us-east-1"


@dataclass(frozen=True)
class EmbeddedAws:
    """A running emulator. ``access_key_id`` and ``secret_access_key`` are the account root's."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    folder: Path
    region: str = REGION
    account: str = "000000000000"

    @property
    def registry_host(self) -> str:
        """``127.0.0.1:PORT``, where the registry's HTTP API answers."""
        return self.endpoint.removeprefix("http://")

    def client(self, service: str, **more: Any) -> Any:
        """A boto3 client of the account root; keywords of ``boto3.client`` replace the defaults."""
        settings = {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            # The emulator answers StartSyncExecution on its one host name.
            "config": Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        }
        return boto3.client(service, **(settings | more))


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    folder = tmp_path_factory.mktemp("embedded aws")
    (folder / "tmp").mkdir()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        variables = environment(folder, port=port, region=REGION, access_key_id="test", secret_access_key="test")
        with (folder / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.local.emulator", "--socket", str(listener.fileno())],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=variables, pass_fds=[listener.fileno()],
            )  # fmt: skip
    aws = EmbeddedAws(f"http://127.0.0.1:{port}", "test", "test", folder)
    try:
        _wait(aws, process)
        yield aws
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def _wait(aws: EmbeddedAws, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{aws.endpoint}/_ministack/health", timeout=30) as answer:
                json.load(answer)
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the emulator did not start:\n{(aws.folder / 'emulator.log').read_text()}{os.linesep}")
