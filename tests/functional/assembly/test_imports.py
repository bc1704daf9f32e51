"""Slim layers still import: every module that is shipped and that the full set can import."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.dependencies.dependency_layers import RUNTIME_LOCK
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource, Platform, PythonVersion
from pipeline.oci.blobs import BlobStore

PROJECT = Path(__file__).resolve().parents[3]
LOCKS = [
    PROJECT / "tests" / "packages" / "with-boto3" / "requirements.txt",
    RUNTIME_LOCK,
    *sorted({path.read_bytes(): path for path in PROJECT.glob("images/*/requirements.txt")}.values()),
]
# What runs here can only import what is made for here.
HERE = Platform(
    Architecture.ARM64 if os.uname().machine == "aarch64" else Architecture.X86_64,
    PythonVersion(*sys.version_info[:2]),
)
IMPORT_ALL = """
import importlib, io, json, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
warnings.simplefilter("ignore")
root = sys.argv[1]
sys.path.insert(0, root)
imported = []
with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
    for name in json.load(sys.stdin):
        try:
            importlib.import_module(name)
        except BaseException:
            continue
        imported.append(name)
print(json.dumps(imported))
"""


def _unpacked(lock: Path, folder: Path, slim: Slim) -> Path:
    place = folder / ("slim" if slim.enabled else "full")
    source = FunctionSource(FunctionDefinition("f"), folder / "f", "handler.handle", lock)
    store = BlobStore(folder / "store")
    with tarfile.open(store.path(lay_out(source, HERE, store, slim=slim)[0].descriptor.digest)) as tar:
        tar.extractall(place, filter="data")
    return place / "var" / "task"


def _modules(root: Path) -> set[str]:
    found = set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.suffix == ".py" or path.name.endswith(".so"):
            names = [*parts[:-1], path.name.split(".")[0]]
            names = names[:-1] if names[-1] == "__init__" else names
            if names and names[-1] != "__main__" and all(name.isidentifier() for name in names):
                found.add(".".join(names))
    return found


def _importable(root: Path, modules: set[str]) -> set[str]:
    """Without site packages, so that nothing outside ``root`` but the standard library helps."""
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-B", "-c", IMPORT_ALL, str(root)],
        input=json.dumps(sorted(modules)),
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_everything_shipped_imports(lock: Path, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "handler.py").touch()
    full = _unpacked(lock, tmp_path, Slim(enabled=False))
    slim = _unpacked(lock, tmp_path, Slim(services=frozenset({"dynamodb"})))
    shipped = _modules(slim)
    assert shipped <= _modules(full)
    could = _importable(full, shipped)
    assert could
    assert could - _importable(slim, shipped) == set()


def test_a_slim_sdk_makes_the_clients_that_functions_need(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "handler.py").touch()
    slim = _unpacked(LOCKS[0], tmp_path, Slim(services=frozenset({"dynamodb"})))
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import boto3\n"
        "for name in ('dynamodb', 'sts'): boto3.client(name, region_name='us-east-1').meta.service_model\n"
        "boto3.resource('dynamodb', region_name='us-east-1').Table('t')\n"
        "print(boto3.client('dynamodb', region_name='us-east-1').can_paginate('query'),"
        " sorted(boto3.Session().get_available_services()))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-B", "-W", "ignore", "-c", script, str(slim)],
        env={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True ['dynamodb', 'sts']\n", done.stderr


def test_byte_code_is_the_same_in_every_build_and_is_what_python_loads(tmp_path: Path) -> None:
    images = []
    for name in ("one", "a longer folder"):
        folder = tmp_path / name / "f"
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(
            "WHERE = 'taken from byte code'\nSET = frozenset({'a', 'b', 'c', 'd'})\n"
            "def handle(event, context):\n    return event in SET\n"
        )
        (folder / "broken.py").write_text("this is no Python\n")
        source = FunctionSource(FunctionDefinition("f"), folder, "handler.handle", RUNTIME_LOCK)
        store = BlobStore(tmp_path / name / "store")
        images.append(lay_out(source, HERE, store, slim=Slim(byte_code=True)))
    assert images[0] == images[1]
    root = tmp_path / "root"
    for layer in images[0]:
        with tarfile.open(store.path(layer.descriptor.digest)) as tar:
            tar.extractall(root, filter="data")
    task = root / "var" / "task"
    compiled = {path.name.split(".")[0] for path in (task / "__pycache__").iterdir()}
    assert {"handler", "snapshot_restore_py"} <= compiled
    assert "broken" not in compiled
    # Byte code is taken without a look at the source: a source that fails shows what was loaded.
    (task / "handler.py").write_text("raise SystemExit('the source was loaded')\n")
    script = "import sys; sys.path.insert(0, sys.argv[1]); import handler; print(handler.WHERE)"
    done = subprocess.run([sys.executable, "-S", "-c", script, str(task)], capture_output=True, text=True)
    assert done.stdout == "taken from byte code\n", done.stderr
    (byte_code,) = (task / "__pycache__").glob("handler.*")
    assert marshal.loads(byte_code.read_bytes()[16:]).co_filename == "/var/task/handler.py"


def test_byte_code_for_another_python_is_not_shipped(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "handler.py").touch()
    source = FunctionSource(FunctionDefinition("f"), tmp_path / "f", "handler.handle")
    other = Platform(HERE.architecture, PythonVersion(3, HERE.python.minor + 1))
    store = BlobStore(tmp_path / "store")
    assert lay_out(source, other, store, slim=Slim(byte_code=True)) == lay_out(source, other, store)
