"""Locks into layers of installed packages, each installed once per content, target and setting."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from pipeline.assembly import model
from pipeline.assembly.dependencies.byte_code import compile_tree
from pipeline.assembly.dependencies.distribution import is_record, normalise_record
from pipeline.assembly.dependencies.installation import Lock, install, judge_lock, read_lock
from pipeline.assembly.dependencies.slim import Slim, select_files
from pipeline.assembly.layer_records import layer_version, record_layer, recorded_layer
from pipeline.assembly.model import FunctionSource, Platform
from pipeline.assembly.own.completeness import top_modules
from pipeline.core.events import Report, step
from pipeline.core.records import read_record, write_record
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, store_layer
from pipeline.oci.values import Digest, Layer
from pipeline.oci.work import work_folder

TASK_ROOT = model.TASK_ROOT.lstrip("/")
RUNTIME_LOCK = Path(__file__).with_name("runtime-requirements.txt")


@cache
def runtime_lock() -> Lock:
    """``RUNTIME_LOCK``, read once: many functions use it, and it has many hashes."""
    return read_lock(RUNTIME_LOCK)


@dataclass(frozen=True, slots=True)
class Installed:
    """A layer of dependencies.

    modules   its top-level modules → whether each is a namespace package
    left_out  what was installed and is not shipped, a file or a whole "folder/" → the rule
    """

    layer: Layer
    modules: Mapping[str, bool]
    left_out: Mapping[str, str]


def installed_of(
    source: FunctionSource, platform: Platform, store: BlobStore, slim: Slim, *, runtime: bool, report: Report
) -> list[Installed]:
    """The layers of a function's locks, none for a lock without packages; missing ones are installed side by side.

    runtime  put awslambdaric below them, for a base that has none

    Raises DependencyError and StorageError.
    """
    locks = {"runtime": runtime_lock()} if runtime else {}
    if source.requirements is not None:
        locks["dependencies"] = read_lock(source.requirements)
    for lock in locks.values():
        if lock.wanted and not lock.packages:
            _judge_empty(lock, platform, store)
    wanted = [_Installation(lock, title, platform, store, slim) for title, lock in locks.items() if lock.packages]
    known = [each.known() for each in wanted]
    missing = [each for each, found in zip(wanted, known, strict=True) if found is None]
    if len(missing) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(lambda each: each.installed(report), missing))
    return [found if found is not None else each.installed(report) for each, found in zip(wanted, known, strict=True)]


def _judge_empty(lock: Lock, platform: Platform, store: BlobStore) -> None:
    """Judge a lock that installs nothing, once per content and target."""
    key = Digest.of(repr((layer_version(), str(platform), lock.wanted)).encode())
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
        key = repr((layer_version(), str(self.platform), self.slim.key(self.platform.python), pinned, wanted))
        return self.store.root / "dependencies" / f"{Digest.of(key.encode()).hex}.json"

    def known(self) -> Installed | None:
        layer = recorded_layer(self.record, self.title, self.store)
        value = read_record(self.record) if layer is not None else None
        if layer is None or value is None:
            return None
        return Installed(layer, value.get("modules", {}), value.get("left_out", {}))

    def installed(self, report: Report) -> Installed:
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
                done = self._install()
                record_layer(self.record, done.layer, modules=done.modules, left_out=done.left_out)
                return done

    def _install(self) -> Installed:
        with work_folder(self.store) as root:
            target = root / "installed"
            install(self.lock, self.platform, target)
            judge_lock(self.lock, self.platform, target)
            selection = select_files(target, self.slim)
            files = list(selection.shipped)
            modules = top_modules([file.relative_to(target).as_posix() for file in files])
            if self.slim.compiles_for(self.platform.python):
                # Files of uv's cache are only read: byte code goes into new files, beside shipped modules only.
                compile_tree(target, f"/{TASK_ROOT}")
                files += [pyc for file in files if file.suffix == ".py" for pyc in _compiled(file)]
            entries = [_installed_entry(file, target, files) for file in files]
            return Installed(store_layer(self.store, entries, self.title), modules, selection.folded(target))


def _compiled(module: Path) -> list[Path]:
    return sorted((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc"))


def _installed_entry(file: Path, target: Path, shipped: list[Path]) -> TarEntry:
    path = PurePosixPath(file.relative_to(target).as_posix())
    place = f"{TASK_ROOT}/{path}"
    if is_record(path):
        content = normalise_record(file, target, shipped)
        return TarEntry(place, "file", content, len(content))
    return file_entry(file, place)


def file_entry(file: Path, place: str, *, keep: bool = False) -> TarEntry:
    """An entry for a regular file. keep: read it now, because it will not last."""
    status = file.stat()
    content = file.read_bytes() if keep else file
    return TarEntry(place, "file", content, status.st_size, bool(status.st_mode & stat.S_IXUSR))


_locks: dict[Path, threading.Lock] = {}


@contextlib.contextmanager
def _installing(record: Path) -> Iterator[None]:
    with _locks.setdefault(record, threading.Lock()):
        yield
