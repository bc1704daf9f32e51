"""Read access to ministack's state, and the limits of the emulated account."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

# "fresh": the lower limits of an account that AWS has not raised yet (AWS documentation, Lambda quotas: new accounts
# have reduced concurrency and memory quotas). Anything else: the default quotas.
ACCOUNT_VARIABLE = "TRANSACTION_PIPELINE_LOCAL_ACCOUNT"
FRESH = "fresh"


def fresh_account() -> bool:
    return os.environ.get(ACCOUNT_VARIABLE) == FRESH


def service(name: str) -> Any:
    return importlib.import_module(f"ministack.services.{name}")


def account_id() -> str:
    return str(importlib.import_module("ministack.core.responses").get_account_id())


def region() -> str:
    return str(importlib.import_module("ministack.core.responses").get_region())


def repository(name: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = service("ecr")._repositories.get(name)
    return found


def images(repository_name: str) -> list[Mapping[str, Any]]:
    return list(service("ecr")._images.get(repository_name, []))


def layers(repository_name: str) -> Mapping[str, bytes]:
    found: Mapping[str, bytes] = service("ecr")._layer_blobs.get(repository_name, {})
    return found


def upload_parts(repository_name: str, upload_id: str) -> list[int]:
    """The bytes of each part of an upload through the API so far."""
    return list(getattr(service("ecr")._uploads.get(repository_name, {}).get(upload_id), "sizes", ()))


def manifest(repository_name: str, reference: str) -> tuple[bytes, str] | None:
    """The bytes and the media type of a manifest by tag or digest."""
    digest, content, media_type = service("ecr")._resolve_manifest(repository_name, reference)
    return None if digest is None else (content, media_type)


def functions() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from list(service("lambda_svc")._functions.items())


def function(name: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = service("lambda_svc")._functions.get(name)
    return found


def vpcs() -> int:
    """How many VPCs there are, the default one included."""
    return len(service("ec2")._vpcs)


def gateway_endpoints() -> int:
    return sum(each["VpcEndpointType"] == "Gateway" for each in service("ec2")._vpc_endpoints.values())


def account_concurrency() -> int:
    """Executions at a time of all functions of the account and region."""
    return int(os.environ.get("LAMBDA_ACCOUNT_CONCURRENCY", "1000"))


def stack(name_or_id: str) -> Mapping[str, Any] | None:
    handlers = importlib.import_module("ministack.services.cloudformation.handlers")
    found: Mapping[str, Any] | None = handlers._resolve_stack(name_or_id)
    return found
