"""Benchmarks are run by hand; here they are only imported, so that a move of what they use is noticed."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import ALL, FOLDER, benchmarks


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_those_that_run_by_default_are_there() -> None:
    assert {*ALL} <= {*benchmarks()}
