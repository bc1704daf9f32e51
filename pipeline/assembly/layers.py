"""A function's layers, from the most to the least stable: runtime, dependencies, large files, shared packages, code.

Everything lands in ``/var/task``. A layer is remembered by what it is made of, so an unchanged build reads the
function's own few files and nothing else; functions with the same lock share one layer byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.assembly import model
from pipeline.assembly.dependencies.byte_code import compile_tree
from pipeline.assembly.dependencies.dependency_layers import Installed, file_entry, installed_of
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layer_records import layer_version, record_layer, recorded_layer
from pipeline.assembly.model import FunctionSource, Platform
from pipeline.assembly.own.collected import collect_files
from pipeline.assembly.own.completeness import Available, judge_completeness
from pipeline.assembly.own.references import Reference, references_of
from pipeline.core.errors import SourceError
from pipeline.core.events import Note, Report, ignore
from pipeline.core.files import storing
from pipeline.core.records import code_version, read_record, write_record
from pipeline.oci.archive import UNPACKED_MAX
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, store_layer
from pipeline.oci.values import Digest, Layer
from pipeline.oci.work import work_folder

# As archives write it.
TASK_ROOT = model.TASK_ROOT.lstrip("/")
# The title of the layer of a function's files that are too large to be read into memory.
LARGE = "large files"
# The coarsest clock of a file system in use (FAT).
_SETTLED_SECONDS = 2.0


def lay_out(
    source: FunctionSource,
    platform: Platform,
    store: BlobStore,
    *,
    slim: Slim | None = None,
    runtime: bool = False,
    shared: SharedPackages | None = None,
    report: Report = ignore,
) -> tuple[Layer, ...]:
    """The layers of a function, stored, in their order in the image.

    slim     what is left out of dependencies; by default for this function alone
    runtime  put awslambdaric below them, for a base that has none
    shared   what the functions of one run share, packed for the first of them

    Raises SourceError for files that cannot be shipped, DependencyError for requirements that do not resolve, and
    StorageError for a full disk.
    """
    slim = slim if slim is not None else Slim.for_sources([source])
    installed = installed_of(source, platform, store, slim, runtime=runtime, report=report)
    packages = (shared if shared is not None else SharedPackages()).of(source, platform, store, slim)
    own = collect_files(source.code_folder, TASK_ROOT)
    _judge_collisions(source, packages.entries, own)
    _judge_size(source, [*packages.entries, *own])
    references = _References([*packages.entries, *own], store)
    for warning in (*source.warnings, *_judge_references(source, references, installed, closed=runtime)):
        report(Note(f"{source.name}: {warning}"))
    layers = [each.layer for each in installed]
    large = [entry for entry in own if isinstance(entry.content, Path)]
    if large:
        # Models and tables change seldom: a changed line must not send them again.
        layers.append(_source_layer(large, LARGE, platform, store, slim))
        own = [entry for entry in own if not isinstance(entry.content, Path)]
    if packages.layer is not None:
        layers.append(packages.layer)
    layers.append(_source_layer(own, "function", platform, store, slim))
    references.remember()
    return tuple(layers)


class _References:
    """What the modules among ``entries`` refer to, remembered by their content."""

    def __init__(self, entries: Sequence[TarEntry], store: BlobStore) -> None:
        self.shipped = [entry.path.removeprefix(f"{TASK_ROOT}/") for entry in entries]
        modules = {
            path: entry.content
            for path, entry in zip(self.shipped, entries, strict=True)
            if path.endswith(".py") and isinstance(entry.content, bytes)
        }
        digests = sorted((path, Digest.of(content).hex) for path, content in modules.items())
        key = Digest.of(repr((code_version(references_of.__module__), digests)).encode())
        self._record = store.root / "references" / f"{key.hex}.json"
        try:
            self.found = tuple(Reference(**each) for each in (read_record(self._record) or {})["references"])
            self._known = True
        except (KeyError, TypeError):
            self.found = tuple(each for path, content in modules.items() for each in references_of(content, path))
            self._known = False

    def remember(self) -> None:
        """Write them down. Raises StorageError."""
        if not self._known:
            write_record(self._record, {"references": [asdict(each) for each in self.found]})


def _judge_references(
    source: FunctionSource, references: _References, installed: Sequence[Installed], *, closed: bool
) -> tuple[str, ...]:
    available = Available(
        {name: namespace for each in installed for name, namespace in each.modules.items()},
        {path: rule for each in installed for path, rule in each.left_out.items()},
        closed,
    )
    return judge_completeness(source, references.shipped, references.found, available)


@dataclass(frozen=True, slots=True)
class _Packed:
    entries: list[TarEntry]
    layer: Layer | None


class SharedPackages:
    """The packages that functions share, read and packed once in a run, of one platform and setting."""

    def __init__(self) -> None:
        self._packed: dict[tuple[Path, ...], _Packed] = {}

    def of(self, source: FunctionSource, platform: Platform, store: BlobStore, slim: Slim) -> _Packed:
        """Those of a function; no layer where they are empty."""
        if source.shared not in self._packed:
            entries = [each for folder in source.shared for each in collect_files(folder, f"{TASK_ROOT}/{folder.name}")]
            _judge_size(source, entries)
            layer = _source_layer(entries, "shared", platform, store, slim) if entries else None
            self._packed[source.shared] = _Packed(entries, layer)
        return self._packed[source.shared]


def _judge_collisions(source: FunctionSource, shared: list[TarEntry], own: list[TarEntry]) -> None:
    twice = sorted({entry.path for entry in shared} & {entry.path for entry in own})
    if twice:
        raise SourceError(
            f"{source.name} was not packed",
            f"{', '.join(twice)} come from the function's folder and from a shared package",
            "Rename one of them.",
        )


def _judge_size(source: FunctionSource, entries: Iterable[TarEntry]) -> None:
    """Before minutes are spent on packing what the check would refuse."""
    size = sum(entry.size for entry in entries)
    if size > UNPACKED_MAX:
        raise SourceError(
            f"{source.name} was not packed",
            f"its files have {size:,} bytes, Lambda takes {UNPACKED_MAX:,} in an image",
            f"Leave files out with {source.name}/.dockerignore, or load large ones from S3 or EFS at run time.",
        )


def _source_layer(entries: list[TarEntry], title: str, platform: Platform, store: BlobStore, slim: Slim) -> Layer:
    """A layer of files that people write; known by what is in it, compressed once."""
    if slim.compiles_for(platform.python):
        entries = entries + _byte_code(entries, store)
    key = _contents(entries)
    if key is None:
        return store_layer(store, entries, title)
    record = store.root / "layers" / f"{key}-{layer_version()}.json"
    return recorded_layer(record, title, store) or record_layer(record, store_layer(store, entries, title))


def _contents(entries: list[TarEntry]) -> str | None:
    """A digest of everything that a layer of these entries depends on.

    A large file counts by its identity, size and times, as in Git's index, so that an unchanged model of some
    gigabytes is not read again. None while one changed so recently that a later change could have the same times.
    """
    hasher = hashlib.sha256()
    for entry in entries:
        content = ""
        if isinstance(entry.content, bytes):
            content = hashlib.sha256(entry.content).hexdigest()
        elif entry.content is not None:
            status = entry.content.stat()
            if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS:
                return None
            times = (status.st_mtime_ns, status.st_ctime_ns)
            content = repr((os.fspath(entry.content.resolve()), status.st_dev, status.st_ino, status.st_size, *times))
        hasher.update(repr((entry.path, entry.kind, entry.size, entry.executable, entry.target, content)).encode())
    return hasher.hexdigest()


def _byte_code(entries: list[TarEntry], store: BlobStore) -> list[TarEntry]:
    """Byte code for the modules among ``entries``."""
    with work_folder(store) as root:
        for entry in entries:
            if entry.kind == "file" and entry.path.endswith(".py") and isinstance(entry.content, bytes):
                path = root / entry.path
                with storing(root):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(entry.content)
        compile_tree(root, "/")
        found = sorted(root.rglob("__pycache__/*.pyc"))
        return [file_entry(path, path.relative_to(root).as_posix(), keep=True) for path in found]
