"""When the repositories of a new stack 1 may be pushed to, by what CloudFormation tells of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from botocore.exceptions import ClientError

from cfn.names import Names
from pipeline.core.events import Event, Note, ResourceChanged
from pipeline.release.repositories import NewRepositories

STACK = "transaction-registry-dev"
ONE, TWO = "OneRepository", "TwoRepository"


def changed(logical_id: str, status: str = "CREATE_COMPLETE", stack: str = STACK) -> ResourceChanged:
    return ResourceChanged(stack, logical_id, "AWS::ECR::Repository", status)


def told(*events: Event) -> tuple[NewRepositories, list[Event]]:
    passed: list[Event] = []
    repositories = NewRepositories(Names("dev"), ["one", "two"], passed.append)
    for event in events:
        repositories(event)
    return repositories, passed


@pytest.mark.parametrize(
    ("events", "stand"),
    [
        ([], False),
        ([changed(ONE), changed(TWO)], True),
        ([changed(ONE), changed(ONE)], False),
        ([changed(ONE), changed(TWO, "CREATE_IN_PROGRESS")], False),
        ([changed(ONE), changed(TWO, stack="transaction-pipeline-dev")], False),
        ([changed(ONE, "UPDATE_COMPLETE"), changed(TWO, "UPDATE_COMPLETE")], False),
        ([changed(ONE), changed(TWO), changed(STACK, "ROLLBACK_IN_PROGRESS")], False),
        ([changed(ONE), changed(TWO), changed(ONE, "DELETE_IN_PROGRESS")], False),
        ([changed(ONE), changed(TWO), changed("PlaceholderRole")], True),
        # Taken away and made once more: who has pushed into the first ones has to push again.
        ([changed(ONE), changed(TWO), changed(ONE, "DELETE_COMPLETE"), changed(ONE)], False),
    ],
)
def test_they_stand_when_all_were_created_and_none_went(events: Sequence[Event], stand: bool) -> None:
    repositories, passed = told(*events)
    repositories.end()
    assert repositories.wait() is stand
    assert passed == list(events)


def test_who_waits_goes_on_with_the_last_repository() -> None:
    repositories, _ = told(changed(ONE), Note("meanwhile"))
    threading.Timer(0.05, repositories, (changed(TWO),)).start()
    assert repositories.wait()


def test_a_repository_that_is_not_told_of_is_none() -> None:
    class Refusing:
        def describe_repositories(self, **_parameters: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeRepositories")

    assert told()[0].uris(Refusing()) is None
