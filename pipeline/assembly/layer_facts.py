"""What Lambda cares about in a layer, learned by streaming through it once; nothing is unpacked or kept in memory."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.core.records import code_version, read_record, write_record
from pipeline.oci.values import Digest

LayerOpener = Callable[[], BinaryIO]
# The largest image that Lambda takes, unpacked (developer guide, "Create a Lambda function using a container image").
UNPACKED_MAX = 10 * 1024**3
_ENTRIES_MAX = 1_000_000
_HEADER_MAX = 1 << 20  # of one extended header; an honest one has some hundred bytes
_LISTED_MAX = 500
_CHUNK = 1 << 18
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"BZ": "bzip2", b"\xfd7": "xz"}


@dataclass(slots=True)
class LayerFacts:
    """What was seen in one layer.

    unpacked     bytes of its regular files
    compression  "gzip", or what else its first bytes say; nothing more is known of another one
    broken       why it could not be read to its end, or ""
    problems     by kind ("hard links", "missing parents", "paths"): how many, and one example
    unreadable   paths that an unprivileged user cannot read (files) or enter (folders), at most 500
    """

    diff_id: str = ""
    unpacked: int = 0
    compression: str = "gzip"
    broken: str = ""
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def count(self, kind: str, example: str) -> None:
        number, first = self.problems.get(kind, (0, example))
        self.problems[kind] = (number + 1, first)


class _Oversized(ValueError):
    """A layer that is larger than any image may be, or made to fill the memory."""


class _StrictInfo(tarfile.TarInfo):
    """A tar header that is right, or the end of the layer.

    tarfile takes a header that is damaged or cut off for the end of the archive, so nothing after it would be judged;
    who unpacks images takes it for an error. Extended headers that no honest archive has are refused, since tarfile
    reads those at once.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        try:
            info = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise ValueError(f"one of its tar headers is damaged ({error})") from error
        if info.type in (b"x", b"g", b"X", b"L", b"K") and info.size > _HEADER_MAX:
            raise _Oversized(f"an extended header of {info.size} bytes")
        return info


class _Inflated:
    """The bytes inside a gzip stream, for ``tarfile``; hashes them, and holds no more than a chunk."""

    def __init__(self, stream: BinaryIO, first: bytes) -> None:
        self._stream = stream
        self._waiting = first
        self._inflate = zlib.decompressobj(31)
        self._ended = False
        self.hasher = hashlib.sha256()
        self.count = 0

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end. Raises EOFError for a stream that stops in the middle."""
        while not self._ended:
            if not self._waiting:
                self._waiting = self._stream.read(_CHUNK)
                if not self._waiting:
                    raise EOFError("the gzip stream stops in the middle")
            out = self._inflate.decompress(self._waiting, size)
            self._waiting = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._next_member()
            if out:
                self.hasher.update(out)
                self.count += len(out)
                if self.count > 2 * UNPACKED_MAX:
                    raise _Oversized("more than twice what an image may have")
                return out
        return b""

    def _next_member(self) -> None:
        self._waiting = self._inflate.unused_data or self._stream.read(_CHUNK)
        if self._waiting:
            self._inflate = zlib.decompressobj(31)
        else:
            self._ended = True


def _entries(inflated: _Inflated) -> Iterator[tarfile.TarInfo]:
    """Every entry of a tar stream; afterwards the stream was read to its end."""
    with tarfile.open(fileobj=cast(Any, inflated), mode="r|", bufsize=_CHUNK, tarinfo=_StrictInfo) as tar:
        for _ in range(_ENTRIES_MAX):
            entry = tar.next()
            if entry is None:
                break
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every entry that it has seen
            yield entry
        else:
            raise _Oversized(f"more than {_ENTRIES_MAX} entries")
    while inflated.read(_CHUNK):
        pass


def read_facts(open_layer: LayerOpener) -> LayerFacts:
    """Stream through a layer. What is wrong with it is a fact, not an error; OSError of the opener passes."""
    facts = LayerFacts()
    with open_layer() as stream:
        first = stream.read(_CHUNK)
        facts.compression = _MAGIC.get(first[:2], "none" if first[257:262] == b"ustar" else "unknown")
        if facts.compression != "gzip":
            return facts
        inflated = _Inflated(stream, first)
        folders = {""}
        try:
            for entry in _entries(inflated):
                _note(entry, folders, facts)
        except (EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError) as error:
            facts.broken = str(error) or type(error).__name__
        facts.diff_id = f"sha256:{inflated.hasher.hexdigest()}"
    return facts


def _path(entry: tarfile.TarInfo) -> str:
    """``./var/task/`` is ``var/task``; the root is ""."""
    return "/".join(part for part in entry.name.split("/") if part not in ("", "."))


def _note(entry: tarfile.TarInfo, folders: set[str], facts: LayerFacts) -> None:
    path = _path(entry)
    if entry.name.startswith("/") or ".." in path.split("/"):
        facts.count("paths", entry.name)
    if path and path.rpartition("/")[0] not in folders:
        facts.count("missing parents", path)
    if entry.isdir():
        folders.add(path)
    elif entry.islnk():
        facts.count("hard links", f"{path} to {entry.linkname}")
    elif entry.isreg():
        facts.unpacked += entry.size
    needed = 0o005 if entry.isdir() else 0o004
    if not entry.issym() and entry.mode & needed != needed and len(facts.unreadable) < _LISTED_MAX:
        facts.unreadable.append(path)


def facts_of(digest: Digest, open_layer: LayerOpener, cache: Path | None) -> LayerFacts:
    """The facts of a layer, read once per digest when there is a ``cache`` folder to remember them in."""
    if cache is None:
        return read_facts(open_layer)
    record = cache / f"{digest.hex}-{code_version(__name__)}.json"
    known = read_record(record)
    if known is not None:
        try:
            known["problems"] = {
                kind: (int(count), str(example)) for kind, (count, example) in known["problems"].items()
            }
            return LayerFacts(**known)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # written by something else: read the layer again
    facts = read_facts(open_layer)
    write_record(record, asdict(facts))
    return facts


def replaced(open_layer: LayerOpener, paths: set[str]) -> set[str]:
    """Those of ``paths`` that a layer writes or removes anew: what they were below it does not count any more."""
    found = set()
    with open_layer() as stream:
        for entry in _entries(_Inflated(stream, stream.read(_CHUNK))):
            folder, _, name = _path(entry).rpartition("/")
            found.add(f"{folder}/{name.removeprefix('.wh.')}".lstrip("/"))
    return found & paths
