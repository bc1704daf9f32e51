"""The key under which templates are kept changes with whatever they are made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cfn
from pipeline.environment.synth import _code_version

SOURCES = Path(cfn.__file__).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCES, tmp_path / "cfn", ignore=shutil.ignore_patterns("__pycache__")))


def version(folder: Path) -> str:
    return _code_version.__wrapped__(folder)


@pytest.mark.parametrize(
    "changed",
    [
        "data.py",
        "workflow/composition.py",
        "workflow/transaction-pipeline.asl.json",
        "workflow/expressions/token.jsonata",
    ],
)
def test_a_change_of_a_source_is_another_version(copy: Path, changed: str) -> None:
    before = version(copy)
    (copy / changed).write_text((copy / changed).read_text() + "\n")
    assert version(copy) != before


def test_every_kind_of_file_counts(copy: Path) -> None:
    before = version(copy)
    (copy / "added.anything").write_text("")
    assert version(copy) != before


@pytest.mark.parametrize("other", ["rules/_states.py", "__pycache__/data.cpython-311.pyc"])
def test_what_no_template_is_made_from_does_not_count(copy: Path, other: str) -> None:
    before = version(copy)
    (copy / other).parent.mkdir(exist_ok=True)
    (copy / other).write_text("changed")
    assert version(copy) == before == version(SOURCES)
