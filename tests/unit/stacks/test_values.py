"""Old and new values of a change, computed from the templates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.stacks import PropertyChange, ResourceChange
from pipeline.stacks.properties import Values, differences

STACK_ID = "arn:aws:cloudformation:us-east-1:000000000000:stack/pipeline-dev/1234"


def values(**parameters: str) -> Values:
    template = {
        "Parameters": {"Image": {"Default": ""}, "Zones": {"Default": 3}},
        "Conditions": {
            "HasImage": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Image"}, ""]}]},
            "Three": {"Fn::Equals": [{"Ref": "Zones"}, "3"]},
            "Both": {"Fn::And": [{"Condition": "HasImage"}, {"Condition": "Three"}]},
            "Either": {"Fn::Or": [{"Condition": "HasImage"}, {"Condition": "Three"}]},
            "Unknown": {"Fn::Equals": [{"Fn::ImportValue": "x"}, "y"]},
            "UnknownAndNot": {"Fn::And": [{"Condition": "Unknown"}, {"Condition": "HasImage"}]},
        },
    }
    return Values.of(json.dumps(template), parameters, STACK_ID)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"Ref": "Image"}, "host/a@sha256:1"),
        ({"Ref": "Zones"}, 3),
        ({"Ref": "Queue"}, {"Ref": "Queue"}),
        ({"Ref": "AWS::Region"}, "us-east-1"),
        ({"Fn::If": ["HasImage", {"Ref": "Image"}, "placeholder"]}, "host/a@sha256:1"),
        ({"Fn::If": ["Both", 1, 2]}, 1),
        ({"Fn::If": ["Either", 1, 2]}, 1),
        ({"Fn::If": ["Unknown", 1, 2]}, {"Fn::If": ["Unknown", 1, 2]}),
        ({"Fn::Sub": "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/a"},
         "000000000000.dkr.ecr.us-east-1.amazonaws.com/a"),
        ({"Fn::Sub": "${AWS::StackName}-${Queue}"}, {"Fn::Sub": "pipeline-dev-${Queue}"}),
        ({"Fn::Sub": "${!Literal}"}, "${!Literal}"),
        ({"Fn::Select": [1, {"Fn::Split": ["@", {"Ref": "Image"}]}]}, "sha256:1"),
        ({"Fn::Select": ["\u00b2", [1]]}, {"Fn::Select": ["\u00b2", [1]]}),
        ({"Fn::Select": ["9" * 5000, [1]]}, {"Fn::Select": ["9" * 5000, [1]]}),
        ({"Fn::Join": ["-", ["a", {"Ref": "Zones"}]]}, "a-3"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Queue"}]]}, {"Fn::Join": ["-", ["a", {"Ref": "Queue"}]]}),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, {"Fn::GetAtt": ["Queue", "Arn"]}),
        ({"A": {"Ref": "AWS::NoValue"}, "B": [{"Ref": "AWS::NoValue"}, 1]}, {"B": [1]}),
    ],
)  # fmt: skip
def test_known_values_are_evaluated_and_others_stay_as_written(written: Any, expected: Any) -> None:
    assert values(Image="host/a@sha256:1").evaluate(written) == expected


def test_a_condition_that_one_known_part_decides_is_known() -> None:
    assert values().evaluate({"Fn::If": ["UnknownAndNot", 1, 2]}) == 2


def test_only_the_innermost_differences_are_shown() -> None:
    before = {"Code": {"ImageUri": "a"}, "Tags": [1, 2], "Same": 1, "Gone": True}
    after = {"Code": {"ImageUri": "b"}, "Tags": [1, 3], "Same": 1, "Role": {"Ref": "Role"}}
    assert list(differences("Properties", before, after)) == [
        ("Properties.Code.ImageUri", "a", "b"),
        ("Properties.Gone", "true", None),
        ("Properties.Role", None, '{"Ref": "Role"}'),
        ("Properties.Tags.1", "2", "3"),
    ]


def test_a_template_that_is_not_json_has_no_values() -> None:
    assert Values.of("Resources:\n", {}, STACK_ID).property("Queue", "Name") is None


def change(action: str, resource_type: str = "AWS::DynamoDB::Table", **more: Any) -> ResourceChange:
    return ResourceChange("X", resource_type, action, **more)


@pytest.mark.parametrize(
    ("shown", "destructive"),
    [
        (change("Add"), False),
        (change("Remove"), True),
        (change("Remove", policy="Retain"), False),
        (change("Modify", replacement="False"), False),
        (change("Modify", replacement="True"), True),
        (change("Modify", replacement="True", policy="ReplaceAndDelete"), True),
        (change("Modify", replacement="True", policy="ReplaceAndRetain"), False),
        (change("Modify", replacement="Conditional"), True),
        (change("Modify", replacement="Conditional", properties=(PropertyChange("P", certain=False),)), False),
        (change("Modify", "AWS::Lambda::Version", replacement="True"), False),
    ],
)
def test_changes_that_may_lose_data_are_destructive(shown: ResourceChange, destructive: bool) -> None:
    assert shown.destructive is destructive
