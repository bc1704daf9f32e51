"""Fixtures for the conftest.py of several folders: a registry on loopback, a client with short waits, a blob store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, Retries
from tests.servers.registry import LoopbackRegistry

FAST = Retries(attempts=4, base=0.001, cap=0.002)


@pytest.fixture
def server() -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry() as running:
        yield running


@pytest.fixture
def other_server() -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def client(server: LoopbackRegistry) -> Iterator[Callable[..., Registry]]:
    """Makes registries that talk to ``server``; keywords are those of ``Registry``."""
    made: list[Registry] = []

    def make(host: str | None = None, **settings: Any) -> Registry:
        settings = {"retries": FAST, "chunk_size": 1000} | settings
        made.append(Registry(host or server.host, **settings))
        return made[-1]

    yield make
    for registry in made:
        registry.close()
