"""OSV data from files, folders, archives and a server on loopback, well-formed and hostile."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.assembly.vulnerabilities import download, osv_data
from pipeline.assembly.vulnerabilities.osv_data import DataUnavailable, read_data
from pipeline.core.errors import SettingsError
from pipeline.oci.blobs import BlobStore


def advisory(name: str, package: str = "idna", modified: str = "2026-01-02T00:00:00Z", **more: Any) -> bytes:
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "versions": ["1.0"]}
    return json.dumps({"id": name, "modified": modified, "affected": [affected], **more}).encode()


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as written:
        for name, each in files.items():
            written.writestr(name, each)
    return content.getvalue()


ALL = archive({"A.json": advisory("A"), "B.json": advisory("B", "other", "2026-01-03T00:00:00Z"), "C.json": b"{"})


def ids(place: Path | str, store: BlobStore, package: str = "idna") -> list[str]:
    return [each.id for each in read_data(str(place), {package}, store).advisories]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def test_an_archive_is_read_and_its_content_remembered(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.zip"
    path.write_bytes(ALL)
    found = read_data(str(path), {"idna"}, store)
    assert [each.id for each in found.advisories] == ["A"]
    assert (found.newest and f"{found.newest:%Y-%m-%d}", found.unreadable, found.stale) == ("2026-01-03", 1, "")
    monkeypatch.setattr(osv_data, "_index", None)
    assert read_data(str(path), {"idna"}, store) == found
    assert ids(path, store, "other") == ["B"]


def test_a_folder_and_a_file_are_read(tmp_path: Path, store: BlobStore) -> None:
    (tmp_path / "osv" / "PyPI").mkdir(parents=True)
    (tmp_path / "osv" / "PyPI" / "A.json").write_bytes(advisory("A"))
    (tmp_path / "osv" / "README.md").write_text("about")
    os.mkfifo(tmp_path / "osv" / "pipe.json")
    found = read_data(str(tmp_path / "osv"), {"idna"}, store)
    assert ([each.id for each in found.advisories], found.unreadable) == (["A"], 1)
    assert ids(tmp_path / "osv" / "PyPI" / "A.json", store) == ["A"]


def encrypted(content: bytes) -> bytes:
    """With the bit that says so in both headers."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[content.index(signature) + offset] |= 1
    return bytes(changed)


HOSTILE = {
    "empty": b"",
    "not JSON": b"<html>",
    "no advisory": b'{"vulns": []}',
    "half an archive": ALL[: len(ALL) // 2],
    "damaged content": ALL[:50] + b"\0\0\0\0" + ALL[54:],
    "damaged LZMA": (LZMA := archive({"A.json": advisory("A") * 9}, zipfile.ZIP_LZMA))[:45] + b"\xff" * 9 + LZMA[54:],
    "encrypted": encrypted(ALL),
    "an archive without advisories": archive({"a.txt": b""}),
    "an archive of another ecosystem": archive({"a.json": b'{"id": "x"}'}),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_data_is_an_error(tmp_path: Path, store: BlobStore, content: bytes) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="packages were not looked up") as caught:
        read_data(str(path), {"idna"}, store)
    assert str(path) in caught.value.why


def test_what_is_not_there_is_an_error(tmp_path: Path, store: BlobStore) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing.zip", "folder", "pipe"):
        with pytest.raises(SettingsError):
            read_data(str(tmp_path / name), {"idna"}, store)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    monkeypatch.setattr(osv_data, "ADVISORY_MOST", 10_000)
    path = tmp_path / "all.zip"
    path.write_bytes(archive({"A.json": advisory("A"), "bomb.json": b" " * 2_000_000}, method))
    found = read_data(str(path), {"idna"}, store)
    assert ([each.id for each in found.advisories], found.unreadable) == (["A"], 1)


def test_an_archive_that_unpacks_to_too_much_is_an_error(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(osv_data, "UNPACKED_MOST", 100_000)
    path = tmp_path / "all.zip"
    path.write_bytes(archive({f"{number}.json": b" " * 50_000 for number in range(5)}))
    with pytest.raises(SettingsError, match="unpacks to more than 100,000 bytes"):
        read_data(str(path), {"idna"}, store)


def test_too_many_files_are_an_error(tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv_data, "FILES_MOST", 2)
    path = tmp_path / "all.zip"
    path.write_bytes(ALL)
    with pytest.raises(SettingsError, match="more than 2 files"):
        read_data(str(path), {"idna"}, store)


@pytest.mark.parametrize("modified", ["2999-01-01T00:00:00Z", "yesterday", "", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_is_none(tmp_path: Path, store: BlobStore, modified: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(advisory("A", modified=modified))
    assert read_data(str(path), {"idna"}, store).newest is None


class Server(ThreadingHTTPServer):
    """Answers with ``respond``; ``asked``: the If-None-Match of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond: Callable[[_Handler], None] = serve(ALL)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/all.zip?token=secret"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["If-None-Match"])
        self.server.respond(self)

    def log_message(self, format: str, *args: Any) -> None: ...


def serve(content: bytes, status: int = 200, **headers: str) -> Callable[[_Handler], None]:
    def respond(handler: _Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return respond


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_copy_is_compared_with_its_url_after_some_hours(
    server: Server, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.respond = serve(ALL, ETag='"one"')
    assert ids(server.url, store) == ids(server.url, store) == ["A"]
    assert server.asked == [None]
    monkeypatch.setattr(download, "FRESH", -1.0)
    server.respond = serve(b"", 304)
    assert ids(server.url, store) == ["A"]
    server.respond = serve(archive({"Z.json": advisory("Z")}), ETag='"two"')
    assert ids(server.url, store) == ["Z"]
    assert server.asked == [None, '"one"', '"one"']


REFUSED = {
    "gone": serve(b"", 404),
    "an error": serve(b"", 503),
    "the same as nothing": serve(b"", 304),
    "half of it": serve(ALL[:100], Content_Length=str(len(ALL))),
    "compressed twice": serve(ALL, Content_Encoding="gzip"),
    "another site": serve(b"", 302, Location="http://localhost:1/all.zip"),
}


@pytest.mark.parametrize("respond", REFUSED.values(), ids=REFUSED)
def test_without_data_the_reason_is_given_and_with_a_copy_the_copy_used(
    server: Server, store: BlobStore, monkeypatch: pytest.MonkeyPatch, respond: Callable[[_Handler], None]
) -> None:
    server.respond = respond
    with pytest.raises(DataUnavailable) as caught:
        read_data(server.url, {"idna"}, store)
    assert "secret" not in caught.value.why
    server.respond = serve(ALL)
    read_data(server.url, {"idna"}, store)
    monkeypatch.setattr(download, "FRESH", -1.0)
    server.respond = respond
    found = read_data(server.url, {"idna"}, store)
    assert [each.id for each in found.advisories] == ["A"]
    assert "was not read" in found.stale


def test_a_url_that_is_silent_is_given_up(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SILENT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataUnavailable, match="not looked up"):
        read_data(f"http://127.0.0.1:{silent.getsockname()[1]}/all.zip", {"idna"}, store)


def test_an_answer_that_does_not_end_is_given_up(
    server: Server, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(handler: _Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 1000)
                time.sleep(0.001)
        except OSError:
            handler.close_connection = True

    server.respond = drip
    monkeypatch.setattr(download, "_BLOCK", 1000)
    monkeypatch.setattr(download, "TOTAL", 0.1)
    with pytest.raises(DataUnavailable) as caught:
        read_data(server.url, {"idna"}, store)
    assert "was not read within" in caught.value.why
    monkeypatch.setattr(download, "TOTAL", 60.0)
    monkeypatch.setattr(download, "DOWNLOAD_MOST", 5000)
    with pytest.raises(DataUnavailable) as caught:
        read_data(server.url, {"idna"}, store)
    assert "more than 5,000 bytes" in caught.value.why
    assert list((store.root / "work").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://osv.dev/all.zip", "ftp://127.0.0.1/x", "file:///etc/passwd", "https://", "http://[", "://"]
)
def test_only_https_is_asked(store: BlobStore, url: str) -> None:
    with pytest.raises(SettingsError, match="not looked up"):
        read_data(url, {"idna"}, store)


def test_a_copy_that_cannot_be_used_is_fetched_again(server: Server, store: BlobStore) -> None:
    server.respond = serve(b"<html>a proxy's page</html>")
    with pytest.raises(SettingsError):
        read_data(server.url, {"idna"}, store)
    server.respond = serve(ALL)
    assert ids(server.url, store) == ["A"]
