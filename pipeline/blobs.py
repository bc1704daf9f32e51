"""A content-addressed store of blobs on disk, laid out as ``blobs/sha256/<hex>`` like an OCI image layout.

A blob appears under its digest only when it is complete and was verified, so a killed writer leaves nothing that
anybody could mistake for a blob. The store is a cache: deleting the folder costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from pipeline.model import Digest


class WrongContent(ValueError):
    """Bytes that do not have the digest or the size that was promised for them."""


def cache_folder() -> Path:
    """Where caches live: ``$TRANSACTION_PIPELINE_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("TRANSACTION_PIPELINE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transaction-pipeline"


class BlobStore:
    """Blobs by digest under ``root``; safe for concurrent writers, also in several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "blobs" / "sha256"

    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self._folder / digest.hex

    def has(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def open(self, digest: Digest) -> BinaryIO:
        """Raises FileNotFoundError for a blob that is not there."""
        return self.path(digest).open("rb")

    def read(self, digest: Digest) -> bytes:
        """The whole of a small blob, such as a config or a manifest."""
        return self.path(digest).read_bytes()

    def add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        if not self.has(digest):
            self.write([content], expected=digest, size=len(content))
        return digest

    def write(self, chunks: Iterable[bytes], *, expected: Digest, size: int | None = None) -> None:
        """Store a stream of chunks under ``expected``; holds one chunk at a time in memory.

        Raises WrongContent, and stores nothing, when the bytes have another digest or size (bytes). A stream that
        runs past ``size`` is given up at once, so a registry that lies cannot fill the disk.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        hasher, count = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".writing-")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    count += len(chunk)
                    if size is not None and count > size:
                        raise WrongContent(f"{expected} runs past its {size} bytes")
                    hasher.update(chunk)
                    file.write(chunk)
            if size is not None and count != size:
                raise WrongContent(f"{expected} has {count} bytes instead of {size}")
            if hasher.hexdigest() != expected.hex:
                raise WrongContent(f"the bytes promised as {expected} are sha256:{hasher.hexdigest()}")
            temporary.chmod(0o644)
            temporary.replace(self.path(expected))
        finally:
            temporary.unlink(missing_ok=True)
