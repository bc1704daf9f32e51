"""A push whose process is killed, and the next push."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.release.push import push_images
from tests.servers.pushing import pushes
from tests.servers.registry import LoopbackRegistry, assert_whole


@pytest.mark.parametrize("seed", range(6))
def test_killed_push_is_finished_by_the_next(
    server: LoopbackRegistry, client: Callable[..., Registry], store: BlobStore, seed: int
) -> None:
    """SIGKILL after any number of bytes: no tag without its image, and nothing that was complete is sent again."""
    limit = random.Random(seed).randrange(1, 58_000)
    reached, killed = threading.Event(), threading.Event()

    def hold(received: int) -> None:
        if received >= limit:
            reached.set()
            killed.wait()

    server.on_received = hold
    process = subprocess.Popen([sys.executable, "-m", "tests.servers.pushing", server.host, str(store.root)])
    try:
        assert reached.wait(30)
    finally:
        process.kill()
        process.wait()
        killed.set()
    # What the kernel still held of the killed process's connections is read, and counted, after it.
    received = -1
    while received != server.received:
        received = server.received
        time.sleep(0.1)
    assert_whole(server)
    with server.lock:
        complete = {digest: len(blob) for one in server.repositories.values() for digest, blob in one.blobs.items()}
    before = server.received
    server.on_received = lambda _received: None
    registry = client(chunk_size=4000)
    pushed = push_images(registry, pushes(registry.host, store), store)
    assert [repository.tags.get("v1") for _, repository in sorted(server.repositories.items())] == [
        str(one.digest) for one in sorted(pushed, key=lambda one: one.repository_uri)
    ]
    assert_whole(server)
    assert server.received - before <= 64_000 - sum(complete.values())
