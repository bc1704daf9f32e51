"""``promote`` that is killed (SIGKILL) at each of its steps is finished by the next ``promote``."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.functional.release_lab import Lab, different

MOMENTS = ("fetch ends", "within push", "push ends", "within stack transaction-pipeline", "verify ends", "record ends")


@pytest.fixture(scope="module")
def calm(lab: Lab) -> dict[str, Any]:
    """What an undisturbed promotion makes, of the images that were released."""
    lab.up("source")
    released = lab.snapshot("source")
    with lab.environment() as environment:
        lab.up(environment, source="source")
        found = lab.snapshot(environment)
    assert (found["release"], found["running"]) == (released["release"], released["running"])
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_promotion_that_is_killed_is_finished(lab: Lab, calm: dict[str, Any], moment: str) -> None:
    with lab.environment() as environment:
        killed = lab.begin(environment, source="source", kill_at=moment)
        assert killed.wait() == -signal.SIGKILL
        lab.up(environment, source="source")
        assert different(lab.snapshot(environment), calm) == []
        assert killed.left_behind() == []
