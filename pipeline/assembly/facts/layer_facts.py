"""What matters in a layer, learned by streaming through it once; nothing is unpacked or kept in memory."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.assembly.facts.elf import MAGIC, Elf, read_elf
from pipeline.assembly.facts.leaks import CredentialScanner
from pipeline.core.records import code_version, read_record, write_record
from pipeline.core.shown import shown
from pipeline.oci.archive import NAME_COST, NAMES_MAX, Archive, BadArchive, Entry, Inflated, Judge, whiteout
from pipeline.oci.values import Digest

LayerOpener = Callable[[], BinaryIO]
# A kind of problem that is only worth a warning: Lambda's documentation does not mention devices and pipes.
SPECIAL = "special files"
_LISTED_MAX = 500
_LIBRARIES_MAX = 20_000
# Native files are judged where functions are; elsewhere only glibc itself is read.
_FUNCTION_ROOTS = ("var/task/", "opt/")
# An operating system's own files hold examples and test keys, and are the same for everyone.
_SYSTEM_ROOTS = ("usr/", "lib/", "lib64/", "bin/", "sbin/", "var/lib/", "var/lang/", "var/runtime/", "var/rapid/")
_CHUNK = 1 << 18
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"BZ": "bzip2", b"\xfd7": "xz"}


@dataclass(slots=True)
class LayerFacts:
    """The facts of one layer.

    unpacked     bytes of its regular files
    compression  "gzip", or another one by its first bytes; of such a layer nothing else is known
    broken       why it could not be read to its end, or ""
    problems     by kind ("hard links", "missing parents", "unsafe", SPECIAL): how many, and one example
    unreadable   paths that an unprivileged user cannot read (files) or enter (folders), at most 500
    libraries    the names of files and links that a loader may take for shared objects
    natives      the shared objects of functions, and glibc
    credentials  path → the kinds of credentials that it seems to hold, at most 500
    """

    diff_id: str = ""
    unpacked: int = 0
    compression: str = "gzip"
    broken: str = ""
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    natives: list[Elf] = field(default_factory=list)
    credentials: dict[str, list[str]] = field(default_factory=dict)

    def count(self, kind: str, example: str) -> None:
        number, first = self.problems.get(kind, (0, example))
        self.problems[kind] = (number + 1, first)


def read_facts(open_layer: LayerOpener) -> LayerFacts:
    """Stream through a layer. What is wrong with it is a fact, not an error; the opener's OSError passes."""
    facts = LayerFacts()
    with open_layer() as stream:
        first = stream.read(_CHUNK)
        facts.compression = _MAGIC.get(first[:2], "none" if first[257:262] == b"ustar" else "unknown")
        if facts.compression != "gzip":
            return facts
        inflated = Inflated(stream, first)
        notes = _Notes(facts)
        try:
            archive = Archive(inflated.read)
            for entry in archive:
                notes.take(entry)
                if entry.kind == "file":
                    notes.read(entry.path, archive.content())
        except BadArchive as error:
            facts.broken = str(error)
        facts.diff_id = f"sha256:{inflated.digest}"
    return facts


class _Notes:
    """Takes the entries of a layer, in order, into its facts."""

    def __init__(self, facts: LayerFacts) -> None:
        self._facts = facts
        self._judge = Judge()
        self._folders = {""}
        self._left = NAMES_MAX

    def take(self, entry: Entry) -> None:
        facts, path = self._facts, entry.path
        if unsafe := self._judge.unsafe(entry):
            facts.count("unsafe", unsafe)
        if entry.special:
            facts.count(SPECIAL, f"{shown(path)} is a {entry.kind}")
        if path and path.rpartition("/")[0] not in self._folders:
            facts.count("missing parents", shown(path))
        if entry.kind == "directory":
            self._left -= len(path) + NAME_COST
            if self._left < 0:
                raise BadArchive("its folders have too many and too long names")
            self._folders.add(path)
        else:
            self._folders.discard(path)
        if entry.kind == "hard link":
            facts.count("hard links", f"{shown(path)} to {shown(entry.target)}")
        facts.unpacked += entry.size
        name = path.rpartition("/")[2]
        if entry.kind in ("file", "symlink") and ".so" in name and len(facts.libraries) < _LIBRARIES_MAX:
            facts.libraries.append(name)
        needed = 0o005 if entry.kind == "directory" else 0o004
        if entry.kind != "symlink" and entry.mode & needed != needed and len(facts.unreadable) < _LISTED_MAX:
            facts.unreadable.append(path)

    def read(self, path: str, content: Iterator[bytes]) -> None:
        """Look into a file. Content that is not needed is skipped by the archive."""
        native = path.startswith(_FUNCTION_ROOTS) or path.endswith("/libc.so.6")
        scanner = None if path.startswith(_SYSTEM_ROOTS) else CredentialScanner()
        if not native and scanner is None:
            return
        first = next(content, b"")
        if first.startswith(MAGIC):
            scanner = None  # compiled, and most of the bytes of large packages
            if not native:
                return
        else:
            native = False
        with tempfile.TemporaryFile() if native else contextlib.nullcontext() as kept:
            for chunk in itertools.chain([first], content):
                if scanner is not None:
                    scanner.feed(chunk)
                if kept is not None:
                    kept.write(chunk)
            if kept is not None and (found := read_elf(path, kept)) is not None:
                self._facts.natives.append(found)
        if scanner is not None and scanner.found and len(self._facts.credentials) < _LISTED_MAX:
            self._facts.credentials[path] = sorted(scanner.found)


def facts_of(digest: Digest, open_layer: LayerOpener, cache: Path | None) -> LayerFacts:
    """The facts of a layer, read once per digest when there is a ``cache`` folder to remember them in."""
    if cache is None:
        return read_facts(open_layer)
    version = code_version(
        __name__, "pipeline.oci.archive", "pipeline.assembly.facts.leaks", "pipeline.assembly.facts.elf"
    )
    record = cache / f"{digest.hex}-{version}.json"
    known = read_record(record)
    if known is not None:
        try:
            return msgspec.convert(known, LayerFacts)
        except msgspec.ValidationError:
            pass  # written by something else: read the layer again
    facts = read_facts(open_layer)
    write_record(record, asdict(facts))
    return facts


def replaced(open_layer: LayerOpener, paths: set[str]) -> set[str]:
    """Those of ``paths`` that a layer replaces or removes, so that what they were below it no longer counts."""
    found = set()
    with open_layer() as stream:
        for entry in Archive(Inflated(stream).read):
            removed = whiteout(entry.path)
            found.add(entry.path if removed is None else removed[0])
    return found & paths
