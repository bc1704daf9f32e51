"""Finding the embedded AWS of a folder by the file that its host wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import LocalError
from pipeline.local.host.control import find_local, stop_local
from pipeline.local.host_state import FILE, FORMAT, start_time

THIS = {"pid": os.getpid(), "start_time": start_time(os.getpid())}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The path of the host's file, which is deleted afterwards: this run would end what it names."""
    yield tmp_path / FILE
    (tmp_path / FILE).unlink()


@pytest.mark.parametrize("use", [find_local, stop_local])
def test_one_that_another_version_started_is_named(state: Path, use: Callable[[Path], object]) -> None:
    state.write_text(json.dumps({**THIS, "format": FORMAT - 1}))
    with pytest.raises(LocalError, match=f"another version of this program started it .process {os.getpid()}"):
        use(state.parent)


@pytest.mark.parametrize(
    "document",
    [
        {**THIS, "format": FORMAT - 1, "start_time": 1},  # another process has its pid now
        {**THIS, "format": FORMAT - 1, "pid": 2**40},
        {"format": FORMAT - 1},
        {"pid": None, "format": "x"},
        [],
    ],
)
def test_one_that_ended_is_none(state: Path, document: object) -> None:
    state.write_text(json.dumps(document))
    assert find_local(state.parent) is None
