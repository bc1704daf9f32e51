"""The longest path through the machine ends before the EXPRESS time limit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cfn.workflow.composition import definition
from cfn.workflow.limits import LEASE_SECONDS, PATIENCE_SECONDS
from pipeline.verification.language.durations import EXPRESS_SECONDS, Longest, longest_way
from pipeline.verification.language.machine import read_machine

# Overhead of Step Functions between states, per execution; far above what was measured.
TRANSITIONS = 10


def longest(definition: Any) -> Longest:
    return longest_way(read_machine(definition))


@pytest.mark.parametrize(
    ("retriers", "seconds"),
    [
        ([], 5),
        ([{"MaxAttempts": 3}], 4 * 5 + 2 + 4 + 8),
        ([{"MaxAttempts": 3, "MaxDelaySeconds": 3}], 4 * 5 + 2 + 3 + 3),
        ([{"MaxAttempts": 3}, {"MaxAttempts": 3}], 7 * 5 + 2 * (2 + 4 + 8)),
    ],
)
def test_every_attempt_and_every_wait_counts(retriers: list[dict[str, Any]], seconds: int) -> None:
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "BackoffRate": 2.0, **each} for each in retriers]
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "TimeoutSeconds": 5, "End": True}
    assert longest({"StartAt": "Only", "States": {"Only": {**task, "Retry": retry}}}).seconds == seconds


def test_the_whole_stays_below_five_minutes() -> None:
    way = longest(definition())
    assert way.seconds + TRANSITIONS < EXPRESS_SECONDS, way
    # The worst case: a slow takeover, all functions, a lost claim, a failing alert, an unavailable queue.
    assert {"Claim", "Validate", "Assess", "Record", "Recall", "Alert", "ParkAlert", "ParkInTable", "Release"} <= set(
        way.states
    )


def test_another_second_for_the_functions_counts() -> None:
    slower = copy.deepcopy(definition())
    slower["States"]["Assess"]["Branches"][1]["States"]["Compliance"]["TimeoutSeconds"] += 1
    assert longest(slower).seconds == longest(definition()).seconds + 4


def test_an_endless_loop_is_named() -> None:
    endless = copy.deepcopy(definition())
    del endless["States"]["Known"]["Choices"][2]
    assert "Recall → Known → " in longest(endless).unbounded


def test_a_task_without_a_limit_is_named() -> None:
    endless = copy.deepcopy(definition())
    del endless["States"]["Release"]["TimeoutSeconds"]
    assert "Release has no TimeoutSeconds" in longest(endless).unbounded


def test_a_claim_outlives_the_longest_execution() -> None:
    assert longest(definition()).seconds < LEASE_SECONDS
    assert PATIENCE_SECONDS < LEASE_SECONDS
