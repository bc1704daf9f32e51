"""OSV data from a file, a folder or a URL, read with limits: it is whatever its publisher, or a proxy, sends.

    https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip    every advisory about packages of PyPI
    osv/PyPI                                                          a folder of JSON files, with its subfolders
    osv/all.zip, advisory.json

An archive of every advisory takes seconds to read, so which of its files are about which package is remembered.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.assembly.vulnerabilities.download import KEPT, DataUnavailable, download
from pipeline.assembly.vulnerabilities.osv import ADVISORY_MOST, Advisory, parse_advisory
from pipeline.core.errors import SettingsError
from pipeline.core.files import open_regular, read_regular
from pipeline.core.records import code_version, read_record, write_record
from pipeline.core.shown import printable, without_secrets
from pipeline.oci.blobs import BlobStore

__all__ = ["Data", "DataUnavailable", "read_data"]

# PyPI's archive has some twenty thousand advisories of 100 MB.
FILES_MOST = 500_000
UNPACKED_MOST = 4 * 1024**3
# What zipfile raises beside BadZipFile: for damaged content, for methods that it lacks, and for a password.
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
_REMEMBERED = ("newest", "packages", "unreadable")


@dataclass(frozen=True, slots=True)
class Data:
    """The advisories about the packages that were asked for.

    newest      when the last advisory of all was changed; None if none says so
    unreadable  files that are no advisory
    stale       why a copy of an earlier run was read; "" for the data itself
    """

    advisories: tuple[Advisory, ...]
    newest: datetime | None
    unreadable: int
    stale: str = ""


def read_data(place: str, packages: set[str], store: BlobStore) -> Data:
    """The advisories about ``packages`` (normalised names of PyPI) at a path or a URL.

    Raises DataUnavailable for a URL that gives nothing, if no earlier run kept a copy, and SettingsError for a path
    without advisories.
    """
    if "://" in place:
        path, stale = download(place, store)
        try:
            return _read(path, without_secrets(place), packages, store, stale)
        except SettingsError:
            path.unlink(missing_ok=True)  # so that the next run fetches it again
            raise
    return _read(Path(place), place, packages, store, "")


def _read(path: Path, shown: str, packages: set[str], store: BlobStore, stale: str) -> Data:
    try:
        if path.is_dir():
            found = _of_folder(path, packages)
        else:
            with open_regular(path) as stream:
                archive = zipfile.is_zipfile(stream)
            found = _of_archive(path, packages, store.root / KEPT) if archive else _of_files([path], packages)
    except (OSError, *_BROKEN_ARCHIVE, ValueError) as problem:
        raise _unusable(shown, printable(getattr(problem, "strerror", None) or str(problem))) from problem
    if found.newest is None and not found.advisories and found.unreadable:
        raise _unusable(shown, "it has no advisory in OSV's format")
    return Data(found.advisories, found.newest, found.unreadable, stale)


def _unusable(shown: str, why: str) -> SettingsError:
    return SettingsError(
        "packages were not looked up for vulnerabilities",
        f"{shown} cannot be used: {why}",
        "Name OSV's data in environments.toml: vulnerabilities = an all.zip, its URL, a JSON file or a folder of them.",
    )


def _of_folder(folder: Path, packages: set[str]) -> Data:
    paths = []
    for root, folders, names in os.walk(folder):  # does not follow links to folders
        folders.sort()
        paths += [Path(root, name) for name in sorted(names) if name.endswith(".json")]
        if len(paths) > FILES_MOST:
            raise ValueError(f"it has more than {FILES_MOST:,} files")
    if not paths:
        raise ValueError("it has no JSON files")
    return _of_files(paths, packages)


def _of_files(paths: list[Path], packages: set[str]) -> Data:
    found = _Reading(packages)
    for path in paths:
        try:
            found.add(str(path), read_regular(path, ADVISORY_MOST))
        except OSError:
            found.unreadable += 1
    return found.data()


class _Reading:
    """What the advisories that were read so far say. ``about``: the files about each package."""

    def __init__(self, packages: set[str]) -> None:
        self._packages = packages
        self._found: list[Advisory] = []
        self.newest: datetime | None = None
        self.unreadable = 0
        self.about: dict[str, list[str]] = {}

    def add(self, name: str, content: bytes) -> None:
        try:
            advisory = parse_advisory(content)
        except ValueError:
            self.unreadable += 1
            return
        changed = _time(advisory.modified)
        if changed is not None and (self.newest is None or changed > self.newest):
            self.newest = changed
        about = {each.package for each in advisory.affected}
        for package in about:
            self.about.setdefault(package, []).append(name)
        if about & self._packages:
            self._found.append(advisory)

    def data(self) -> Data:
        return Data(tuple(self._found), self.newest, self.unreadable)


def _time(text: str) -> datetime | None:
    """A time of RFC 3339; None for anything else, and for one in the future, which would make old data look new."""
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if found <= datetime.now(UTC) else None


def _of_archive(path: Path, packages: set[str], cache: Path) -> Data:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        version = code_version(__name__, "pipeline.assembly.vulnerabilities.osv")
        record = cache / f"{digest}-{version}.json"
        with zipfile.ZipFile(stream) as archive:
            index = read_record(record)
            if index is None or not all(key in index for key in _REMEMBERED):
                index = _index(archive)
                write_record(record, index)
            wanted = sorted({name for package in packages for name in index["packages"].get(package, ())})
            reading = _Reading(packages)
            for name in wanted:
                reading.add(name, _unpacked(archive, archive.getinfo(name)))
    return Data(reading.data().advisories, _time(index["newest"]), index["unreadable"])


def _index(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The names of an archive's files by package, with what the whole archive says. Raises ValueError for a bomb."""
    entries = archive.infolist()
    if len(entries) > FILES_MOST:
        raise ValueError(f"it has more than {FILES_MOST:,} files")
    reading, unpacked = _Reading(set()), 0
    for entry in entries:
        if entry.is_dir() or not entry.filename.endswith(".json"):
            continue
        content = _unpacked(archive, entry)
        unpacked += len(content)
        if unpacked > UNPACKED_MOST:
            raise ValueError(f"it unpacks to more than {UNPACKED_MOST:,} bytes")
        if len(content) > ADVISORY_MOST:
            reading.unreadable += 1
        else:
            reading.add(entry.filename, content)
    if not reading.about:
        raise ValueError("it has no advisory about a package of PyPI")
    newest = reading.newest.isoformat() if reading.newest is not None else ""
    return {"newest": newest, "packages": reading.about, "unreadable": reading.unreadable}


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of an entry, or its first ADVISORY_MOST + 1 bytes: what its header says of its size may be a lie."""
    with archive.open(entry) as stream:
        return stream.read(ADVISORY_MOST + 1)
