"""Published versions across releases: the live one and the last one before it, and nothing after ``down``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from cfn.names import Names, image_parameter
from pipeline.core.events import Event, Note, ignore
from pipeline.release.deployment import read_pipeline, switch_images
from pipeline.release.teardown import take_down
from pipeline.release.verify import running_digest
from pipeline.stacks import StackFailed, StackStatus
from tests.functional.release_lab import Lab
from tests.proxies.faults import FaultProxy

FUNCTION = "fraud-detection"


class Environment:
    """An environment that is released again and again, each time with another line in a function."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name, self._line = lab, name, 0

    def release(self) -> str:
        """Release another line; the digest that is live then."""
        self._line += 1
        with self.lab.changed(f"\n# line {self._line}\n", FUNCTION):
            self.lab.up(self.name)
        return self.live

    @property
    def function(self) -> str:
        return f"{FUNCTION}-{self.name}"

    @property
    def live(self) -> str:
        return str(running_digest(self.client, self.function, "live"))

    @property
    def client(self) -> Any:
        return self.lab.aws.client("lambda")

    def digests(self) -> list[str]:
        """The digest of each published version, oldest first."""
        found = self.client.list_versions_by_function(FunctionName=self.function)["Versions"]
        return [str(running_digest(self.client, self.function, each["Version"])) for each in found[1:]]


@pytest.fixture(scope="module")
def environment(lab: Lab) -> Iterator[Environment]:
    with lab.environment() as name:
        lab.up(name)
        yield Environment(lab, name)


def test_the_last_version_before_the_live_one_is_kept(environment: Environment) -> None:
    first = environment.live
    second = environment.release()
    assert environment.digests()[-2:] == [first, second]
    third = environment.release()
    assert environment.digests() == [second, third]
    environment.lab.up(environment.name)  # without the line
    assert environment.digests() == [third, first]
    environment.lab.up(environment.name)
    assert environment.digests() == [third, first]


def test_a_run_that_is_killed_before_versions_are_deleted_is_finished(environment: Environment) -> None:
    first, second = environment.live, environment.release()
    with environment.lab.changed("\n# killed\n", FUNCTION):
        killed = environment.lab.begin(environment.name, kill_at="stack transaction-pipeline ends")
        assert killed.wait() == -signal.SIGKILL
        third = environment.live
        assert environment.digests() == [first, second, third]
        environment.lab.up(environment.name)
    assert environment.digests() == [second, third]


def test_the_aliases_of_others_keep_their_versions(environment: Environment) -> None:
    first = environment.release()
    version = environment.client.get_alias(FunctionName=environment.function, Name="live")["FunctionVersion"]
    environment.client.create_alias(FunctionName=environment.function, Name="pinned", FunctionVersion=version)
    second, third = environment.release(), environment.release()
    assert environment.digests() == [first, second, third]
    environment.client.delete_alias(FunctionName=environment.function, Name="pinned")
    environment.lab.up(environment.name)
    assert first not in environment.digests()


def test_traffic_moves_back_before_the_stack_does(environment: Environment) -> None:
    first, second = environment.live, environment.release()
    state = read_pipeline(environment.lab.deployment(environment.name))
    parameter = image_parameter(FUNCTION)
    back = {parameter: state.parameters[parameter].replace(second, first)}
    with FaultProxy(environment.lab.aws.endpoint) as proxy:
        deployment = environment.lab.deployment(environment.name, proxy.endpoint)
        events: list[Event] = []
        proxy.before("ExecuteChangeSet", lambda: events.append(Note(f"live: {environment.live}")))
        switch_images(deployment, back, events.append)
    notes = [each.text for each in events if isinstance(each, Note)]
    assert any(each.startswith(f"{environment.function} runs its version") for each in notes)
    assert f"live: {first}" in notes
    assert environment.live == first
    environment.lab.up(environment.name)  # verifies, and leaves two
    assert len(environment.digests()) == 2


def test_a_version_that_a_rolled_back_update_left_is_deleted_before_the_next_one(environment: Environment) -> None:
    """Lambda publishes no second version of the same code, so CloudFormation would fail where one is there."""
    first, second = environment.live, environment.release()
    deployment = environment.lab.deployment(environment.name)
    parameter = image_parameter(FUNCTION)
    uri = read_pipeline(deployment).parameters[parameter]
    with pytest.raises(StackFailed):
        switch_images(deployment, {parameter: uri.replace(second, f"sha256:{'0' * 64}")}, ignore)
    assert read_pipeline(deployment).status is StackStatus.UPDATE_ROLLBACK_COMPLETE
    client, function = environment.client, environment.function
    client.update_function_code(FunctionName=function, ImageUri=uri.replace(second, first), Publish=True)
    client.update_function_code(FunctionName=function, ImageUri=uri)
    assert environment.digests()[-2:] == [second, first]
    third = environment.release()
    assert environment.digests() == [second, third]


def test_down_deletes_every_version(lab: Lab) -> None:
    with lab.environment() as name:
        lab.up(name)
        Environment(lab, name).release()
        take_down(lab.target(), Names(name))
        client = lab.aws.client("lambda")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.list_versions_by_function(FunctionName=f"{FUNCTION}-{name}")
