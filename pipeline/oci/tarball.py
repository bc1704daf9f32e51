"""Write deterministic layers: their bytes depend only on the files.

Both formats are written here, because ``tarfile`` and ``gzip`` may write other bytes in another version of Python.
Entries are sorted, parent directories come first, times, owners and modes are fixed, and there are no hard links:
Lambda refuses layers with hard links or without parent directories.

The tar, and so the diff id of a layer, is the same on every machine. The compressed bytes depend on the zlib that
Python is linked with, so images are identified by their config digest (docs/decisions/one-digest.md).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.core.errors import SourceError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest, Layer

# 1980-01-01, the oldest time in zip files, so that code can zip files of its image (zipfile).
MODIFIED = 315_532_800
CREATED = "1980-01-01T00:00:00Z"
CHUNK = 1 << 18
# 5 % more bytes than level 6, in half the time.
LEVEL = 4
_BLOCK = 512
_RECORD = 20 * _BLOCK
_TYPES = {"file": b"0", "symlink": b"2", "directory": b"5", "pax": b"x"}
# Member header without name, time or extra fields; OS "unknown", the same on every machine.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One entry of a layer: a regular file, a directory or a symbolic link.

    path     relative, with "/": "var/task/handler.py"
    content  the file with the bytes, or the bytes; None if the entry is not a file
    size     bytes
    target   of a symbolic link
    """

    path: str
    kind: Literal["file", "directory", "symlink"] = "file"
    content: Path | bytes | None = None
    size: int = 0
    executable: bool = False
    target: str = ""


def with_parents(entries: Iterable[TarEntry]) -> list[TarEntry]:
    """The entries in canonical order, each after its parent directories.

    Raises ValueError for a path that is absolute, leaves the root, or is repeated.
    """
    placed: dict[str, TarEntry] = {}
    for entry in entries:
        parts = entry.path.split("/")
        if not all(parts) or "." in parts or ".." in parts:
            raise ValueError(f"{entry.path!r} is no path inside a layer")
        known = placed.get(entry.path)
        if known is not None and not (known.kind == entry.kind == "directory"):
            raise ValueError(f"{entry.path!r} is there twice")
        placed[entry.path] = entry
        for count in range(1, len(parts)):
            parent = "/".join(parts[:count])
            if placed.setdefault(parent, TarEntry(parent, "directory")).kind != "directory":
                raise ValueError(f"{parent!r} is both a file and the folder of {entry.path!r}")
    return [placed[path] for path in sorted(placed, key=lambda path: path.split("/"))]


def tar_chunks(entries: Iterable[TarEntry]) -> Iterator[bytes]:
    """The tar archive (POSIX ustar, with pax records where needed) of ``with_parents(entries)``.

    Keeps one chunk in memory. Raises SourceError for a file that changes while it is read.
    """
    total = 0
    for entry in with_parents(entries):
        header = _header(entry)
        yield header
        total += len(header)
        if entry.kind != "file":
            continue
        if isinstance(entry.content, bytes):
            yield entry.content
        elif entry.content is not None:
            yield from _read(entry.content, entry.size)
        padding = -entry.size % _BLOCK
        yield bytes(padding)
        total += entry.size + padding
    end = total + 2 * _BLOCK
    yield bytes(2 * _BLOCK + (-end % _RECORD))


def _read(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            grown = bool(file.read(1))
    except OSError as error:
        raise SourceError(
            f"{path.name} was not packed", f"{path} cannot be read: {error.strerror}", "Make the file readable."
        ) from error
    if left or grown:
        raise SourceError(f"{path.name} was not packed", f"{path} changed while it was read", "Build again.")


def _header(entry: TarEntry) -> bytes:
    mode = 0o755 if entry.executable or entry.kind == "directory" else 0o777 if entry.kind == "symlink" else 0o644
    name = entry.path + ("/" if entry.kind == "directory" else "")
    records: dict[str, str] = {}
    prefix, short = _split(name)
    if short is None:
        records["path"] = name
        prefix, short = b"", _ascii(name)[:100]
    target = _ascii(entry.target)
    if target != entry.target.encode() or len(target) > 100:
        records["linkpath"] = entry.target
        target = target[:100]
    size = entry.size if entry.kind == "file" else 0
    if size >= 1 << 33:
        records["size"] = str(size)
    block = _block(short, prefix, mode, size if size < 1 << 33 else 0, _TYPES[entry.kind], target)
    if not records:
        return block
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    pax = _block(b"PaxHeaders/" + short[:80], b"", 0o644, len(body), _TYPES["pax"], b"")
    return pax + body + bytes(-len(body) % _BLOCK) + block


def _split(name: str) -> tuple[bytes, bytes | None]:
    """ustar's (prefix, name), at most 155 and 100 bytes; no name if it does not fit or is not ASCII."""
    encoded = _ascii(name)
    if encoded != name.encode():
        return b"", None
    if len(encoded) <= 100:
        return b"", encoded
    cut = encoded.find(b"/", max(0, len(encoded) - 101), min(156, len(encoded) - 1))
    return (encoded[:cut], encoded[cut + 1 :]) if cut > 0 else (b"", None)


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _record(key: str, value: str) -> bytes:
    """A pax record; its length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def _block(name: bytes, prefix: bytes, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    def field(checksum: bytes) -> bytes:
        return struct.pack(
            "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x",
            name,
            b"%07o\0" % mode,
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            b"%011o\0" % size,
            b"%011o\0" % MODIFIED,
            checksum,
            kind,
            target,
            b"ustar\x0000",
            b"",
            b"",
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            prefix,
        )

    return field(b"%06o\0 " % sum(field(b" " * 8)))


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member around the chunks; the same bytes for the same chunks and the same zlib."""
    compressor, checksum, size = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 8), 0, 0
    yield _GZIP_HEADER
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush() + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def store_layer(store: BlobStore, entries: Iterable[TarEntry], title: str) -> Layer:
    """Stream a layer into the store. Raises SourceError like ``tar_chunks``, and StorageError."""
    hasher = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in tar_chunks(entries):
            hasher.update(chunk)
            yield chunk

    digest, size = store.put(gzip_chunks(_joined(hashed())))
    return Layer(Descriptor(OCI_LAYER_GZIP, digest, size), Digest(hasher.hexdigest()), title)


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of equal size, to avoid many small calls of the compressor."""
    waiting, length = [], 0
    for chunk in chunks:
        waiting.append(chunk)
        length += len(chunk)
        if length >= CHUNK:
            whole = b"".join(waiting)
            end = length - length % CHUNK
            for start in range(0, end, CHUNK):
                yield whole[start : start + CHUNK]
            waiting, length = [whole[end:]], length - end
    yield b"".join(waiting)
