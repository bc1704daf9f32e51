import os
import stat
from pathlib import Path

import pytest

from pipeline.core.files import cache_folder
from pipeline.oci.blobs import BlobStore, WrongContent
from pipeline.oci.values import Digest


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_blob_is_found_under_its_digest(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.add(b"content")
    assert store.path(digest) == tmp_path / "blobs" / "sha256" / digest.hex
    assert store.read(digest) == b"content"


def test_a_damaged_blob_is_noticed_and_written_anew(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.add(b"content")
    store.path(digest).write_bytes(b"damaged")
    with pytest.raises(WrongContent, match="is damaged"):
        store.read(digest)
    store.add(b"content")
    assert store.read(digest) == b"content"


def test_a_blob_that_lost_its_content_is_not_there(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.add(b"content")
    assert store.has(digest, 7)
    store.path(digest).write_bytes(b"")
    assert not store.has(digest, 7)
    store.path(digest).unlink()
    store.path(digest).mkdir()
    assert not store.has(digest)


def test_only_damaged_blobs_are_dropped(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    whole, damaged = store.add(b"whole"), store.add(b"content")
    store.path(damaged).write_bytes(b"damaged")
    assert store.drop_damaged([whole, damaged, Digest.of(b"not there")]) == [damaged]
    assert (store.has(whole), store.has(damaged)) == (True, False)


@pytest.mark.parametrize(
    ("chunks", "size", "said"),
    [
        ([b"other"], 5, "promised"),
        ([b"con", b"tent", b"more"], 7, "runs past"),
        ([b"con"], 7, "3 bytes instead of 7"),
        ([], None, "promised"),
    ],
)
def test_wrong_content_is_refused_and_leaves_nothing(
    tmp_path: Path, chunks: list[bytes], size: int | None, said: str
) -> None:
    with pytest.raises(WrongContent, match=said):
        BlobStore(tmp_path).write(chunks, expected=Digest.of(b"content"), size=size)
    assert files(tmp_path) == []


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield b"con"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        BlobStore(tmp_path).write(broken(), expected=Digest.of(b"content"))  # type: ignore[arg-type]
    assert files(tmp_path) == []


def test_a_stream_without_end_is_given_up(tmp_path: Path) -> None:
    def endless() -> object:
        while True:
            yield b"x" * 1024

    with pytest.raises(WrongContent, match="runs past"):
        BlobStore(tmp_path).write(endless(), expected=Digest.of(b"x"), size=4096)  # type: ignore[arg-type]


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "a b"))
    assert cache_folder() == tmp_path / "a b"
    monkeypatch.delenv("TRANSACTION_PIPELINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "transaction-pipeline"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_cache_is_for_its_user_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, umask: int) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "cache"))
    before = os.umask(umask)
    try:
        assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
        # One that others share stays so.
        (tmp_path / "cache").chmod(0o775)
        assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o775
    finally:
        os.umask(before)
