"""A small file through the entrance for files: everything fails once, and every line still has one answer."""

from __future__ import annotations

import pytest

from benchmarks.files_entrance import Trouble, files_soak
from benchmarks.soak import Soak

TROUBLE = Trouble(program_kills=(0.2,), aborts=(0.35,), host_kills=(0.6,), storm=(0.1, 0.5), worker_kills=5)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Soak, int]:
    return files_soak(tmp_path_factory.mktemp("files soak"), count=200, seed=7, trouble=TROUBLE, expire_leases=True)


def test_every_promise_is_kept(done: tuple[Soak, int]) -> None:
    assert list(done[0].broken) == []


def test_everything_happened(done: tuple[Soak, int]) -> None:
    soak, stopped = done
    assert stopped == 1
    assert soak.story.worker_kills > 0
    assert (soak.story.program_kills, soak.story.host_kills, soak.story.storms) == (1, 1, 1)
    assert soak.story.starts >= 2


def test_approved_amounts_are_the_models(done: tuple[Soak, int]) -> None:
    sums = done[0].sums
    assert sums
    assert all(table == model for table, model in sums.values())
