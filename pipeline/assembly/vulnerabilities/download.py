"""A copy of the data at a URL, kept for other runs and for times without a network."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.core.errors import DependencyError, SettingsError
from pipeline.core.files import storing
from pipeline.core.records import read_record, write_record
from pipeline.core.shown import printable, without_secrets
from pipeline.oci.blobs import BlobStore
from pipeline.oci.work import work_folder

KEPT = "advisories"  # the folder in the store

# PyPI's archive has 30 MB, that of all ecosystems 1 GB.
DOWNLOAD_MOST = 2 * 1024**3
# Seconds until a copy is compared with its URL again; OSV publishes several times an hour.
FRESH = 6 * 3600.0
# Seconds for a connection, between two blocks, and for everything.
CONNECT, SILENT, TOTAL = 5.0, 20.0, 300.0
_BLOCK = 1 << 20


class DataUnavailable(DependencyError):
    """The data about vulnerabilities could not be read, and there is no earlier copy."""


def download(url: str, store: BlobStore) -> tuple[Path, str]:
    """A copy of what is at the URL, and why it is an earlier one, "" if it is not.

    A copy that is younger than FRESH is not asked for again. Raises SettingsError for a URL that is not HTTPS, and
    DataUnavailable if nothing was read now or before.
    """
    from requests import RequestException

    _require_safe(url)
    folder = store.root / KEPT
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    copy, record = folder / f"{name}.data", folder / f"{name}.json"
    known = (read_record(record) or {}) if copy.exists() else {}
    at, etag = known.get("at"), known.get("etag")
    if isinstance(at, (int, float)) and 0 <= time.time() - at < FRESH:
        return copy, ""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with work_folder(store) as work:
            etag = _fetch(url, copy, work / name, etag if known and isinstance(etag, str) else "")
    except (RequestException, _Refused) as problem:
        why = f"{without_secrets(url)} was not read: {printable(without_secrets(str(problem)))}"
        if not known:
            raise DataUnavailable(
                "packages were not looked up for vulnerabilities",
                why,
                'Name a file instead, which needs no network: vulnerabilities = "osv/all.zip" in environments.toml.',
            ) from problem
        return copy, why
    write_record(record, {"at": time.time(), "etag": etag})
    return copy, ""


class _Refused(Exception):
    """The answer cannot be used."""


def _require_safe(url: str) -> None:
    if not _is_safe(url):
        raise SettingsError(
            "packages were not looked up for vulnerabilities",
            f"{without_secrets(url)} is not HTTPS, so that anyone on the way can hide a vulnerability",
            "Write https:// in environments.toml, or name a file.",
        )


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can change what is read: HTTPS, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fetch(url: str, copy: Path, new: Path, etag: str) -> str:
    """Replace the copy by what is at the URL unless it is still the same; its ETag, or "". new: written first."""
    import requests

    ends = time.monotonic() + TOTAL
    # Compressed again it could unpack to any size; the archive is compressed as it is.
    headers = {"Accept-Encoding": "identity", **({"If-None-Match": etag} if etag else {})}
    with (
        requests.Session() as session,
        session.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENT)) as answer,
    ):
        if not all(_is_safe(each.url) for each in (answer, *answer.history)):
            raise _Refused("it was redirected to a URL that is not HTTPS")
        if answer.status_code == 304 and etag:
            return etag
        if answer.status_code != 200:
            raise _Refused(f"the answer was {answer.status_code}")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused(f"it is encoded as {answer.headers['Content-Encoding'][:40]}, which was not asked for")
        _write(answer.iter_content(_BLOCK), new, ends)
        announced = answer.headers.get("Content-Length", "")
        if announced.isdecimal() and new.stat().st_size != int(announced):
            raise _Refused("it broke off")
    with storing(copy.parent):
        new.replace(copy)
    return str(answer.headers.get("ETag", ""))


def _write(blocks: Iterator[bytes], path: Path, ends: float) -> None:
    """Raises _Refused for content that is too long or takes too long, and StorageError."""
    count = 0
    with ExitStack() as stack:
        with storing(path.parent):
            file = stack.enter_context(path.open("wb"))
        for block in blocks:
            count += len(block)
            if count > DOWNLOAD_MOST:
                raise _Refused(f"it has more than {DOWNLOAD_MOST:,} bytes")
            if time.monotonic() > ends:
                raise _Refused(f"it was not read within {TOTAL:.0f} s")
            with storing(path.parent):
                file.write(block)
