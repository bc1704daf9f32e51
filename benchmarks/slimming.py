"""Prove slimming on widely used packages: what imports, resources, metadata and entry points can reach is shipped.

    python -m benchmarks.slimming [NAME...] [--cache DIR]

For each package its newest version is installed twice for this machine: as uv installs it, and as a layer. Then, in
processes that see nothing else:

- every module outside of ``tests`` that the full installation can import, the layer can import, too
- every data file of the full installation is in the layer, and so is every file that ``importlib.metadata.files`` lists
- every entry point that loads from the full installation loads from the layer
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cfn.settings import FunctionDefinition
from pipeline.assembly.dependencies.installation import read_lock
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.facts.glibc import manylinux_of
from pipeline.assembly.layers import lay_out
from pipeline.assembly.model import FunctionSource
from pipeline.core.errors import PipelineError
from pipeline.oci.blobs import BlobStore
from pipeline.target import host_platform_of_functions

# From the most downloaded of PyPI, those that have wheels and are libraries, and some that are hard to slim.
PACKAGES = [
    "boto3",
    "urllib3",
    "botocore",
    "requests",
    "setuptools",
    "certifi",
    "idna",
    "charset-normalizer",
    "packaging",
    "typing-extensions",
    "python-dateutil",
    "s3transfer",
    "six",
    "pyyaml",
    "numpy",
    "grpcio-status",
    "fsspec",
    "cryptography",
    "pydantic",
    "cffi",
    "pandas",
    "attrs",
    "protobuf",
    "pip",
    "jmespath",
    "rsa",
    "click",
    "pyasn1",
    "importlib-metadata",
    "markupsafe",
    "jinja2",
    "wheel",
    "pytz",
    "zipp",
    "cachetools",
    "google-api-core",
    "platformdirs",
    "rich",
    "pygments",
    "filelock",
    "pluggy",
    "pytest",
    "tomli",
    "pyarrow",
    "virtualenv",
    "docutils",
    "aiohttp",
    "yarl",
    "multidict",
    "sqlalchemy",
    "psutil",
    "jsonschema",
    "scipy",
    "google-auth",
    "werkzeug",
    "pillow",
    "lxml",
    "tqdm",
    "openpyxl",
    "wrapt",
    "beautifulsoup4",
    "httpx",
    "anyio",
    "grpcio",
    "networkx",
    "matplotlib",
    "scikit-image",
    "dbt-adapters",
    "mypy",
]
_LOOK = """
import importlib, importlib.metadata, io, json, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
warnings.simplefilter("ignore")
root, names = sys.argv[1], json.load(sys.stdin)
sys.path.insert(0, root)
modules, entries, files = [], [], []
with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException:
            continue
        modules.append(name)
    for distribution in importlib.metadata.distributions(path=[root]):
        for file in distribution.files or ():
            if not file.locate().exists():
                files.append(str(file))
        for entry in distribution.entry_points:
            try:
                entry.load()
            except BaseException:
                continue
            entries.append(f"{entry.group} {entry.name}")
print(json.dumps([modules, entries, files]))
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared of one package, and what the layer lacks. sizes: unpacked bytes, full and slim."""

    package: str
    modules: int
    entry_points: int
    data_files: int
    full: int
    slim: int
    lost: tuple[str, ...]


def prove(package: str, cache: Path) -> Proof:
    """Compare a package's installation with its layer. Raises PipelineError where no wheels install."""
    platform = host_platform_of_functions()
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        (folder / "f").mkdir()
        (folder / "f" / "handler.py").touch()
        lock = folder / "f" / "requirements.txt"
        compile_lock(package, cache / "locks" / f"{package}.txt", lock)
        read_lock(lock)
        source = FunctionSource(FunctionDefinition("f"), folder / "f", "handler.handle", lock)
        roots = {}
        for kind, slim in (("full", Slim(enabled=False)), ("slim", Slim())):
            store = BlobStore(folder / kind)
            layer = lay_out(source, platform, store, slim=slim)[0]
            with tarfile.open(store.path(layer.descriptor.digest)) as tar:
                tar.extractall(folder / f"{kind}-files", filter="fully_trusted")
            roots[kind] = folder / f"{kind}-files" / "var" / "task"
        return compare(package, roots["full"], roots["slim"])


def compile_lock(package: str, known: Path, lock: Path) -> None:
    """Lock a package once, so that a second run needs no index."""
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        platform = host_platform_of_functions()
        command = ["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--only-binary", ":all:"]
        command += ["--python-platform", f"{os.uname().machine}-{manylinux_of(platform.python)}", "-", "-o", str(known)]
        command = [str(Path(sys.executable).with_name("uv")), *command]
        done = subprocess.run(command, input=package, capture_output=True, text=True)
        if done.returncode:
            raise PipelineError(f"{package} was not locked", done.stderr.strip()[-300:], "Leave it out.")
    lock.write_bytes(known.read_bytes())


def compare(package: str, full: Path, slim: Path) -> Proof:
    """What ``slim`` lacks of ``full``."""
    files = {kind: _files(root) for kind, root in (("full", full), ("slim", slim))}
    data = {path for path in files["full"] if not path.endswith((".py", ".pyi")) and not _is_sdk_data(path)}
    names = sorted(filter(None, map(_module, files["full"])))
    (could, loaded, _), (can, loads, dangling) = (_look(root, names) for root in (full, slim))
    lost = [f"module {name}" for name in could if name not in set(can)]
    lost += [f"entry point {name}" for name in loaded if name not in set(loads)]
    # RECORD is rewritten, and so never equal; that it names what is there is looked at above.
    lost += [f"file {path}" for path in sorted(data - files["slim"].keys())]
    lost += [f"RECORD names {path}" for path in dangling]
    return Proof(
        package,
        len(could),
        len(loaded),
        len(data),
        sum(files["full"].values()),
        sum(files["slim"].values()),
        tuple(lost),
    )


def _files(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def _is_sdk_data(path: str) -> bool:
    return path.startswith(("botocore/data/", "boto3/data/"))


def _module(path: str) -> str:
    """The dotted name of a module that is no test; "" for what is none."""
    parts = path.split("/")
    if not path.endswith((".py", ".so")) or "tests" in parts[:-1] or parts[-1] == "__main__.py":
        return ""
    names = [*parts[:-1], parts[-1].split(".")[0]]
    names = names[:-1] if names[-1] == "__init__" else names
    return ".".join(names) if names and all(name.isidentifier() for name in names) else ""


def _look(root: Path, names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The modules that import, the entry points that load, and the files that RECORD names in vain."""
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-B", "-c", _LOOK, str(root)],
        input=json.dumps(names),
        env={"PATH": os.environ["PATH"], "HOME": str(root), "MPLCONFIGDIR": str(root.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        cwd=root.parent,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    modules, entries, files = json.loads(done.stdout.strip().splitlines()[-1])
    return modules, entries, files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "slimming")
    chosen = parser.parse_args()
    chosen.cache.mkdir(parents=True, exist_ok=True)
    print("| package | modules | entry points | data files | MB | slim MB | lost |\n|---|---|---|---|---|---|---|")
    failed, proofs, started = 0, 0, time.monotonic()
    for package in chosen.packages:
        try:
            proof = prove(package, chosen.cache)
        except PipelineError as error:
            print(f"| {package} | not installed: {error.why[:100]} | | | | | |", flush=True)
            continue
        proofs += 1
        failed += bool(proof.lost)
        sizes = f"{proof.full / 1e6:.1f} | {proof.slim / 1e6:.1f}"
        lost = ", ".join(proof.lost[:5]) or "nothing"
        counts = f"{proof.modules} | {proof.entry_points} | {proof.data_files}"
        print(f"| {package} | {counts} | {sizes} | {lost} |", flush=True)
    print(f"\n{proofs} packages in {time.monotonic() - started:.0f} s; {failed} lost something")
    return 1 if failed or not proofs else 0


if __name__ == "__main__":
    sys.exit(main())
