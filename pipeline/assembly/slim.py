"""What of installed dependencies a function never needs, and byte code for what stays.

A layer without it must still import: what is left out is either no module (data of AWS services that no function
calls, type stubs) or tests that no other module of the distribution imports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.assembly.model import FunctionSource, PythonVersion
from pipeline.core.children import run_child
from pipeline.core.errors import StorageError

# Differs from machine to machine, and nothing reads it in an image: who installed, from where, with which hashes.
_INSTALLER_FILES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
# boto3's credential providers may call STS, also for a function that does not.
_ALWAYS = frozenset({"sts"})
_IMPORTS_TESTS = re.compile(
    rb"^\s*(?:from\s+([\w.]*\btests)\b[\w.]*\s+import|import\s+([\w.]+\.tests)\b"
    rb"|from\s+([\w.]+)\s+import\s*(?:\([^)]*|[^\n]*)\btests\b)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Slim:
    """How dependencies are slimmed.

    enabled    leave out tests, type stubs and data of services outside ``services``
    services   the AWS services that functions call, by botocore's name
    byte_code  ship byte code where this interpreter writes the target's; see docs/decisions/byte-code.md
    """

    enabled: bool = True
    services: frozenset[str] = frozenset()
    byte_code: bool = False

    @classmethod
    def for_sources(cls, sources: Iterable[FunctionSource], *, enabled: bool = True, byte_code: bool = False) -> Slim:
        """The services of all functions together, so that functions with one lock still share one layer."""
        services = frozenset(call.service for source in sources for call in source.definition.calls)
        return cls(enabled, services, byte_code)

    def compiles_for(self, python: PythonVersion) -> bool:
        """Whether byte code is shipped: wanted, and this interpreter's format is the target's."""
        return (
            self.byte_code
            and sys.implementation.name == "cpython"
            and sys.version_info[:2] == (python.major, python.minor)
        )

    def key(self, python: PythonVersion) -> str:
        """Everything here that a layer depends on, for cache keys."""
        written_by = sys.version if self.compiles_for(python) else ""
        return f"{self.enabled} {sorted(self.services)} {written_by}"


def shipped_files(root: Path, slim: Slim) -> list[Path]:
    """The files below an installation that belong into a layer, sorted."""
    files = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    kept = [file for file in files if not _is_local(file, root)]
    if slim.enabled:
        kept = _without_ballast(kept, root, slim)
    return sorted(kept)


def _is_local(file: Path, root: Path) -> bool:
    """Whether a file says more of this machine than of the package."""
    parts = file.relative_to(root).parts
    if "__pycache__" in parts or file.suffix in (".pyc", ".pyo") or parts == (".lock",):
        return True
    if len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in _INSTALLER_FILES:
        return True
    if parts[0] == "bin":  # console scripts name the interpreter of the machine that installed them
        with file.open("rb") as script:
            return script.read(2) == b"#!"
    return False


def _without_ballast(files: list[Path], root: Path, slim: Slim) -> list[Path]:
    wanted = slim.services | _ALWAYS
    relative = {file: PurePosixPath(file.relative_to(root).as_posix()) for file in files}
    keep_tests, keep_stubs = _exceptions(files, relative)
    kept = []
    for file in files:
        parts = relative[file].parts
        if parts[0] in ("botocore", "boto3") and len(parts) > 3 and parts[1] == "data" and parts[2] not in wanted:
            continue
        if "tests" in parts[:-1] and parts[0] not in keep_tests:
            continue
        if parts[0].endswith("-stubs") or (file.suffix == ".pyi" and parts[0] not in keep_stubs):
            continue
        kept.append(file)
    return kept


def _exceptions(files: list[Path], relative: dict[Path, PurePosixPath]) -> tuple[set[str], set[str]]:
    """Top-level packages whose own modules import a ``tests`` folder, and those that read their stubs at run time."""
    tests, stubs = set(), set()
    for file in files:
        parts = relative[file].parts
        if file.suffix != ".py" or "tests" in parts:
            continue
        text = file.read_bytes()
        if b"tests" in text:
            for match in _IMPORTS_TESTS.finditer(text):
                module = next(filter(None, match.groups())).decode()
                tests.add(parts[0] if module.startswith(".") or module == "tests" else module.split(".")[0])
        if b"attach_stub" in text:  # lazy_loader's way to list a package's names
            stubs.add(parts[0])
    return tests, stubs


_COMPILE = """
import compileall, py_compile, sys
compileall.compile_dir(sys.argv[1], maxlevels=99, quiet=2, force=True, workers=1, optimize=0,
    stripdir=sys.argv[1], prependdir=sys.argv[2], invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def compile_tree(root: Path, shipped_at: str) -> None:
    """Write byte code beside every module below ``root``, the same for the same modules and the same Python.

    One fresh process without site packages, with a fixed hash seed and in sorted order: marshal writes what is shared
    in memory as references, and the order of sets, so both must not depend on what ran before. Modules that this
    Python cannot compile are left without. Raises StorageError when it cannot be written.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    command = [sys.executable, "-S", "-s", "-B", "-c", _COMPILE, str(root), shipped_at]
    done = run_child(command, environment=environment)
    if done.returncode != 0:
        # Source that does not compile is passed over, so this is the disk.
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise StorageError(f"no byte code was written to {root}", reason, "Free some space, or set byte_code = false.")
