"""Templates for any set of functions."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cfn.calls import GATEWAY_SERVICES, RESOURCES, endpoint_service
from cfn.names import image_parameter, pascal_case, placeholder_output, repository_output
from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render
from cfn.settings import Architecture, Call, FunctionDefinition, Settings
from cfn.validation import OWN_VARIABLES
from tests.conftest import examples
from tests.unit.cfn.examples import FUNCTIONS, of_type, role_statements

ACTIONS = {
    "dynamodb": ("GetItem", "PutItem", "Query"),
    "sns": ("Publish",),
    "sqs": ("ReceiveMessage", "SendMessage"),
    "states": ("DescribeExecution", "StartExecution", "StartSyncExecution"),
}

names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
# The topic of results exists only with the entrance that publishes to it.
calls = st.sampled_from(sorted(RESOURCES.keys() - {"result-topic"})).flatmap(
    lambda resource: st.lists(st.sampled_from(ACTIONS[RESOURCES[resource]]), min_size=1, max_size=3, unique=True).map(
        lambda actions: Call(RESOURCES[resource], tuple(actions), resource)
    )
)
variables = st.dictionaries(
    st.from_regex(r"[A-Z][A-Z0-9_]{1,12}", fullmatch=True).filter(
        lambda name: name not in OWN_VARIABLES and not name.startswith("AWS_")
    ),
    st.text(max_size=40),
    max_size=4,
)
definitions = st.builds(
    FunctionDefinition,
    name=names,
    description=st.text(max_size=200),
    memory=st.integers(128, 10_240),
    timeout=st.integers(1, 900),
    calls=st.lists(calls, max_size=4).map(tuple),
    environment=variables.map(lambda chosen: tuple(chosen.items())),
)


def with_the_workflows(more: list[FunctionDefinition]) -> tuple[FunctionDefinition, ...]:
    """The workflow calls its three, whatever else there is."""
    own = {pascal_case(function.name) for function in FUNCTIONS}
    return (*FUNCTIONS, *(each for each in more if pascal_case(each.name) not in own))


sets = (
    st.sampled_from([1, 2, 14])
    .flatmap(lambda most: st.lists(definitions, max_size=most, unique_by=lambda each: pascal_case(each.name)))
    .map(with_the_workflows)
)
environments = st.builds(
    Settings,
    environment=st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,6})?", fullmatch=True),
    architecture=st.sampled_from(Architecture),
    reserved_concurrency=st.none() | st.integers(1, 900),
    encryption=st.sampled_from(["AES256", "KMS"]),
    protect_data=st.booleans(),
    zones=st.integers(1, 6),
    release=st.sampled_from(["AllAtOnce", "LambdaLinear10PercentEvery1Minute"]),
)


def rendered(build: Any, chosen: Settings, functions: tuple[FunctionDefinition, ...]) -> dict[str, Any]:
    return dict(json.loads(render(build(chosen, functions))))


def references(node: Any) -> set[str]:
    """Every logical id that is referred to by Ref or GetAtt, pseudo parameters left out."""
    if isinstance(node, list):
        return set().union(*(references(each) for each in node))
    if not isinstance(node, dict):
        return set()
    if node.keys() == {"Ref"}:
        return {node["Ref"]} if not node["Ref"].startswith("AWS::") else set()
    if node.keys() == {"Fn::GetAtt"}:
        return {node["Fn::GetAtt"][0]}
    return set().union(*(references(each) for each in node.values()))


@settings(max_examples=examples(0.7))
@given(chosen=environments, functions=sets)
def test_registry_of_any_functions(chosen: Settings, functions: tuple[FunctionDefinition, ...]) -> None:
    template = rendered(registry_template, chosen, functions)
    assert references(template) <= template["Resources"].keys()
    assert template["Outputs"].keys() == {
        name for each in functions for name in (repository_output(each.name), placeholder_output(each.name))
    }
    (pusher,) = (each for each in role_statements(template, "PlaceholderRole") if "ecr:PutImage" in each["Action"])
    assert len(pusher["Resource"]) == len(functions)


@settings(max_examples=examples(0.7))
@given(chosen=environments, functions=sets)
def test_pipeline_of_any_functions(chosen: Settings, functions: tuple[FunctionDefinition, ...]) -> None:
    template = rendered(pipeline_template, chosen, functions)
    assert references(template) <= template["Resources"].keys() | template["Parameters"].keys()

    endpoints = {
        each["Properties"]["ServiceName"]["Fn::Sub"].rpartition(".")[2]: each["Properties"]
        for each in of_type(template, "AWS::EC2::VPCEndpoint").values()
    }
    for function in functions:
        stem = pascal_case(function.name)
        assert template["Parameters"][image_parameter(function.name)]["Default"] == ""
        allowed = {
            (action, json.dumps(statement["Resource"]))
            for statement in role_statements(template, f"{stem}Role")
            for action in statement["Action"]
        }
        assert not any("*" in action for action, _resource in allowed)
        for call in function.calls:
            for action in call.actions:
                # What a function declares it may do, on a way that exists and lets it through.
                assert f"{call.service}:{action}" in {each for each, _resource in allowed}
                endpoint = endpoints[endpoint_service(call, action)]
                assert endpoint["VpcEndpointType"] == ("Gateway" if call.service in GATEWAY_SERVICES else "Interface")
                through = {each for made in endpoint["PolicyDocument"]["Statement"] for each in made["Action"]}
                assert f"{call.service}:{action}" in through
        # And nothing that it does not declare, but for its log.
        declared = {f"{call.service}:{action}" for call in function.calls for action in call.actions}
        assert {action for action, _resource in allowed} == declared | {"logs:CreateLogStream", "logs:PutLogEvents"}
