"""Cached values beside the blobs, one JSON file each, written atomically.

A record's name contains everything that its value depends on, including the code's version, so it is never stale. An
unreadable record is ignored.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.documents import parse_json
from pipeline.core.files import storing, write_atomically


def read_record(path: Path) -> dict[str, Any] | None:
    """The stored value, or None if there is none."""
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Raises StorageError when the disk is full or the folder cannot be written."""
    with storing(path.parent):
        write_atomically(path, json.dumps(value, sort_keys=True).encode())


_ROOT = Path(__file__).parents[2]


@cache
def code_version(*modules: str) -> str:
    """A hash of the source of ``modules`` (dotted names), for the names of records."""
    hasher = hashlib.sha256()
    for name in modules:
        hasher.update((_ROOT / f"{name.replace('.', '/')}.py").read_bytes())
    return hasher.hexdigest()[:16]
