"""A full disk, a huge file, and the memory that a build may take."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
from pipeline.assembly.own.collected import collect_files
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import TarEntry, tar_chunks

PROJECT = Path(__file__).resolve().parents[3]
BUILD = """
import resource, sys
from pathlib import Path
from cfn.settings import Architecture, FunctionDefinition
from pipeline.oci.blobs import BlobStore
from pipeline.assembly.check import check_image
from pipeline.core.errors import PipelineError
from pipeline.assembly.image import assemble, empty_base
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
platform = Platform(Architecture.ARM64, PythonVersion(3, 13))
source = FunctionSource(FunctionDefinition("f"), Path(sys.argv[1]), "handler.handle")
try:
    store = BlobStore(Path(sys.argv[2]))
    image = assemble(empty_base(platform), lay_out(source, platform, store), source=source, platform=platform)
    print(check_image(image, source, store).image.digest)
except PipelineError as error:
    print(f"{type(error).__name__}|{error.what}|{error.why}|{error.next_step}")
# Not getrusage, whose peak begins with that of the process that started this one.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def _build(folder: Path, store: Path, *, limit: int = 0) -> tuple[list[str], int]:
    """What was printed, and the peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder), str(store), str(limit)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *lines, memory = done.stdout.splitlines()
    return lines, int(memory) // 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "f"
    place.mkdir()
    (place / "handler.py").write_text("def handle(event, context):\n    return event\n")
    return place


def test_a_full_disk_is_an_error_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "noise.bin").write_bytes(os.urandom(3_000_000))
    store = tmp_path / "store"
    (line,), _ = _build(folder, store, limit=1_000_000)
    kind, what, why, step = line.split("|")
    assert kind == "StorageError"
    assert str(store) in what
    assert why == "file too large"
    assert "TRANSACTION_PIPELINE_CACHE" in step
    assert [path for path in store.rglob("*") if path.is_file()] == []
    lines, _ = _build(folder, store)
    assert len(lines) == 1


def _mounted(place: Path, size: str) -> bool:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


def test_a_disk_that_runs_full_is_an_error_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not _mounted(disk, "1m"):
        pytest.skip("no small disk can be mounted here")
    try:
        (folder / "noise.bin").write_bytes(os.urandom(3_000_000))
        (line,), _ = _build(folder, disk / "store")
        assert line.startswith("StorageError|")
        assert "no space left on device" in line
        assert [path for path in disk.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_store_that_cannot_be_written_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    (line,), _ = _build(folder, tmp_path / "store")
    assert line.startswith("StorageError|")


@pytest.mark.at_length
def test_memory_grows_with_no_file_and_no_layer(folder: Path, tmp_path: Path) -> None:
    # Larger than the limit that it is held against; a file of 3 GB takes the same memory, and half a minute.
    with (folder / "model.bin").open("wb") as file:
        file.truncate(300 * 1024**2)
    lines, memory = _build(folder, tmp_path / "store")
    assert len(lines) == 1
    assert memory < 100


@pytest.mark.at_length
def test_a_file_of_3_gb_is_taken_without_reading_it_first(folder: Path) -> None:
    with (folder / "model.bin").open("wb") as file:
        file.truncate(3 * 1024**3)
    entry = next(entry for entry in collect_files(folder, "var/task") if entry.path.endswith("model.bin"))
    assert (entry.size, entry.content) == (3 * 1024**3, folder / "model.bin")


@pytest.mark.parametrize("size", [3 * 1024**3, (8 * 1024**3) - 1, 8 * 1024**3, 9 * 1024**3])
def test_the_header_of_a_huge_file_says_its_size(size: int) -> None:
    header = io.BytesIO(next(tar_chunks([TarEntry("model.bin", "file", None, size)])))
    with tarfile.open(fileobj=header, mode="r|") as tar:
        member = tar.next()
    assert member is not None
    assert member.size == size


def test_a_large_file_that_did_not_change_is_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.assembly.layers._SETTLED_SECONDS", -1.0)
    model = folder / "model.bin"
    model.write_bytes(os.urandom(1_100_000))
    store = BlobStore(tmp_path / "store")
    source = FunctionSource(FunctionDefinition("f"), folder, "handler.handle")
    platform = Platform(Architecture.ARM64, PythonVersion(3, 13))
    first = lay_out(source, platform, store)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.oci.tarball._read", lambda *_: pytest.fail("read again"))
        assert lay_out(source, platform, store) == first
    before = model.stat()
    model.write_bytes(os.urandom(1_100_000))
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lay_out(source, platform, store) != first


def test_a_large_file_that_changed_just_now_is_packed_every_time(folder: Path, tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    source = FunctionSource(FunctionDefinition("f"), folder, "handler.handle")
    (folder / "model.bin").write_bytes(bytes(1_100_000))
    first = lay_out(source, Platform(Architecture.ARM64, PythonVersion(3, 13)), store)
    assert len(list((store.root / "layers").iterdir())) == 1  # of the small files
    assert lay_out(source, Platform(Architecture.ARM64, PythonVersion(3, 13)), store) == first
