"""``up`` that is killed (SIGKILL) after each of its steps and in the middle of each is finished by the next ``up``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional.release_lab import Lab, different
from tests.proxies.faults import FaultProxy

# What makes an environment, and what every release then goes through. A step begins where the one before it ends.
MAKING = ("build begins", "build ends", "within stack transaction-registry", "stack transaction-registry ends",
          "within push", "push ends", "within stack transaction-pipeline")  # fmt: skip
CHANGING = ("stack transaction-pipeline begins", "within stack transaction-pipeline", "stack transaction-pipeline ends",
            "verify ends", "sample transaction ends", "record ends")  # fmt: skip
# The middle of a step, by the call that has just left: it arrives, and its response is lost.
CALLS = ("CreateChangeSet", "ExecuteChangeSet", "StartSyncExecution", "PutParameter", "PutImage",
         "LabelParameterVersion")  # fmt: skip


class Standing:
    """An environment that stands, and is given one of two versions of a function in turn."""

    def __init__(self, lab: Lab, calm: dict[str, Any]) -> None:
        self._lab, self._calm = lab, calm
        self._undo: Callable[[], None] | None = None
        lab.up(self.name)
        with lab.changed("\n# another line\n"):
            lab.up(self.name)
        lab.up(self.name)
        assert different(lab.snapshot(self.name), calm["back"]) == []

    name = "standing"

    def flip(self) -> dict[str, Any]:
        """Change the sources; gives what the environment is when they are released."""
        if self._undo is not None:
            self._undo()
            self._undo = None
            return dict(self._calm["back"])
        self._undo = self._lab.edit("\n# another line\n")
        return dict(self._calm["changed"])


@pytest.fixture(scope="module")
def calm(lab: Lab) -> dict[str, Any]:
    """The results of undisturbed runs: a first release, one with a changed line, and one without again."""
    first = lab.up("calm")
    made = lab.snapshot("calm")
    with lab.changed("\n# another line\n"):
        second = lab.up("calm")
        changed = lab.snapshot("calm")
    lab.up("calm")
    return {"moments": {*first.moments, *second.moments}, "made": made, "changed": changed,
            "back": lab.snapshot("calm")}  # fmt: skip


@pytest.fixture(scope="module")
def standing(lab: Lab, calm: dict[str, Any]) -> Iterator[Standing]:
    standing = Standing(lab, calm)
    yield standing
    if standing._undo is not None:
        standing._undo()


def test_every_step_is_one_that_is_killed(calm: dict[str, Any]) -> None:
    ends = {moment for moment in calm["moments"] if moment.endswith(" ends")}
    # A first build installs packages; the next finds them, and that it was killed is the build's own matter.
    assert ends - {"install ends"} == {moment for moment in (*MAKING, *CHANGING) if moment.endswith(" ends")}


@pytest.mark.parametrize("moment", MAKING)
def test_a_creation_that_is_killed_is_finished(lab: Lab, calm: dict[str, Any], moment: str) -> None:
    with lab.environment() as environment:
        killed = lab.begin(environment, kill_at=moment)
        assert killed.wait() == -signal.SIGKILL
        lab.up(environment)
        assert different(lab.snapshot(environment), calm["made"]) == []
        assert killed.left_behind() == []


def test_a_push_that_is_killed_between_manifests_is_finished(lab: Lab, calm: dict[str, Any]) -> None:
    with lab.environment() as environment, FaultProxy(lab.aws.endpoint) as proxy:
        killed = lab.begin(environment, endpoint=proxy.endpoint)
        proxy.before("PUT /v2/*/manifests/*", killed.kill, skip=1)
        assert killed.wait() == -signal.SIGKILL
        proxy.wait_until_idle()
        lab.up(environment)
        assert different(lab.snapshot(environment), calm["made"]) == []


@pytest.mark.parametrize("moment", CHANGING)
def test_a_change_that_is_killed_is_finished(lab: Lab, standing: Standing, moment: str) -> None:
    expected = standing.flip()
    killed = lab.begin(standing.name, kill_at=moment)
    assert killed.wait() == -signal.SIGKILL
    lab.up(standing.name)
    assert different(lab.snapshot(standing.name), expected) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_change_that_is_killed_at_a_call_is_finished(lab: Lab, standing: Standing, call: str) -> None:
    expected = standing.flip()
    with FaultProxy(lab.aws.endpoint) as proxy:
        killed = lab.begin(standing.name, endpoint=proxy.endpoint)
        proxy.before(call, killed.kill)
        assert killed.wait() == -signal.SIGKILL
        proxy.wait_until_idle()
    lab.up(standing.name)
    assert different(lab.snapshot(standing.name), expected) == []


def test_a_release_that_was_never_tried_is_tried_by_the_next_run(lab: Lab, standing: Standing) -> None:
    standing.flip()
    killed = lab.begin(standing.name, kill_at="verify ends")
    assert killed.wait() == -signal.SIGKILL
    assert lab.up(standing.name).result["sample"]["outcome"] == "APPROVED"
