"""The permissions of each command, against CloudFormation's resource schemas and the templates."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cfn.names import Names
from cfn.settings import Entrance, Settings
from pipeline.assembly.sources import find_sources
from pipeline.doctor.permissions import CALLED, LARGE_TEMPLATES, RECOVERING, On, Permission
from pipeline.doctor.policy import HANDLERS, permissions_of, policy_of, resource_arns
from pipeline.doctor.policy_parts import policy_parts
from pipeline.environment.synth import build_templates
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD, pipeline, registry
from tests.unit.doctor.handlers import ALWAYS_SET, FOREIGN, UNSET, deployed, derived, schema, text

FUNCTION_NAMES = [each.name for each in FUNCTIONS]
DEV_BODIES = tuple(json.dumps(make(DEV), separators=(",", ":")) for make in (registry, pipeline))


def actions_of(command: str, bodies: tuple[str, ...] = DEV_BODIES) -> set[str]:
    return {each.action for each in permissions_of(command, bodies)}


def keys(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield key
            yield from keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each)


def test_handlers_are_derived_from_the_schemas() -> None:
    assert HANDLERS.read_text() == text(), "after a change on purpose: python -m tests.unit.doctor.handlers"


@pytest.mark.parametrize("kind", deployed())
def test_every_action_of_the_schema_is_listed_or_omitted_for_a_property(kind: str) -> None:
    listed = {action for actions in tomllib.loads(HANDLERS.read_text())[kind].values() for action in actions}
    handlers = {name: each.get("permissions", []) for name, each in schema(kind)["handlers"].items() if name != "list"}
    wanted = {action for actions in handlers.values() for action in actions}
    wanted.update((schema(kind).get("tagging") or {}).get("permissions", ()))
    tables = (UNSET, ALWAYS_SET, FOREIGN)
    reasons = [action for table in tables for each in table.get(kind, {}).values() for action in each]
    assert len(reasons) == len(set(reasons))
    assert set(reasons) <= wanted, "an omitted action that the schema no longer names"
    assert listed == wanted - set(reasons)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, each in UNSET.items() for name in each])
def test_actions_are_omitted_only_for_properties_that_no_template_sets(kind: str, name: str) -> None:
    assert name in set(keys(schema(kind).get("properties", {}))) | set(keys(schema(kind).get("definitions", {})))
    assert name not in set(keys(deployed()[kind]))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, each in ALWAYS_SET.items() for name in each])
def test_actions_are_omitted_only_for_properties_that_every_template_sets(kind: str, name: str) -> None:
    assert all(each.get(name) for each in deployed()[kind])


@pytest.mark.parametrize("kind", [kind for kind in deployed() if "read" in schema(kind)["handlers"]])
def test_a_read_of_the_own_service_is_never_omitted(kind: str) -> None:
    others = {"ApiGatewayV2": "apigateway", "StepFunctions": "states"}
    service = others.get(kind.split("::")[1], kind.split("::")[1].lower())
    reads = {action for action in schema(kind)["handlers"]["read"]["permissions"] if action.startswith(f"{service}:")}
    assert reads
    assert reads <= set(derived(kind)["read"])


def test_shifting_releases_need_codedeploy() -> None:
    shifting = {"codedeploy:GetApplicationRevision", "codedeploy:StopDeployment", "codedeploy:ListDeployments"}
    assert shifting <= actions_of("up", tuple(json.dumps(make(PROD)) for make in (registry, pipeline)))
    assert {action for action in actions_of("up") if "DeploymentGroup" in action and "Create" in action} == set()


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ("up", "ec2:DescribeAccountAttributes"),
        ("up", "ec2:DescribeAvailabilityZones"),
        ("up", "ec2:DescribeNetworkInterfaces"),
        ("up", "ec2:RevokeSecurityGroupIngress"),
        ("up", "ecr:DescribeImages"),
        ("up", "lambda:GetFunctionConfiguration"),
        ("up", "lambda:UntagResource"),
        ("down", "kms:ScheduleKeyDeletion"),
        ("down", "ssm:GetParameterHistory"),
        ("prune", "ecr:BatchGetImage"),
    ],
)
def test_a_command_is_allowed_what_it_needs(command: str, action: str) -> None:
    assert action in actions_of(command)


@pytest.mark.parametrize(
    ("command", "action"),
    [("down", "lambda:CreateFunction"), ("down", "iam:PassRole"), ("status", "lambda:UpdateFunctionCode"),
     ("plan", "cloudformation:ExecuteChangeSet"), ("releases", "ssm:PutParameter"), ("up", "s3:PutObject")],
)  # fmt: skip
def test_a_command_is_allowed_nothing_else(command: str, action: str) -> None:
    assert action not in actions_of(command)


def test_a_large_template_needs_the_bucket() -> None:
    large = json.dumps({"Resources": {}, "Metadata": "x" * 60_000})
    assert actions_of("up", (large,)) - actions_of("up", (json.dumps({"Resources": {}}),)) == {
        each.action for each in LARGE_TEMPLATES
    }


def test_every_recovering_action_is_called_in_the_source() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[3] / "pipeline" / "stacks").glob("*.py"))
    for each in RECOVERING:
        operation = each.action.partition(":")[2]
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
        assert snake in source, each


def test_actions_are_listed_once_and_in_order() -> None:
    wanted = permissions_of("up", DEV_BODIES)
    assert list(wanted) == sorted(set(wanted), key=lambda each: (each.on, each.action))
    for actions in CALLED.values():
        assert len(actions) == len(set(actions))


def policy(command: str) -> dict[str, Any]:
    return policy_of(command, DEV_BODIES, Names("dev"), FUNCTION_NAMES, "aws", "eu-central-1")


def allows(document: Mapping[str, Any], action: str, arn: str) -> bool:
    return any(
        action in each["Action"] and any(fnmatch.fnmatchcase(arn, pattern) for pattern in each["Resource"])
        for each in document["Statement"]
    )


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("cloudwatch:PutMetricAlarm", "cloudwatch:eu-central-1:1:alarm:transaction-dlq-dev-messages"),
        ("cloudwatch:PutMetricAlarm", "cloudwatch:eu-central-1:1:alarm:fraud-detection-dev-errors"),
        ("iam:PassRole", "iam::1:role/transaction-pipeline-dev-StateMachineRole-x"),
        ("iam:CreatePolicy", "iam::1:policy/transaction-pipeline-dev-NetworkInterfacePolicy-x"),
        ("lambda:GetAlias", "lambda:eu-central-1:1:function:fraud-detection-dev:live"),
        ("ssm:PutParameter", "ssm:eu-central-1:1:parameter/transaction-pipeline/dev/release"),
        ("ecr:PutImage", "ecr:eu-central-1:1:repository/fraud-detection-dev"),
    ],
)
def test_the_policy_covers_the_resources_of_the_environment_only(action: str, resource: str) -> None:
    arn = f"arn:aws:{resource}"
    assert allows(policy("up"), action, arn)
    assert not allows(policy("up"), action, arn.replace("dev", "prod"))
    assert not allows(policy("up"), action, arn.replace("arn:aws:", "arn:aws-us-gov:"))


def test_every_fixed_name_of_the_templates_is_covered() -> None:
    services = {
        "AWS::CloudWatch::Alarm": ("AlarmName", "cloudwatch:PutMetricAlarm", "cloudwatch:eu-central-1:1:alarm:{}"),
        "AWS::DynamoDB::Table": ("TableName", "dynamodb:CreateTable", "dynamodb:eu-central-1:1:table/{}"),
        "AWS::ECR::Repository": ("RepositoryName", "ecr:CreateRepository", "ecr:eu-central-1:1:repository/{}"),
        "AWS::Lambda::Function": ("FunctionName", "lambda:CreateFunction", "lambda:eu-central-1:1:function:{}"),
        "AWS::Logs::LogGroup": ("LogGroupName", "logs:CreateLogGroup", "logs:eu-central-1:1:log-group:{}"),
        "AWS::SNS::Topic": ("TopicName", "sns:CreateTopic", "sns:eu-central-1:1:{}"),
        "AWS::SQS::Queue": ("QueueName", "sqs:CreateQueue", "sqs:eu-central-1:1:{}"),
        "AWS::StepFunctions::StateMachine": (
            "StateMachineName", "states:CreateStateMachine", "states:eu-central-1:1:stateMachine:{}",
        ),
    }  # fmt: skip
    document = policy("up")
    seen = set()
    for body in DEV_BODIES:
        for each in json.loads(body)["Resources"].values():
            if each["Type"] in services:
                name, action, form = services[each["Type"]]
                seen.add(each["Type"])
                assert allows(document, action, f"arn:aws:{form.format(each['Properties'][name])}"), each
    assert seen == set(services)


@pytest.mark.parametrize("command", CALLED)
def test_a_policy_is_the_permissions_and_nothing_else(command: str) -> None:
    document = policy(command)
    assert {action for each in document["Statement"] for action in each["Action"]} == actions_of(command)
    for each in document["Statement"]:
        assert all("*" not in action for action in each["Action"])
    [anything] = [each["Action"] for each in document["Statement"] if each["Resource"] == ["*"]] or [[]]
    on_anything = {each.action for each in permissions_of(command, DEV_BODIES) if each.on is On.ANYTHING}
    assert set(anything) == on_anything


@pytest.mark.parametrize(("command", "most"), [("up", 6_144), ("promote", 6_144), ("plan", 6_144), ("up", 700)])
def test_the_parts_of_a_policy_allow_what_it_allows(command: str, most: int) -> None:
    whole, parts = policy(command), policy_parts(policy(command), most)
    assert all(len(json.dumps(part, separators=(",", ":"))) <= most for part in parts)
    assert _allowed([whole]) == _allowed(parts)
    smallest = len(json.dumps(whole, separators=(",", ":"))) / most
    assert smallest <= len(parts) <= 2 * smallest + 1 or most < 6_144


def test_a_part_that_nothing_makes_short_enough_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than 100 characters"):
        policy_parts(policy("up"), 100)


def _allowed(policies: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {
        (action, resource)
        for document in policies
        for each in document["Statement"]
        for action in each["Action"]
        for resource in each["Resource"]
    }


@pytest.mark.parametrize("on", On)
def test_every_kind_of_resource_has_arns(on: On) -> None:
    arns = resource_arns(on, Names("dev"), FUNCTION_NAMES, lambda service, resource: f"{service}:{resource}")
    assert arns
    assert Permission("any:Action", on).on is on


def test_submit_may_use_the_queue_of_the_entrance_where_there_is_one() -> None:
    images = Path(__file__).parents[3] / "images"
    arn = "arn:aws:sqs:eu-west-1:*:queue-entrance-dev"
    for settings, expected in (
        (Settings("dev"), []),
        (Settings("dev", entrances=(Entrance.QUEUE,)), [arn]),
        (Settings("dev", entrances=(Entrance.QUEUE,), queue_fifo=True), [arn, f"{arn}.fifo"]),
    ):
        functions = [source.definition for source in find_sources(images, entrances=settings.entrances)]
        templates = build_templates(settings, functions)
        bodies = (templates.registry, templates.pipeline)
        names = [each.name for each in functions if each.entrance]
        policy = policy_of("submit", bodies, Names("dev"), names, "aws", "eu-west-1")
        found = [each["Resource"] for each in policy["Statement"] if "sqs:SendMessage" in each["Action"]]
        assert [each for resources in found for each in resources] == expected
        policy = policy_of("up", bodies, Names("dev"), names, "aws", "eu-west-1")
        created = {
            each for one in policy["Statement"] if "sqs:CreateQueue" in one["Action"] for each in one["Resource"]
        }
        assert created.issuperset(expected)
        assert (f"{arn}-failures.fifo" in created) is settings.queue_fifo
