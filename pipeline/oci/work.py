"""Folders in which something is made before it has a digest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.files import storing
from pipeline.core.temporary import sweep, temporary_folder
from pipeline.oci.blobs import BlobStore


@contextlib.contextmanager
def work_folder(store: BlobStore) -> Iterator[Path]:
    """A folder beside the store that is removed afterwards. Raises StorageError."""
    place = store.root / "work"
    with contextlib.ExitStack() as stack:
        with storing(place):
            place.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_folder(place))
        yield folder


def sweep_store(store: BlobStore) -> None:
    """Remove what killed processes left in a store: half-written blobs and work folders."""
    store.sweep()
    sweep(store.root / "work")
