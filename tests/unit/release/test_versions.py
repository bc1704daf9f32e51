"""Which published versions are deleted, and what the alias moves back to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cfn.names import image_parameter
from pipeline.core.events import Event, Note, ResourceChanged
from pipeline.release.versions import (
    Version,
    abandoned,
    delete_superseded,
    delete_versions,
    deleting_in_cleanup,
    described,
    superseded,
)
from tests.unit.cfn.examples import FUNCTIONS, pipeline

HERE, ELSEWHERE = frozenset({"subnet-1", "subnet-2"}), frozenset({"subnet-9"})


def versions(*numbers: int) -> list[Version]:
    return [Version(number, HERE) for number in numbers]


@pytest.mark.parametrize(
    ("found", "aliased", "live", "deleted"),
    [
        (versions(1), {1}, 1, ()),
        (versions(1, 2), {2}, 2, ()),
        (versions(1, 2, 3), {3}, 3, (1,)),
        (versions(2, 5, 9), {9}, 9, (2,)),
        # An alias of the user's, or a share of the traffic.
        (versions(1, 2, 3), {1, 3}, 3, ()),
        # Newer than live: a release that is under way, or live was moved back by hand.
        (versions(1, 2, 3), {2}, 2, ()),
        (versions(1, 2, 3, 4), {3}, 3, (1,)),
        # In a network that is being replaced.
        ([Version(1, ELSEWHERE), Version(2, HERE)], {2}, 2, (1,)),
        ([Version(1, ELSEWHERE), Version(2, ELSEWHERE), Version(3, HERE)], {1, 3}, 3, (2,)),
    ],
)
def test_the_live_version_and_the_last_one_before_it_are_kept(
    found: list[Version], aliased: set[int], live: int, deleted: tuple[int, ...]
) -> None:
    assert superseded(found, aliased, live) == deleted


def test_versions_of_an_update_that_was_rolled_back_are_newer_than_live() -> None:
    assert abandoned(versions(1, 2, 3, 4), {2, 4}, 2) == (3,)


def test_a_version_is_described_by_image_and_configuration() -> None:
    template = pipeline()
    digest = f"sha256:{'a' * 64}"
    name = "fraud-detection"
    images = {image_parameter(name): f"111122223333.dkr.ecr.us-east-1.amazonaws.com/x@{digest}"}
    found = described(json.dumps(template), images, {each.name: f"{each.name}-dev" for each in FUNCTIONS})
    description = template["Resources"]["FraudDetectionVersion"]["Properties"]["Description"]
    assert found == {"fraud-detection-dev": f"{digest} {description['Fn::Join'][1][1]}"}


class Lambda:
    """Lambda's answers for one function with three versions."""

    def __init__(self, refused: str = "") -> None:
        self.refused, self.deleted = refused, list[str]()

    def get_paginator(self, call: str) -> Lambda:
        self._call = call
        return self

    def paginate(self, FunctionName: str) -> list[Any]:
        if self._call == "list_aliases":
            return [{"Aliases": [{"Name": "live", "FunctionVersion": "3"}]}]
        return [{"Versions": [{"Version": each} for each in ("$LATEST", "1", "2", "3")]}]

    def delete_function(self, FunctionName: str, Qualifier: str) -> None:
        if self.refused:
            raise ClientError({"Error": {"Code": self.refused, "Message": "no"}}, "DeleteFunction")
        self.deleted.append(Qualifier)


def test_a_version_that_an_alias_took_meanwhile_is_kept() -> None:
    assert delete_versions(Lambda("ResourceConflictException"), "fraud-detection-dev") == ()


def test_a_release_does_not_fail_for_a_version_that_cannot_be_deleted() -> None:
    events: list[Event] = []
    delete_superseded(Lambda("AccessDeniedException"), ["fraud-detection-dev"], events.append)
    (note,) = events
    assert isinstance(note, Note)
    assert "old versions of fraud-detection-dev were not deleted" in note.text
    assert "AccessDeniedException" in note.text


def test_versions_are_deleted_before_the_network_that_they_are_in() -> None:
    """CloudFormation deletes replaced subnets in its cleanup phase, and the release continues after it."""
    client, events = Lambda(), list[Event]()
    report = deleting_in_cleanup(client, ["fraud-detection-dev"], events.append)
    stack = "transaction-pipeline-dev"
    report(ResourceChanged(stack, "FraudDetectionAlias", "AWS::Lambda::Alias", "UPDATE_COMPLETE"))
    assert client.deleted == []
    cleanup = ResourceChanged(stack, stack, "AWS::CloudFormation::Stack", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    report(cleanup)
    assert client.deleted == ["1"]
    assert events[-1] == cleanup
