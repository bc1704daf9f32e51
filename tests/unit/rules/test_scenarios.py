"""Scenarios, and the values resolved in each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfn.rules._template import View, conditions_of, views


def template(conditions: dict[str, Any], parameters: dict[str, Any] | None = None, **resource: Any) -> dict[str, Any]:
    uses = {name: {"Fn::If": [name, 1, 2]} for name in conditions}
    return {
        "Parameters": parameters or {},
        "Conditions": conditions,
        "Resources": {"R": {"Type": "T", "Properties": {**uses, **resource}}},
    }


def seen(given_template: dict[str, Any]) -> list[View]:
    return views(given_template, conditions_of(given_template, ()))


def outcomes(given_template: dict[str, Any]) -> list[dict[str, bool]]:
    return [dict(view.scenario.decisions) for view in seen(given_template)]


def equals(parameter: str, value: str) -> dict[str, Any]:
    return {"Fn::Equals": [{"Ref": parameter}, value]}


def test_a_template_without_conditions_has_one_scenario() -> None:
    assert outcomes({"Resources": {}}) == [{}]


def test_the_defaults_come_first() -> None:
    given_template = template({"IsProd": equals("Env", "prod")}, {"Env": {"Type": "String", "Default": "prod"}})
    assert outcomes(given_template) == [{"IsProd": True}, {"IsProd": False}]


def test_conditions_on_one_parameter_exclude_each_other() -> None:
    found = outcomes(template({"IsProd": equals("Env", "prod"), "IsDev": equals("Env", "dev")}))
    assert {"IsProd": True, "IsDev": True} not in found
    assert len(found) == 3


def test_allowed_values_leave_no_other_choice() -> None:
    parameters = {"Env": {"Type": "String", "AllowedValues": ["dev", "prod"]}}
    found = outcomes(template({"IsProd": equals("Env", "prod"), "IsDev": equals("Env", "dev")}, parameters))
    assert {frozenset(outcome.items()) for outcome in found} == {
        frozenset({("IsProd", True), ("IsDev", False)}),
        frozenset({("IsProd", False), ("IsDev", True)}),
    }


def test_operators_and_references_are_decided() -> None:
    conditions = {
        "A": equals("X", "a"),
        "NotA": {"Fn::Not": [{"Condition": "A"}]},
        "Both": {"Fn::And": [{"Condition": "A"}, {"Condition": "NotA"}]},
        "Either": {"Fn::Or": [{"Condition": "A"}, {"Condition": "NotA"}]},
    }
    for outcome in outcomes(template(conditions)):
        assert outcome["NotA"] is not outcome["A"]
        assert (outcome["Both"], outcome["Either"]) == (False, True)


def test_a_comparison_that_cannot_be_computed_may_fall_either_way() -> None:
    condition = {"Fn::Equals": [{"Fn::ImportValue": "stage"}, "prod"]}
    assert outcomes(template({"IsProd": condition})) == [{"IsProd": False}, {"IsProd": True}]


def test_a_mapping_decides_by_its_keys() -> None:
    condition = {"Fn::Equals": [{"Fn::FindInMap": ["Sizes", {"Ref": "Env"}, "Kind"]}, "big"]}
    given_template = template({"IsBig": condition}, {"Env": {"Type": "String", "Default": "dev"}})
    given_template["Mappings"] = {"Sizes": {"dev": {"Kind": "small"}, "prod": {"Kind": "big"}}}
    found = seen(given_template)
    assert [(v.scenario.assignment["Env"], v.scenario.decisions["IsBig"]) for v in found[:2]] == [
        ("dev", False),
        ("prod", True),
    ]


def test_a_condition_that_refers_to_itself_is_left_undecided() -> None:
    assert outcomes(template({"A": {"Condition": "B"}, "B": {"Condition": "A"}})) == [{}]


def test_forty_conditions_are_sampled_and_each_is_seen_both_ways() -> None:
    found = outcomes(template({f"C{i}": equals(f"P{i}", "x") for i in range(40)}))
    assert len(found) == 64
    assert all({outcome[f"C{i}"] for outcome in found} == {True, False} for i in range(40))


def test_a_resource_exists_where_its_condition_holds() -> None:
    given_template = template({"IsProd": equals("Env", "prod")})
    given_template["Resources"]["R"]["Condition"] = "IsProd"
    assert {view.scenario.decisions["IsProd"]: "R" in view.all for view in seen(given_template)} == {
        True: True,
        False: False,
    }


PARAMETERS = {
    "Plain": {"Type": "String", "Default": "plain"},
    "Open": {"Type": "String"},
    "Count": {"Type": "Number", "Default": 3},
    "List": {"Type": "CommaDelimitedList", "Default": "a, b"},
    "Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/path"},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Plain"}, "plain"),
        ({"Ref": "Open"}, "${Open}"),
        ({"Ref": "Count"}, "3"),
        ({"Ref": "List"}, ["a", "b"]),
        ({"Ref": "Stored"}, "${Stored}"),
        ({"Ref": "AWS::Region"}, "${AWS::Region}"),
        ({"Fn::GetAtt": ["Role", "Arn"]}, "${Role.Arn}"),
        ({"Fn::GetAtt": "Role.Arn"}, "${Role.Arn}"),
        ({"Fn::Sub": "${Role.Arn}/${Plain}-${AWS::Region}"}, "${Role.Arn}/plain-${AWS::Region}"),
        ({"Fn::Sub": ["${here}-${Open}", {"here": {"Ref": "Plain"}}]}, "plain-${Open}"),
        ({"Fn::Join": ["-", ["x", {"Ref": "Plain"}, {"Ref": "Open"}]]}, "x-plain-${Open}"),
        ({"Fn::Join": [",", {"Ref": "List"}]}, "a,b"),
        ({"Fn::Select": [1, {"Ref": "List"}]}, "b"),
        ({"Fn::Select": ["0", {"Fn::Split": ["/", "x/y"]}]}, "x"),
        ({"Fn::FindInMap": ["M", "a", "b"]}, 7),
        ({"Fn::ToJsonString": {"a": {"Ref": "Plain"}}}, '{"a": "plain"}'),
        ([1, {"Ref": "AWS::NoValue"}, {"k": {"Ref": "AWS::NoValue"}}], [1, {}]),
        ({"Condition": "x"}, {"Condition": "x"}),
    ],
)
def test_an_intrinsic_function_is_resolved_as_far_as_the_template_goes(value: Any, expected: Any) -> None:
    assert View({"Parameters": PARAMETERS, "Mappings": {"M": {"a": {"b": 7}}}}).resolve(value) == expected


def test_equal_expressions_that_are_not_known_stay_equal() -> None:
    view = View({})
    one, same, other = (view.resolve({"Fn::ImportValue": name}) for name in ("a", "a", "b"))
    assert one == same != other


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Ref", "Fn::If", "Fn::Sub", "Fn::Join", "Fn::GetAtt", "Fn::Select", "Fn::Split", "a"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_value_and_no_condition_is_too_odd_to_resolve(value: Any, condition: Any) -> None:
    odd = template({"C": condition}, Odd=value)
    for view in seen(odd):
        assert "R" in view.all
