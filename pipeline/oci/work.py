"""Folders in which something is made before it has a digest."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.files import storing
from pipeline.oci.blobs import BlobStore

_ABANDONED_SECONDS = 24 * 3600


@contextlib.contextmanager
def work_folder(store: BlobStore) -> Iterator[Path]:
    """A folder beside the store that goes away; also removes what killed builds left a day ago or earlier."""
    place = store.root / "work"
    with storing(place):
        place.mkdir(parents=True, exist_ok=True)
        for left in (*place.iterdir(), *store.unfinished()):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime <= _ABANDONED_SECONDS:
                    continue
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
        folder = Path(tempfile.mkdtemp(dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
