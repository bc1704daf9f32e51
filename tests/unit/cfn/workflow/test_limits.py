"""The longest path through the machine ends before the EXPRESS time limit."""

from __future__ import annotations

import copy

import pytest

from cfn.workflow.composition import definition
from cfn.workflow.duration import EXPRESS_SECONDS, longest_way, task_seconds
from cfn.workflow.limits import LEASE_SECONDS, PATIENCE_SECONDS

# Overhead of Step Functions between states, per execution; far above what was measured.
TRANSITIONS = 10


def test_every_attempt_and_every_wait_counts() -> None:
    retry = {"IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2.0}
    assert task_seconds({"TimeoutSeconds": 5}) == 5
    assert task_seconds({"TimeoutSeconds": 5, "Retry": [retry]}) == 4 * 5 + 2 + 4 + 8
    assert task_seconds({"TimeoutSeconds": 5, "Retry": [{**retry, "MaxDelaySeconds": 3}]}) == 4 * 5 + 2 + 3 + 3
    assert task_seconds({"TimeoutSeconds": 5, "Retry": [retry, retry]}) == 7 * 5 + 2 * (2 + 4 + 8)


def test_the_whole_stays_below_five_minutes() -> None:
    way = longest_way(definition())
    assert way.seconds + TRANSITIONS < EXPRESS_SECONDS, way
    # The worst case: a slow takeover, all functions, a lost claim, a failing alert, an unavailable queue.
    assert {"Claim", "Validate", "Assess", "Record", "Recall", "Alert", "Park", "ParkInTable", "Release"} <= set(
        way.states
    )


def test_another_second_for_the_functions_counts() -> None:
    slower = copy.deepcopy(definition())
    slower["States"]["Assess"]["Branches"][1]["States"]["Compliance"]["TimeoutSeconds"] += 1
    assert longest_way(slower).seconds == longest_way(definition()).seconds + 4


def test_an_endless_loop_is_named() -> None:
    endless = copy.deepcopy(definition())
    del endless["States"]["Known"]["Choices"][2]
    with pytest.raises(ValueError, match="Recall → Known → "):
        longest_way(endless)


def test_a_task_without_a_limit_is_an_error() -> None:
    endless = copy.deepcopy(definition())
    del endless["States"]["Release"]["TimeoutSeconds"]
    with pytest.raises(KeyError):
        longest_way(endless)


def test_a_claim_outlives_the_longest_execution() -> None:
    assert longest_way(definition()).seconds < LEASE_SECONDS
    assert PATIENCE_SECONDS < LEASE_SECONDS
