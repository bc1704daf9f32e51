"""What Lambda cares about in a layer, learned by streaming through it once; nothing is unpacked or kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipeline.core.records import code_version, read_record, write_record
from pipeline.core.shown import shown
from pipeline.oci.archive import NAME_COST, NAMES_MAX, Archive, BadArchive, Entry, Inflated, Judge, whiteout
from pipeline.oci.values import Digest

LayerOpener = Callable[[], BinaryIO]
_LISTED_MAX = 500
_CHUNK = 1 << 18
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"BZ": "bzip2", b"\xfd7": "xz"}


@dataclass(slots=True)
class LayerFacts:
    """The facts of one layer.

    unpacked     bytes of its regular files
    compression  "gzip", or another one by its first bytes; of such a layer nothing else is known
    broken       why it could not be read to its end, or ""
    problems     by kind ("hard links", "missing parents", "unsafe"): how many, and one example
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
            for entry in Archive(inflated.read):
                notes.take(entry)
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
        needed = 0o005 if entry.kind == "directory" else 0o004
        if entry.kind != "symlink" and entry.mode & needed != needed and len(facts.unreadable) < _LISTED_MAX:
            facts.unreadable.append(path)


def facts_of(digest: Digest, open_layer: LayerOpener, cache: Path | None) -> LayerFacts:
    """The facts of a layer, read once per digest when there is a ``cache`` folder to remember them in."""
    if cache is None:
        return read_facts(open_layer)
    record = cache / f"{digest.hex}-{code_version(__name__, 'pipeline.oci.archive')}.json"
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
    """Those of ``paths`` that a layer replaces or removes, so that what they were below it no longer counts."""
    found = set()
    with open_layer() as stream:
        for entry in Archive(Inflated(stream).read):
            removed = whiteout(entry.path)
            found.add(entry.path if removed is None else removed[0])
    return found & paths
