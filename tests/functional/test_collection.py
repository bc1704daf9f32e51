"""The check that every test file is collected, run by pytest itself on small trees: with and without workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CHECK = "test_every_test_file_is_collected"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with this project's conftest.py, the check, and one other test file."""
    unit = tmp_path / "tests" / "unit"
    unit.mkdir(parents=True)
    for folder in (unit.parent, unit):
        (folder / "__init__.py").touch()
    shutil.copy(TESTS / "conftest.py", unit.parent)
    shutil.copy(TESTS / "unit" / "test_structure.py", unit)
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    write_test(unit / "core")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def write_test(folder: Path, name: str = "test_something.py") -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / name).write_text("def test_something() -> None:\n    pass\n")


def run_check(tree: Path, *arguments: str, thorough: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GIT_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-vv", "-k", CHECK, *arguments],
        cwd=tree, env=environment | {"THOROUGH": thorough}, capture_output=True, text=True, timeout=250,
    )  # fmt: skip


def test_a_tree_that_is_collected_whole_passes(tree: Path) -> None:
    # A file outside of what the run was asked for is not missed.
    write_test(tree / "tests" / "build")
    done = run_check(tree, "-n", "2", "--dist", "loadgroup", "tests/unit")
    assert "1 passed" in done.stdout, done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "thorough"),
    [
        pytest.param(("-n", "2", "--dist", "loadgroup", "tests"), "", id="make test"),
        pytest.param(("-n", "2", "--dist", "loadgroup", "tests"), "1", id="all tests"),
        pytest.param((), "", id="no workers, no folder named"),
    ],
)
def test_files_that_pytest_finds_no_tests_in_fail_it(tree: Path, arguments: tuple[str, ...], thorough: str) -> None:
    for folder in ("build", "dist"):
        write_test(tree / "tests" / "unit" / folder)
    (tree / "tests" / "unit" / "core" / "test_nothing.py").write_text("")
    done = run_check(tree, *arguments, thorough=thorough)
    assert "1 failed" in done.stdout, done.stdout
    for missed in ("build/test_something.py", "dist/test_something.py", "core/test_nothing.py"):
        assert f"tests/unit/{missed}" in done.stdout
