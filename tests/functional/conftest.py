"""The embedded AWS for tests: one per test process, on a free port of loopback, with IAM enforced.

It has the process runtime, so functions whose images are pushed run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from pipeline.local.host.control import LocalAws, local_session

if TYPE_CHECKING:
    from tests.functional.deployed import Deployed


@dataclass(frozen=True)
class EmbeddedAws:
    """A running emulator. The access key is the account root's, ``token`` the host's own."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    folder: Path
    token: str
    region: str = "us-east-1"
    account: str = "000000000000"

    @classmethod
    def of(cls, local: LocalAws) -> EmbeddedAws:
        key, secret = local.access_key_id, local.secret_access_key
        return cls(local.endpoint, key, secret, local.folder, local.token, local.region)

    @property
    def registry_host(self) -> str:
        """``127.0.0.1:PORT``, where the registry's HTTP API answers."""
        return self.endpoint.removeprefix("http://")

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a command that is to use this embedded AWS."""
        return {
            "TRANSACTION_PIPELINE_ENDPOINT": self.endpoint,
            "TRANSACTION_PIPELINE_ACCESS_KEY_ID": self.access_key_id,
            "TRANSACTION_PIPELINE_SECRET_ACCESS_KEY": self.secret_access_key,
        }

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
    with local_session(tmp_path_factory.mktemp("embedded aws")) as local:
        yield EmbeddedAws.of(local)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """An environment that every command was used on; files that ask for it are named in tests/conftest.py."""
    from tests.functional.deployed import deployed_environment

    with deployed_environment(tmp_path_factory.mktemp("deployed")) as environment:
        yield environment


@pytest.fixture(scope="session")
def lab(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Releases in processes of their own, of a copy of the project's functions (see ``release_lab``)."""
    from tests.functional.release_lab import make_lab

    with make_lab(embedded_aws, tmp_path_factory.mktemp("release lab")) as made:
        yield made
