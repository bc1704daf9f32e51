"""Work folders for content without a digest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.files import storing
from pipeline.core.temporary import sweep, temporary_folder
from pipeline.oci.blobs import BlobStore


@contextlib.contextmanager
def work_folder(store: BlobStore) -> Iterator[Path]:
    """A temporary folder beside the store for the block. Raises StorageError."""
    place = store.root / "work"
    with contextlib.ExitStack() as stack:
        with storing(place):
            place.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_folder(place))
        yield folder


def sweep_store(store: BlobStore) -> None:
    """Remove incomplete blobs and work folders of killed processes from a store."""
    store.sweep()
    sweep(store.root / "work")
