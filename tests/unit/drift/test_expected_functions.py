"""Deployed functions compared with their template: what differs, what cannot be known, and what is not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfn.names import Names, image_parameter
from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import FunctionDefinition, Settings
from pipeline.drift.drifted import Difference, Drifted
from pipeline.drift.expected_functions import (
    ExpectedFunction,
    compare_function,
    compare_version,
    expected_functions,
)

STACK = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop-pipeline-dev/1"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop-hello-dev@sha256:" + "a" * 64
HELLO = FunctionDefinition("hello", memory=512, timeout=30, environment=(("KEY", "value"),), reserved_concurrency=5)


def expected(function: FunctionDefinition = HELLO, **parameters: str) -> ExpectedFunction:
    body = render(pipeline_template(Settings("dev", project="shop", workflow=None), [function]))
    (found,) = expected_functions(body, {image_parameter(function.name): IMAGE, **parameters}, STACK)
    return found


def live(function: ExpectedFunction, **changed: Any) -> dict[str, Any]:
    """What Lambda answers for a function that is as its template has it."""
    variables = {name: value if isinstance(value, str) else "known" for name, value in function.variables.items()}
    names = ("MemorySize", "Timeout", "Architectures", "EphemeralStorage", "TracingConfig", "Description")
    given = {name: function.properties[name] for name in names if name in function.properties}
    logging = {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "shop-hello-dev"}
    return {**given, "Environment": {"Variables": variables}, "LoggingConfig": logging, **changed}


def paths(differences: tuple[Difference, ...]) -> list[str]:
    return [each.path for each in differences]


def test_the_pipelines_functions_are_found_with_their_aliases() -> None:
    found = expected()
    assert (found.name, found.alias, found.version) == (Names("dev", "shop").function("hello"),
                                                        ("HelloAlias", "live"), "HelloVersion")  # fmt: skip


def test_a_function_as_its_template_has_it_does_not_differ() -> None:
    found = expected()
    assert compare_function(found, live(found), IMAGE, 5) == ()
    assert compare_version(found, live(found, Description="of the version"), IMAGE, {}) == ()


def test_a_placeholder_is_expected_without_an_image() -> None:
    found = expected(**{image_parameter("hello"): ""})
    placeholder = found.properties["Code"]["ImageUri"]
    assert placeholder.startswith("123456789012.dkr.ecr.eu-west-1.amazonaws.com/")
    assert compare_function(found, live(found), placeholder, 5) == ()
    assert paths(compare_function(found, live(found), IMAGE, 5)) == ["Code.ImageUri"]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"MemorySize": 1024}, "MemorySize"),
        ({"Timeout": 3}, "Timeout"),
        ({"Architectures": ["x86_64"]}, "Architectures"),
        ({"EphemeralStorage": {"Size": 1024}}, "EphemeralStorage.Size"),
        ({"TracingConfig": {"Mode": "Active"}}, "TracingConfig.Mode"),
        ({"Description": "changed"}, "Description"),
        ({"LoggingConfig": {"LogFormat": "Text", "SystemLogLevel": "WARN"}}, "LoggingConfig.LogFormat"),
        ({"Environment": {}}, "Environment.Variables.CONFIGURATION"),
    ],
)
def test_each_changed_property_is_found(changed: dict[str, Any], path: str) -> None:
    found = expected()
    assert path in paths(compare_function(found, live(found, **changed), IMAGE, 5))


@pytest.mark.parametrize(("reserved", "differs"), [(5, False), (7, True), (0, True), (None, True)])
def test_reserved_executions_are_compared(reserved: int | None, differs: bool) -> None:
    found = expected()
    assert bool(compare_function(found, live(found), IMAGE, reserved)) is differs


def test_executions_that_no_template_reserves_are_found() -> None:
    found = expected(FunctionDefinition("hello"))
    assert paths(compare_function(found, live(found), IMAGE, 0)) == ["ReservedConcurrentExecutions"]


def test_values_of_variables_are_not_shown() -> None:
    found = expected()
    variables = {**live(found)["Environment"]["Variables"], "KEY": "hunter2", "NEW": "hunter3"}
    differences = compare_function(found, live(found, Environment={"Variables": variables}), IMAGE, 5)
    assert paths(differences) == ["Environment.Variables.KEY", "Environment.Variables.NEW"]
    drifted = Drifted("HelloFunction", "AWS::Lambda::Function", found.name, differences)
    assert "hunter" not in drifted.text + json.dumps(drifted.to_json())


def test_variables_that_lambda_cannot_decrypt_are_not_taken_for_removed() -> None:
    found = expected()
    error = {"Error": {"ErrorCode": "AccessDeniedException", "Message": "Lambda was unable to decrypt"}}
    assert compare_function(found, live(found, Environment=error), IMAGE, 5) == ()


def test_a_value_that_only_the_stack_knows_is_not_judged_but_its_absence_is() -> None:
    properties = {"Code": {"ImageUri": IMAGE}, "Environment": {"Variables": {"TABLE": {"Ref": "Table"}}}}
    found = ExpectedFunction("F", "f", properties)
    default = {"MemorySize": 128, "Timeout": 3}
    assert compare_function(found, {**default, "Environment": {"Variables": {"TABLE": "any"}}}, IMAGE, None) == ()
    assert paths(compare_function(found, default, IMAGE, None)) == ["Environment.Variables.TABLE"]


def test_traffic_that_another_version_shares_is_found() -> None:
    found = expected()
    (difference,) = compare_version(found, live(found), IMAGE, {"3": 0.25})
    assert difference.text == "RoutingConfig.AdditionalVersionWeights is version 3 25% instead of (none)"


@pytest.mark.parametrize("body", ["", "Resources: {}", '{"Resources": {}}'])
def test_a_template_without_functions_expects_none(body: str) -> None:
    assert expected_functions(body, {}, STACK) == ()


def test_resources_whose_condition_does_not_hold_are_not_expected() -> None:
    function = {"Type": "AWS::Lambda::Function", "Properties": {"FunctionName": "f", "Code": {"ImageUri": IMAGE}}}
    conditions = {"Off": {"Fn::Equals": ["a", "b"]}, "On": {"Fn::Equals": ["a", "a"]}}
    for condition, count in (("Off", 0), ("On", 1)):
        body = json.dumps({"Conditions": conditions, "Resources": {"F": {**function, "Condition": condition}}})
        assert len(expected_functions(body, {}, STACK)) == count
