"""The pipeline stack of a project without a workflow: functions, and a network only for those that ask for one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.problems import SettingsError
from cfn.registry import registry_template
from cfn.render import TEMPLATE_BODY_MAX, render
from cfn.settings import Call, FunctionDefinition, Settings

SETTINGS = Settings("dev", project="orders", workflow=None)
HELLO = FunctionDefinition("hello")


def synthesise(*functions: FunctionDefinition, settings: Settings = SETTINGS) -> dict[str, Any]:
    template: dict[str, Any] = json.loads(render(pipeline_template(settings, functions)))
    return template


def types(template: dict[str, Any]) -> set[str]:
    return {each["Type"].removeprefix("AWS::") for each in template["Resources"].values()}


def test_a_function_alone_needs_little() -> None:
    template = synthesise(HELLO)
    assert types(template) == {
        "Lambda::Function", "Lambda::Version", "Lambda::Alias", "IAM::Role", "Logs::LogGroup",
        "CloudWatch::Alarm", "SNS::Topic", "SNS::TopicPolicy", "KMS::Key", "KMS::Alias",
    }  # fmt: skip
    assert set(template["Parameters"]) == {"HelloImageUri"}
    assert "VpcConfig" not in template["Resources"]["HelloFunction"]["Properties"]
    assert "ManagedPolicyArns" not in template["Resources"]["HelloRole"]["Properties"]
    assert set(template["Outputs"]) == {"AlarmTopicArn", "HelloFunctionName", "HelloImageDigest"}


def test_every_name_begins_with_the_project() -> None:
    registry = json.loads(render(registry_template(SETTINGS, [HELLO])))
    names = {
        value
        for template in (registry, synthesise(HELLO))
        for each in template["Resources"].values()
        for key, value in each.get("Properties", {}).items()
        if key.endswith("Name") and isinstance(value, str) and not key.startswith(("Metric", "Policy", "Alias"))
    }
    assert {"orders-hello-dev", "orders-alarms-dev", "orders-placeholder-dev"} <= names
    assert {name for name in names if not name.startswith("orders-")} == {"live"}


def test_a_function_gets_a_network_if_it_asks_for_one() -> None:
    inside = FunctionDefinition("inside", vpc=True, calls=(Call("s3", ("GetObject",), "arn:aws:s3:::reports/*"),))
    template = synthesise(HELLO, inside)
    assert "EC2::VPC" in types(template)
    assert "VpcConfig" in template["Resources"]["InsideFunction"]["Properties"]
    assert "VpcConfig" not in template["Resources"]["HelloFunction"]["Properties"]
    assert "ManagedPolicyArns" not in template["Resources"]["HelloRole"]["Properties"]
    for endpoint in ("DynamodbEndpoint", "S3Endpoint"):
        (statement,) = template["Resources"][endpoint]["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}


def test_an_existing_network_is_used_by_its_ids() -> None:
    settings = Settings(
        "dev", project="orders", workflow=None, subnets=("subnet-0123456789",), security_groups=("sg-0123456789",)
    )
    template = synthesise(FunctionDefinition("inside", vpc=True), settings=settings)
    assert not {each for each in types(template) if each.startswith("EC2::")}
    assert template["Resources"]["InsideFunction"]["Properties"]["VpcConfig"] == {
        "SecurityGroupIds": ["sg-0123456789"],
        "SubnetIds": ["subnet-0123456789"],
    }
    assert "ManagedPolicyArns" in template["Resources"]["InsideRole"]["Properties"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subnets": ("subnet-0123456789",)}, "only together"),
        ({"subnets": ("net-1",), "security_groups": ("sg-0123456789",)}, "subnets has 'net-1'"),
        (
            {"subnets": ("subnet-0123456789",), "security_groups": ("sg-0123456789",) * 6},
            "has 6 ids and Lambda takes 5",
        ),
    ],
)
def test_an_existing_network_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        synthesise(HELLO, settings=Settings("dev", project="orders", workflow=None, **changes))


def called(*calls: Call) -> list[dict[str, Any]]:
    template = synthesise(FunctionDefinition("hello", calls=calls))
    (policy,) = template["Resources"]["HelloRole"]["Properties"]["Policies"]
    found: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"][1:]
    return found


def test_calls_name_resources_by_arn() -> None:
    arn = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:billing"
    assert called(
        Call("s3", ("GetObject", "PutObject"), "arn:aws:s3:::reports/*"),
        Call("stepfunctions", ("StartExecution",), arn),
        Call("cloudwatch", ("PutMetricData",), "*"),
    ) == [
        {"Effect": "Allow", "Action": ["cloudwatch:PutMetricData"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::reports/*"},
        {"Effect": "Allow", "Action": ["states:StartExecution"], "Resource": {"Fn::Sub": arn}},
    ]


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("state-table", "calls the resource 'state-table'; write a logical id of resources.yaml, an ARN or"),
        ("arn:s3", "which is not an ARN"),
        ("arn:aws:s3:::${Bucket}/*", r"\$\{Bucket\} stands for nothing"),
    ],
)
def test_other_resources_are_refused(resource: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        called(Call("s3", ("GetObject",), resource))


def test_many_functions_stay_within_a_request() -> None:
    template = render(pipeline_template(SETTINGS, [FunctionDefinition(f"function-{n}") for n in range(12)]))
    assert len(template.encode()) < TEMPLATE_BODY_MAX


def test_a_name_too_long_with_the_project_is_refused() -> None:
    with pytest.raises(SettingsError, match="characters and Lambda takes at most 64"):
        synthesise(FunctionDefinition("f" * 47), settings=Settings("a" * 16, project="o" * 20, workflow=None))
