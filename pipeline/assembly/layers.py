"""A function's layers, from the most to the least stable: runtime, dependencies, shared packages, its own code.

Everything lands in ``/var/task``. A layer is remembered by what it is made of, so an unchanged build reads the
function's own few files and nothing else; functions with the same lock share one layer byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from pipeline.assembly import model
from pipeline.assembly.byte_code import compile_tree
from pipeline.assembly.dependencies import Lock, install, judge_lock, read_lock
from pipeline.assembly.distribution import is_record, normalise_record
from pipeline.assembly.ignore import IgnoreRules, read_rules
from pipeline.assembly.model import FunctionSource, Platform
from pipeline.assembly.slim import Slim, select_files
from pipeline.core.errors import SourceError
from pipeline.core.events import Report, ignore, step
from pipeline.core.files import storing
from pipeline.core.records import code_version, read_record, write_record
from pipeline.oci.archive import UNPACKED_MAX
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, store_layer
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest, Layer
from pipeline.oci.work import work_folder

# As archives write it.
TASK_ROOT = model.TASK_ROOT.lstrip("/")
RUNTIME_LOCK = Path(__file__).with_name("runtime-requirements.txt")
# A change to one of these may change a layer.
_MODULES = (
    __name__,
    "pipeline.assembly.slim",
    "pipeline.assembly.byte_code",
    "pipeline.assembly.distribution",
    "pipeline.assembly.dependencies",
    "pipeline.assembly.glibc",
    "pipeline.oci.tarball",
)
# Files up to this size are read and kept; larger ones are streamed into their layer.
_SMALL = 1 << 20
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
    locks = {"runtime": runtime_lock()} if runtime else {}
    if source.requirements is not None:
        locks["dependencies"] = read_lock(source.requirements)
    layers = _dependency_layers(locks, platform, store, slim, report)
    packages = (shared if shared is not None else SharedPackages()).of(source, platform, store, slim)
    own = collect_files(source.folder, TASK_ROOT)
    _judge_collisions(source, packages.entries, own)
    _judge_size(source, [*packages.entries, *own])
    if packages.layer is not None:
        layers.append(packages.layer)
    layers.append(_source_layer(own, "function", platform, store, slim))
    return tuple(layers)


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


@cache
def runtime_lock() -> Lock:
    """``RUNTIME_LOCK``, read once: many functions use it, and it has many hashes."""
    return read_lock(RUNTIME_LOCK)


def collect_files(folder: Path, prefix: str) -> list[TarEntry]:
    """What is shipped of a folder, placed below ``prefix``; small files are read.

    Raises SourceError with every file that cannot be shipped: a link that leaves the folder, a name that is not
    portable, a pipe or a device, something unreadable.
    """
    rules = read_rules(folder)
    entries: list[TarEntry] = []
    problems: list[str] = []
    for path, entry in _walk(folder, rules, "", problems):
        problem = _judge_name(path) or _judge_kind(folder, path, entry)
        if problem is not None:
            problems.append(problem)
            continue
        try:
            entries.append(_entry(folder, path, entry, prefix))
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror})")
    problems += _case_twins(entries, prefix)
    links = {entry.path: entry.target for entry in entries if entry.kind == "symlink"}
    places = {entry.path for entry in entries} | {f"{prefix}/{each}" for each in _parents(entries, prefix)}
    for path, target in links.items():
        end = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120 — text, not a file
        if end not in places:
            problems.append(f"{path.removeprefix(prefix + '/')} links to {target}, which is not shipped")
    if problems:
        raise SourceError(
            f"{folder.name} was not packed",
            "; ".join(problems),
            f"Mend or remove them, or name them in {folder.name}/.dockerignore.",
        )
    return entries


def _walk(folder: Path, rules: IgnoreRules, below: str, problems: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder / below) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{below or folder} cannot be listed ({error.strerror})")
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        ignored = rules.ignores(path)
        if entry.is_dir(follow_symlinks=False):
            if not ignored or rules.takes_back:
                yield from _walk(folder, rules, path, problems)
        elif not ignored:
            yield path, entry


def _judge_name(path: str) -> str | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{os.fsencode(path)!r} is not named in UTF-8"
    if any(unicodedata.category(char) == "Cc" for char in path) or "\\" in path:
        return f"{path!r} has a control character or a backslash in its name"
    return None


def _judge_kind(folder: Path, path: str, entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        target = Path(entry.path).readlink()
        try:
            end = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            return f"{path} links to {target}, which does not exist"
        if target.is_absolute() or not end.is_relative_to(folder.resolve()):
            return f"{path} links to {target}, out of the folder"
        return None
    if not entry.is_file(follow_symlinks=False):
        return f"{path} is neither a file nor a folder"
    return None


def _entry(folder: Path, path: str, entry: os.DirEntry[str], prefix: str) -> TarEntry:
    place = f"{prefix}/{path}"
    if entry.is_symlink():
        return TarEntry(place, "symlink", target=Path(entry.path).readlink().as_posix())
    status = entry.stat(follow_symlinks=False)
    executable = bool(status.st_mode & stat.S_IXUSR)
    if status.st_size > _SMALL:
        with open(entry.path, "rb"):  # noqa: PTH123 — only to learn now whether it can be read
            return TarEntry(place, "file", folder / path, status.st_size, executable)
    content = (folder / path).read_bytes()
    return TarEntry(place, "file", content, len(content), executable)


def _case_twins(entries: Iterable[TarEntry], prefix: str) -> Iterator[str]:
    """Names that are one name where case or Unicode form does not count: such a checkout has only one of them."""
    seen: dict[str, str] = {}
    for entry in entries:
        parts = entry.path.removeprefix(prefix + "/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if other != path:
                yield f"{path} and {other} are one name on machines that do not tell case apart"
                break


def _parents(entries: Iterable[TarEntry], prefix: str) -> set[str]:
    found = set()
    for entry in entries:
        parts = entry.path.removeprefix(prefix + "/").split("/")
        found |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return found


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
    record = store.root / "layers" / f"{key}-{_code_version()}.json"
    return _recorded(record, title, store) or _record(record, store_layer(store, entries, title))


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
        return [_file_entry(path, path.relative_to(root).as_posix(), keep=True) for path in found]


def _dependency_layers(
    locks: Mapping[str, Lock], platform: Platform, store: BlobStore, slim: Slim, report: Report
) -> list[Layer]:
    """The layers of locks by title, none for a lock without packages; missing ones are installed side by side."""
    for lock in locks.values():
        if lock.wanted and not lock.packages:
            _judge_empty(lock, platform, store)
    wanted = [_Installation(lock, title, platform, store, slim) for title, lock in locks.items() if lock.packages]
    known = [each.known() for each in wanted]
    missing = [each for each, layer in zip(wanted, known, strict=True) if layer is None]
    if len(missing) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(lambda each: each.layer(report), missing))
    return [layer if layer is not None else each.layer(report) for each, layer in zip(wanted, known, strict=True)]


def _judge_empty(lock: Lock, platform: Platform, store: BlobStore) -> None:
    """Judge a lock that installs nothing, once per content and target."""
    key = Digest.of(repr((_code_version(), str(platform), lock.wanted)).encode())
    record = store.root / "locks" / f"{key.hex}.json"
    if read_record(record) is None:
        with work_folder(store) as root:
            judge_lock(lock, platform, root)
        write_record(record, {"empty": True})


@dataclass(frozen=True, slots=True)
class _Installation:
    """A layer made of a lock: installed once per content, target and setting."""

    lock: Lock
    title: str
    platform: Platform
    store: BlobStore
    slim: Slim

    @property
    def record(self) -> Path:
        # By what is pinned, not by the file: comments say where the file lies, and indexes only where wheels come from.
        # What is wanted changes no layer, but a lock is held against it only when it is installed.
        pinned = sorted(repr(package) for package in self.lock.packages)
        wanted = sorted(self.lock.wanted)
        key = repr((_code_version(), str(self.platform), self.slim.key(self.platform.python), pinned, wanted))
        return self.store.root / "dependencies" / f"{Digest.of(key.encode()).hex}.json"

    def known(self) -> Layer | None:
        return _recorded(self.record, self.title, self.store)

    def layer(self, report: Report) -> Layer:
        known = self.known()
        if known is not None:
            return known
        with _installing(self.record):
            # Another thread may have installed the same lock while this one waited.
            known = self.known()
            if known is not None:
                return known
            subject = self.lock.path.parent.name if self.title == "dependencies" else self.title
            with step(report, "install", subject):
                return _record(self.record, self._install())

    def _install(self) -> Layer:
        with work_folder(self.store) as root:
            target = root / "installed"
            install(self.lock, self.platform, target)
            judge_lock(self.lock, self.platform, target)
            files = list(select_files(target, self.slim).shipped)
            if self.slim.compiles_for(self.platform.python):
                # Files of uv's cache are only read: byte code goes into new files, beside shipped modules only.
                compile_tree(target, f"/{TASK_ROOT}")
                files += [pyc for file in files if file.suffix == ".py" for pyc in _compiled(file)]
            entries = [_installed_entry(file, target, files) for file in files]
            return store_layer(self.store, entries, self.title)


def _compiled(module: Path) -> list[Path]:
    return sorted((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc"))


def _installed_entry(file: Path, target: Path, shipped: list[Path]) -> TarEntry:
    path = PurePosixPath(file.relative_to(target).as_posix())
    place = f"{TASK_ROOT}/{path}"
    if is_record(path):
        content = normalise_record(file, target, shipped)
        return TarEntry(place, "file", content, len(content))
    return _file_entry(file, place)


def _file_entry(file: Path, place: str, *, keep: bool = False) -> TarEntry:
    status = file.stat()
    content = file.read_bytes() if keep else file
    return TarEntry(place, "file", content, status.st_size, bool(status.st_mode & stat.S_IXUSR))


def _recorded(record: Path, title: str, store: BlobStore) -> Layer | None:
    """The layer that a record names, when its blob is still in the store."""
    value = read_record(record)
    if value is None:
        return None
    try:
        descriptor = Descriptor(OCI_LAYER_GZIP, Digest.parse(value["digest"]), int(value["size"]))
        layer = Layer(descriptor, Digest.parse(value["diff_id"]), title)
    except (KeyError, ValueError, TypeError):
        return None
    return layer if store.has(descriptor.digest, descriptor.size) else None


def _record(record: Path, layer: Layer) -> Layer:
    descriptor = layer.descriptor
    value = {"digest": str(descriptor.digest), "size": descriptor.size, "diff_id": str(layer.diff_id)}
    write_record(record, value)
    return layer


def _code_version() -> str:
    return code_version(*_MODULES)


_locks: dict[Path, threading.Lock] = {}


@contextlib.contextmanager
def _installing(record: Path) -> Iterator[None]:
    with _locks.setdefault(record, threading.Lock()):
        yield
