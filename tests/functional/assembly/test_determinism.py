"""One digest, whatever the machine: built in processes that differ in everything that must not matter."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROJECT = Path(__file__).resolve().parents[3]
# Beside the standard library it needs msgspec alone, so any Python can run it.
BUILD = """
import json, os, sys
from pathlib import Path
os.umask(int(sys.argv[3], 8))
from cfn.settings import Architecture, FunctionDefinition
from pipeline.oci.blobs import BlobStore
from pipeline.assembly.image import assemble, empty_base
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
if sys.argv[4]:
    os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))
images, store = Path(sys.argv[1]), BlobStore(Path(sys.argv[2]))
platform = Platform(Architecture.ARM64, PythonVersion(3, 13))
source = FunctionSource(FunctionDefinition("f"), images / "f", "handler.handle", None, (images / "common",))
image = assemble(empty_base(platform), lay_out(source, platform, store), source=source, platform=platform)
print(json.dumps([str(image.digest), [str(layer.diff_id) for layer in image.layers]]))
"""
FILES = {
    "f/handler.py": "def handle(event, context):\n    return event\n" * 40,
    "f/rules/2026-11-01.json": json.dumps({"limit": list(range(300))}),
    "f/größe.txt": "ü" * 300,
    "f/Zebra.py": "",
    "f/aardvark.py": "import Zebra\n",
    "f/empty.txt": "",
    "common/__init__.py": "",
    "common/deep/er/still/m.py": "x = 1\n",
}


def _write(images: Path, order: list[str], *, umask: int = 0o022) -> Path:
    before = os.umask(umask)
    try:
        for path in order:
            place = images / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(FILES[path], encoding="utf-8")
        (images / "f" / "run.sh").write_text("#!/bin/sh\n")
        (images / "f" / "run.sh").chmod(0o700)
        (images / "f" / "latest.json").symlink_to("rules/2026-11-01.json")
    finally:
        os.umask(before)
    return images


def _build(
    images: Path,
    store: Path,
    *,
    umask: str = "022",
    user: str = "",
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    packages: Path | None = None,
    here: Path = PROJECT,
) -> list[object]:
    path = os.pathsep.join(map(str, filter(None, (PROJECT, packages))))
    done = subprocess.run(
        [python, "-c", textwrap.dedent(BUILD), str(images), str(store), umask, user],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        cwd=here,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("usual")
    return _build(_write(folder / "images", sorted(FILES)), folder / "store")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.randoms(use_true_random=False),
    umask=st.sampled_from(["000", "022", "077", "027"]),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns"]),
    language=st.sampled_from(["C", "C.UTF-8", "tr_TR.UTF-8"]),
    seed=st.integers(0, 2**32 - 1),
    clock=st.integers(0, 2**31),
    name=st.sampled_from(["a", "with space", "gr\u00f6\u00dfe", "x" * 120]),
)
def test_nothing_around_the_files_matters(
    usual: list[object],
    tmp_path_factory: pytest.TempPathFactory,
    order: random.Random,
    umask: str,
    zone: str,
    language: str,
    seed: int,
    clock: int,
    name: str,
) -> None:
    folder = tmp_path_factory.mktemp("other") / name
    paths = list(FILES)
    order.shuffle(paths)
    images = _write(folder / "images", paths, umask=int(umask, 8))
    for path in images.rglob("*"):
        os.utime(path, (clock, clock), follow_symlinks=False)
    environment = {
        "TZ": zone,
        "LC_ALL": language,
        "LANG": language,
        "PYTHONHASHSEED": str(seed),
        "SOURCE_DATE_EPOCH": str(clock),
    }
    built = _build(images, folder / "store", umask=umask, environment=environment, here=folder)
    assert built == usual


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users")
def test_the_user_does_not_matter(usual: list[object]) -> None:
    # Not below tmp_path, which only its owner can enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "images", sorted(FILES))
        (folder / "store").mkdir()
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        assert _build(folder / "images", folder / "store", user="65534") == usual


def _pythons() -> list[str]:
    found = {shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)}
    found |= {str(path) for path in Path.home().glob(".pyenv/versions/3.1[1-9].*/bin/python3")}
    return sorted(python for python in found if python and "/shims/" not in python)


@pytest.mark.parametrize("python", _pythons())
def test_the_python_that_builds_does_not_matter(usual: list[object], tmp_path: Path, python: str) -> None:
    packages = tmp_path / "packages"
    uv, wanted = Path(sys.executable).with_name("uv"), f"msgspec=={version('msgspec')}"
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python", python, "--target", packages]
    subprocess.run([uv, "pip", "install", *options, wanted], check=True)
    images = _write(tmp_path / "images", sorted(FILES))
    assert _build(images, tmp_path / "store", python=python, packages=packages) == usual


def test_a_copy_in_another_folder_with_a_warm_or_a_cold_store_is_the_same(usual: list[object], tmp_path: Path) -> None:
    images = _write(tmp_path / "images", sorted(FILES))
    copy = shutil.copytree(images, tmp_path / "elsewhere", symlinks=True)
    assert [_build(place, tmp_path / "store") for place in (images, copy, copy)] == [usual] * 3
