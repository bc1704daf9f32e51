"""A process that pushes two images to a loopback registry, to be killed in the middle.

python -m tests.servers.pushing HOST STORE
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.release.push import Push, push_images
from tests.servers.images import pair

SHARED, OWN = 40_000, 9_000


def pushes(host: str, store: BlobStore) -> list[Push]:
    return [Push(f"{host}/{one.function}", one, tag="v1") for one in pair(store, shared=SHARED, own=OWN)]


if __name__ == "__main__":
    host, folder = sys.argv[1:]
    store = BlobStore(Path(folder))
    push_images(Registry(host, chunk_size=4000), pushes(host, store), store)
