"""The house: folders of ``pipeline`` import downwards only, a file's name means one thing, and every test file runs."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import COLLECTED, PROJECTS

ROOT = Path(__file__).resolve().parents[2]

# From the ground up: each may import those before it, never one after it.
FLOORS = (
    "images",
    "cfn",
    "pipeline.core",
    "pipeline.oci",
    "pipeline.assembly",
    "pipeline.engine",
    "pipeline.bases",
    "pipeline.stacks",
    "pipeline.transactions",
    "pipeline.verification",
    "pipeline.local.invocation",
    "pipeline.local.processes",
    "pipeline.local.host_state",
    "pipeline.local.images",
    "pipeline.local.runtime",
    "pipeline.local.debugger",
    "pipeline.local.containers",
    "pipeline.local.emulator",
    "pipeline.local.host",
    "pipeline.target",
    "pipeline.operations",
    "pipeline.environment",
    "pipeline.sam",
    "pipeline.ledger",
    "pipeline.drift",
    "pipeline.forecast",
    "pipeline.rehearsal",
    "pipeline.release",
    "pipeline.promotion",
    "pipeline.doctor",
    "pipeline.console",
    "commands",
    "bootstrap",
)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The program's modules by dotted name; packages by their own."""
    paths = [
        root / "bootstrap.py",
        *(path for top in ("cfn", "commands", "pipeline") for path in (root / top).rglob("*.py")),
    ]
    named = {}
    for path in paths:
        parts = path.relative_to(root).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The known modules that ``path`` imports anywhere in it, also inside functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if inner in known or module in known:
                    yield inner if inner in known else module


def floor(name: str, floors: Sequence[str] = FLOORS) -> int | None:
    """How high a module stands; None for a package above several floors, such as ``pipeline.local``."""
    for number, each in enumerate(floors):
        if name == each or name.startswith(f"{each}."):
            return number
    return None


def climbs(known: dict[str, Path], floors: Sequence[str] = FLOORS) -> list[str]:
    """Every import of a higher floor."""
    found = []
    for name, path in known.items():
        for imported in imports(name, path, known):
            own, other = floor(name, floors), floor(imported, floors)
            if own is not None and other is not None and other > own:
                found.append(f"{name} imports {imported}")
    return found


def circle(known: dict[str, Path]) -> list[str]:
    """A circle of imports, or []."""
    graph = {name: set(imports(name, path, known)) - {name} for name, path in known.items()}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    if not graph:
        return []
    way = [min(graph)]
    while (following := min(graph[way[-1]] & graph.keys())) not in way:
        way.append(following)
    return way[way.index(following) :]


def test_folders_import_downwards_only() -> None:
    assert climbs(modules()) == []


def test_every_module_stands_on_a_floor() -> None:
    above_several = {"pipeline", "pipeline.local"}
    assert [name for name in modules() if floor(name) is None] == sorted(above_several)


def test_no_imports_go_in_a_circle() -> None:
    assert circle(modules()) == []


def test_the_checks_of_imports_bite(tmp_path: Path) -> None:
    for name, text in {
        "low": "def f():\n    from high import g\n",
        "high": "import low\n",
        "apart": "import high\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    known = {path.stem: path for path in tmp_path.glob("*.py")}
    assert climbs(known, ("low", "high", "apart")) == ["low imports high"]
    assert sorted(circle(known)) == ["high", "low"]


def test_every_data_file_is_in_the_distribution() -> None:
    """What is not Python is only installed if ``package-data`` names it. ``.in`` files are what locks are made from."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, globs in named.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    files = {path for top in ("cfn", "commands", "pipeline") for path in (ROOT / top).rglob("*") if path.is_file()}
    data = {path for path in files if path.suffix not in (".py", ".in") and "__pycache__" not in path.parts}
    assert sorted(map(str, data - shipped)) == []


def test_a_name_of_a_file_means_one_thing() -> None:
    names = [path.stem for name, path in modules().items() if not name.startswith("cfn.rules.")]
    assert [name for name, count in Counter(names).items() if count > 1 and name != "__init__"] == []


def test_every_test_file_is_collected(request: pytest.FixtureRequest) -> None:
    """Compares git's list with what pytest collected below the folders that this run was asked for."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "tests/**/test_*.py", "tests/test_*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    asked = [Path(each.partition("::")[0]).resolve() for each in request.config.args]
    projects = tuple(f"tests/{name}/" for name in PROJECTS)
    present = {ROOT / path for path in listed if (ROOT / path).is_file() and not path.startswith(projects)}
    wanted = {path for path in present if any(path.is_relative_to(each) for each in asked)}
    assert Path(__file__).resolve() in wanted
    assert sorted(map(str, wanted - request.config.stash[COLLECTED])) == []
