"""What a killed process leaves is swept by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core.files import write_atomically
from pipeline.core.temporary import sweep, temporary_file, temporary_folder
from pipeline.local.images.image_store import ImageStore
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.work import sweep_store, work_folder

OWNER = """
import sys, time
from pathlib import Path
from pipeline.core.temporary import temporary_file, temporary_folder
from pipeline.oci.blobs import BlobStore
from pipeline.oci.work import work_folder
place, kind = Path(sys.argv[1]), sys.argv[2]
def hang():
    print("ready", flush=True)
    time.sleep(60)
    yield b""
if kind == "blob":
    BlobStore(place).put(hang())
elif kind == "work":
    with work_folder(BlobStore(place)) as folder:
        (folder / "deep").mkdir()
        list(hang())
else:
    (place / "unpacking").mkdir(parents=True)
    with temporary_folder(place / "unpacking"):
        list(hang())
"""


def left(place: Path) -> set[str]:
    folders = {"blobs", "sha256", "work", "unpacking", "images", "layers"}
    return {path.name for path in place.rglob("*") if path.name not in folders}


def clean(place: Path, kind: str) -> None:
    if kind == "unpacking":
        ImageStore(place, Registry("127.0.0.1:1"))
    else:
        sweep_store(BlobStore(place))


@pytest.mark.parametrize("kind", ["blob", "work", "unpacking"])
def test_the_next_start_sweeps_what_was_killed_and_only_that(tmp_path: Path, kind: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), kind], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == b"ready\n"
            before = left(tmp_path)
            assert before
            clean(tmp_path, kind)
            assert left(tmp_path) == before  # its owner lives
        finally:
            owner.send_signal(signal.SIGKILL)
    clean(tmp_path, kind)
    assert left(tmp_path) == set()


def test_what_lives_in_this_process_is_not_swept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with work_folder(store) as folder:
        sweep_store(store)
        assert folder.is_dir()
    assert not folder.exists()
    descriptor, path = temporary_file(tmp_path, ".writing-")
    sweep(tmp_path, ".writing-*")
    assert path.exists()
    os.close(descriptor)
    sweep(tmp_path, ".writing-*")
    assert not path.exists()


def test_a_folder_that_was_renamed_stays(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        folder.rename(tmp_path / "made")
    assert (tmp_path / "made").is_dir()


def test_links_and_pipes_are_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "target").mkdir()
    (place / "link").symlink_to(tmp_path / "target")
    sweep(place)
    assert (tmp_path / "target").is_dir()
    sweep(tmp_path / "absent")


def test_nothing_is_swept_while_others_make_their_own(tmp_path: Path) -> None:
    """Sweepers and owners in turn: an owner never loses its folder between making and locking it."""
    lost: list[Path] = []
    over = threading.Event()

    def own() -> None:
        while not over.is_set():
            with temporary_folder(tmp_path) as folder:
                try:
                    (folder / "x").touch()
                except OSError:
                    lost.append(folder)

    def clear() -> None:
        while not over.is_set():
            sweep(tmp_path)

    threads = [threading.Thread(target=work) for work in (own, own, clear, clear)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    assert lost == []
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


_WRITER = """
import sys, time
from pathlib import Path
from pipeline.core import files
def hang(*_):
    print("ready", flush=True)
    time.sleep(60)
Path.chmod = hang
files.write_atomically(Path(sys.argv[1]), b"half")
"""


def test_the_next_writer_of_a_file_sweeps_what_killed_ones_left_and_only_that(tmp_path: Path) -> None:
    path = tmp_path / "record [1].json"
    for name in (".record [1].json.writing-mine", "record [1].json.writing-12345678", ".other.json.writing-12345678"):
        (tmp_path / name).touch()
    before = {each.name for each in tmp_path.iterdir()}
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == b"ready\n"
            write_atomically(path, b"first")
            assert len(list(tmp_path.iterdir())) == len(before) + 2  # the file, and the one of the living writer
        finally:
            writer.send_signal(signal.SIGKILL)
    write_atomically(path, b"second")
    assert {each.name for each in tmp_path.iterdir()} == before | {path.name}
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o644


def test_writers_of_one_file_at_once_leave_one_of_their_contents(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(number: int) -> None:
        for _ in range(50):
            write_atomically(path, str(number).encode() * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() in [str(number).encode() * 1000 for number in range(4)]
