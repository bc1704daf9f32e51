"""When traffic shifts, when it moves at once, and how long a stack operation may take for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from cfn.names import SHIFT_TRAFFIC
from pipeline.release.traffic import at_once, operation_seconds, shift_parameter
from pipeline.stacks import StackState
from pipeline.stacks.state import StackStatus, canonical_template
from tests.unit.cfn.examples import DEV, pipeline

OLD, NEW = ({"FraudDetectionImageUri": f"fraud@{digest}"} for digest in ("old", "new"))
SHIFTING = json.dumps(pipeline(replace(DEV, release="LambdaLinear10PercentEvery10Minutes")))
AT_ONCE = json.dumps(pipeline(DEV))


def stack(parameters: Mapping[str, str], template: str = SHIFTING) -> StackState:
    return StackState(
        "pipeline", StackStatus.UPDATE_COMPLETE, parameters=parameters, template=canonical_template(template)
    )


ABSENT = StackState("pipeline", StackStatus.ABSENT)


@pytest.mark.parametrize(
    ("before", "images", "shifts"),
    [
        (ABSENT, {}, "true"),
        (ABSENT, NEW, "true"),
        # Another image, or another template.
        (stack({**OLD, SHIFT_TRAFFIC: "true"}), NEW, "true"),
        (stack({**OLD, SHIFT_TRAFFIC: "false"}), NEW, "true"),
        (stack({**OLD, SHIFT_TRAFFIC: "false"}, json.dumps(pipeline(replace(DEV, zones=2)))), OLD, "true"),
        (stack(OLD, AT_ONCE), OLD, "true"),
        # Away from a placeholder.
        (stack({"FraudDetectionImageUri": "", SHIFT_TRAFFIC: "true"}), NEW, "false"),
        (stack({"FraudDetectionImageUri": "", SHIFT_TRAFFIC: "true"}), {}, "true"),
        # A function that is new.
        (stack({**OLD, SHIFT_TRAFFIC: "true"}), {**OLD, "SignalImageUri": "signal@new"}, "true"),
        # Nothing that a version holds: the same again changes nothing.
        (stack({**OLD, SHIFT_TRAFFIC: "true"}), OLD, "true"),
        (stack({**OLD, SHIFT_TRAFFIC: "false"}), OLD, "false"),
    ],
)
def test_traffic_shifts_unless_what_runs_is_known_not_to_work(
    before: StackState, images: Mapping[str, str], shifts: str
) -> None:
    assert shift_parameter(SHIFTING, before, images) == {SHIFT_TRAFFIC: shifts}


def test_the_way_back_moves_traffic_at_once() -> None:
    assert at_once(SHIFTING) == {SHIFT_TRAFFIC: "false"}


def test_a_template_without_shifting_has_no_such_parameter() -> None:
    assert shift_parameter(AT_ONCE, stack(OLD, AT_ONCE), NEW) == at_once(AT_ONCE) == {}
    assert at_once("") == at_once("AWSTemplateFormatVersion: 2010-09-09") == {}


@pytest.mark.parametrize(
    ("preference", "seconds"),
    [
        ("AllAtOnce", 3_600),
        ("LambdaCanary10Percent5Minutes", 3_600 + 2 * 300),
        ("LambdaLinear10PercentEvery10Minutes", 3_600 + 2 * 5_400),
    ],
)
def test_an_operation_may_take_as_long_as_its_shifts(preference: str, seconds: int) -> None:
    assert operation_seconds(json.dumps(pipeline(replace(DEV, release=preference)))) == seconds
