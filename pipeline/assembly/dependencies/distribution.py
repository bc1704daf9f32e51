"""The RECORD of installed distributions, rewritten to the files that ship.

``importlib.metadata.files`` and ``packages_distributions`` read it (recording installed projects, packaging.python.org:
one CSV row per file, with path, hash and size). The installer's own RECORD also lists console scripts and what it
wrote about the machine, so the rows are made again from the files of the layer.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

RECORD = "RECORD"


def is_record(path: PurePosixPath) -> bool:
    """Whether a path, relative to the installation, is the RECORD of a distribution."""
    return len(path.parts) == 2 and path.parts[0].endswith(".dist-info") and path.name == RECORD


def normalise_record(record: Path, root: Path, shipped: Iterable[Path]) -> bytes:
    """The RECORD with exactly those of its rows whose files ship, sorted, each with the hash and size that it has.

    Files that no row names stay unnamed, as after a usual installation.
    """
    kept = set(shipped)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    with record.open(newline="", encoding="utf-8") as file:
        names = sorted({row[0] for row in csv.reader(file) if row})
    for name in names:
        path = root / name
        if path == record:
            writer.writerow((name, "", ""))
        elif path in kept:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").digest()
            encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            writer.writerow((name, f"sha256={encoded}", path.stat().st_size))
    return out.getvalue().encode()
