"""A content-addressed store of blobs on disk, laid out as ``blobs/sha256/<hex>`` like an OCI image layout.

A blob appears under its digest only when it is complete and verified. The store is a cache, which may be deleted.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pipeline.core.files import open_regular, storing
from pipeline.core.temporary import sweep, temporary_file
from pipeline.oci.values import Digest

_WRITING = ".writing-"
# The largest blob that is read into memory, in bytes; a longer one is treated as damaged.
SMALL_MAX = 64 << 20


class WrongContent(ValueError):
    """Content without the expected digest or size."""


class BlobStore:
    """Blobs by digest under ``root``; safe for concurrent writers, also in several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "blobs" / "sha256"

    def path(self, digest: Digest) -> Path:
        """The path of the blob, which may not exist."""
        return self._folder / digest.hex

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob exists, with ``size`` bytes if given: after a power failure a file may lack its content."""
        try:
            found = self.path(digest).stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob. Raises FileNotFoundError if it is missing, OSError if it is not a regular file."""
        return open_regular(self.path(digest))

    def read(self, digest: Digest) -> bytes:
        """The content of a small blob, such as a config or a manifest.

        Raises FileNotFoundError if it is missing, WrongContent if it is damaged.
        """
        with self.open(digest) as stream:
            content = stream.read(SMALL_MAX + 1)
        if Digest.of(content) != digest:
            raise WrongContent(f"{self.path(digest)} is damaged")
        return content

    def add(self, content: bytes) -> Digest:
        """Store a small blob; a damaged one is replaced."""
        digest = Digest.of(content)
        try:
            self.read(digest)
        except (OSError, WrongContent):
            self.write([content], expected=digest, size=len(content))
        return digest

    def drop_damaged(self, digests: Iterable[Digest]) -> list[Digest]:
        """Read blobs and remove those with another digest, which are returned. Raises StorageError."""
        dropped = []
        for digest in digests:
            if self.has(digest):
                with storing(self.root):
                    with self.path(digest).open("rb") as stream:
                        found = hashlib.file_digest(stream, "sha256").hexdigest()
                    if found != digest.hex:
                        self.path(digest).unlink(missing_ok=True)
                        dropped.append(digest)
        return dropped

    def unfinished(self) -> Iterator[Path]:
        """Incomplete blobs, of killed or running writers."""
        return self._folder.glob(f"{_WRITING}*")

    def sweep(self) -> None:
        """Remove the incomplete blobs of killed writers."""
        sweep(self._folder, f"{_WRITING}*")

    def write(self, chunks: Iterable[bytes], *, expected: Digest, size: int | None = None) -> None:
        """Store a stream of chunks under ``expected``, with one chunk at a time in memory.

        Raises WrongContent, and stores nothing, if the content has another digest or size (bytes). A stream longer
        than ``size`` is aborted at once, so a registry cannot fill the disk.
        """
        self._receive(chunks, expected=expected, size=size)

    def put(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Store a stream of unknown digest; returns its digest and size in bytes."""
        return self._receive(chunks, expected=None, size=None)

    def _receive(self, chunks: Iterable[bytes], *, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        hasher, count = hashlib.sha256(), 0
        with storing(self.root):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = temporary_file(self._folder, _WRITING)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for chunk in chunks:
                    count += len(chunk)
                    if size is not None and count > size:
                        raise WrongContent(f"{expected} runs past its {size} bytes")
                    hasher.update(chunk)
                    with storing(self.root):
                        _write_all(file, chunk)
            if size is not None and count != size:
                raise WrongContent(f"{expected} has {count} bytes instead of {size}")
            found = Digest(hasher.hexdigest())
            if expected is not None and found != expected:
                raise WrongContent(f"the bytes promised as {expected} are {found}")
            with storing(self.root):
                temporary.chmod(0o644)
                temporary.replace(self.path(found))
            return found, count
        finally:
            temporary.unlink(missing_ok=True)


def _write_all(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
