"""Which installed files a function cannot need, and which only describe the machine that installed them.

What is left out is unreachable or unwanted by design: data of AWS services that no function calls, the test modules
of packages, and type stubs beside their modules. Data files always ship, wherever they are, and so does everything
that a module of its distribution imports or names in a string.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.assembly.model import FunctionSource, PythonVersion
from pipeline.core.documents import parse_python

# Written by the installer about itself: its name, the command line, where a file came from (with its password).
_INSTALLER_FILES = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
# boto3's credential providers may call STS, also for a function that does not.
_ALWAYS = frozenset({"sts"})
_TESTS = "tests"
_NAMES_TESTS = re.compile(r"(?:^|[./\\:])tests(?:$|[./\\:])")
_SPACE = re.compile(r"\s")  # prose, such as docstrings
_READS_STUBS = re.compile(rb"attach_stub|\.pyi\b")
_MODULES = (".py", ".pyc", ".so")


@dataclass(frozen=True, slots=True)
class Slim:
    """How dependencies are slimmed.

    enabled    leave out test modules, type stubs and data of services outside ``services``
    services   the AWS services that functions call, by botocore's name
    byte_code  ship byte code where this interpreter writes the target's; see docs/decisions/one-digest.md
    """

    enabled: bool = True
    services: frozenset[str] = frozenset()
    byte_code: bool = False

    @classmethod
    def for_sources(cls, sources: Iterable[FunctionSource], *, enabled: bool = True, byte_code: bool = False) -> Slim:
        """The services of all functions together, so that functions with one lock still share one layer."""
        services: set[str] = set()
        for definition in (source.definition for source in sources):
            services.update(call.service for call in definition.calls)
            # A secret is named by the service that the function reads it from.
            services.update(reference.partition(":")[0] for _, reference in definition.secrets)
        return cls(enabled, frozenset(services), byte_code)

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


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of an installation, each under ``shipped`` or under ``left_out`` with the rule that leaves it out."""

    shipped: tuple[Path, ...]
    left_out: Mapping[Path, str]

    def folded(self, root: Path) -> dict[str, str]:
        """What is left out, relative to ``root``: a file, or a whole folder as "folder/" where one rule covers it."""
        kept = {parent for file in self.shipped for parent in file.parents}
        rules: dict[Path, set[str]] = {}
        for file, rule in self.left_out.items():
            for parent in file.parents:
                rules.setdefault(parent, set()).add(rule)
        folded = {}
        for file, rule in self.left_out.items():
            above = [each for each in file.parents if each not in kept and len(rules[each]) == 1]
            above = [each for each in above if each != root and each.is_relative_to(root)]
            place = f"{above[-1].relative_to(root).as_posix()}/" if above else file.relative_to(root).as_posix()
            folded[place] = rule
        return folded


def select_files(root: Path, slim: Slim) -> Selection:
    """Sort the files below an installation into shipped and left out; both are in the order of their paths."""
    files = sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    relative = {file: PurePosixPath(file.relative_to(root).as_posix()) for file in files}
    present = set(relative.values())
    slimming = _Slimming(files, relative, slim) if slim.enabled else None
    left_out: dict[Path, str] = {}
    for file in files:
        path = relative[file]
        rule = _installer_rule(file, path, present) or (slimming.rule(path) if slimming is not None else "")
        if rule:
            left_out[file] = rule
    return Selection(tuple(file for file in files if file not in left_out), left_out)


def _installer_rule(file: Path, path: PurePosixPath, present: set[PurePosixPath]) -> str:
    """The rule by which a file is not content of a package; "" for content."""
    parts = path.parts
    if "__pycache__" in parts or path.suffix == ".pyo":
        return "byte code of the machine that installed it"
    if path.suffix == ".pyc" and path.with_suffix(".py") in present:
        return "byte code that Python ignores beside its source"
    if parts == (".lock",) or (len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in _INSTALLER_FILES):
        return "a record of the installer"
    if parts[0] == "bin":
        with file.open("rb") as script:
            if script.read(2) == b"#!":
                return "a console script, which names the interpreter of the machine that installed it"
    return ""


class _Slimming:
    """The rules of one installation, which depend on what its modules import and name."""

    def __init__(self, files: Iterable[Path], relative: Mapping[Path, PurePosixPath], slim: Slim) -> None:
        self._services = slim.services | _ALWAYS
        # A stub beside its module is read by type checkers only; one without a module may be data (typeshed).
        self._modules = {_module(path) for path in relative.values() if path.suffix in _MODULES}
        self._keeps_tests: set[str] = set()
        self._keeps_stubs: set[str] = set()
        for file in files:
            path = relative[file]
            if path.name == "entry_points.txt" and _names_tests(file.read_text(encoding="utf-8", errors="replace")):
                self._keeps_tests |= _entry_points(file.read_text(encoding="utf-8", errors="replace"))
            elif path.suffix == ".py" and _TESTS not in path.parts[:-1]:
                self._read(file, path)

    def _read(self, file: Path, path: PurePosixPath) -> None:
        content = file.read_bytes()
        if _TESTS.encode() in content:
            self._keeps_tests |= _tests_of(content, path)
        if _READS_STUBS.search(content):
            self._keeps_stubs.add(_top(path))

    def rule(self, path: PurePosixPath) -> str:
        """The rule by which a package's file is left out; "" if it ships."""
        parts = path.parts
        if parts[0] in ("botocore", "boto3") and len(parts) > 3 and parts[1] == "data":
            return "" if parts[2] in self._services else "data of an AWS service that no function calls"
        if path.suffix in (".py", ".pyc") and _TESTS in parts[:-1] and _top(path) not in self._keeps_tests:
            return "a test module that its package neither imports nor names"
        if path.suffix == ".pyi" and self._is_read_by_type_checkers_only(path):
            return "a type stub of a module that is shipped"
        return ""

    def _is_read_by_type_checkers_only(self, path: PurePosixPath) -> bool:
        if path.parts[0].endswith("-stubs"):  # no name that Python can import (PEP 561)
            return True
        return _top(path) not in self._keeps_stubs and _module(path) in self._modules


def _top(path: PurePosixPath) -> str:
    return path.parts[0].partition(".")[0]


def _module(path: PurePosixPath) -> PurePosixPath:
    """``a/b.cpython-313-x86_64-linux-gnu.so`` → ``a/b``."""
    return path.with_name(path.name.partition(".")[0])


def _names_tests(text: str) -> bool:
    return _NAMES_TESTS.search(text) is not None


def _entry_points(text: str) -> set[str]:
    """The top-level packages whose ``tests`` an entry point loads."""
    targets = (line.partition("=")[2].strip() for line in text.splitlines())
    return {target.partition(".")[0] for target in targets if _names_tests(target.partition("[")[0].strip())}


def _tests_of(content: bytes, path: PurePosixPath) -> set[str]:
    """The top-level packages whose ``tests`` folder a module imports, or names in a string."""
    own = _top(path)
    try:
        module = parse_python(content, str(path))
    except (SyntaxError, ValueError):  # of another version of Python: nothing can be ruled out
        return {own}
    found = set()
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names if _names_tests(alias.name)}
            case ast.ImportFrom(module=name, names=names, level=level):
                if _names_tests(name or "") or any(alias.name == _TESTS for alias in names):
                    top = (name or "").partition(".")[0]
                    found.add(own if level or top == _TESTS else top)
            case ast.Constant(value=str(text)) if not _SPACE.search(text) and _names_tests(text):
                # importlib.import_module("other.tests.x"), or a path below this package.
                found |= {own, text.partition(".")[0]}
    return found
