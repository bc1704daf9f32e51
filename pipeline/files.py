"""Where files go, and how they are written: whole or not at all. Imports nothing but the standard library."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Where caches live: ``$TRANSACTION_PIPELINE_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("TRANSACTION_PIPELINE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transaction-pipeline"


def write_atomically(path: Path, content: bytes, *, make_folders: bool = True) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it. Makes the folders to it."""
    if make_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
