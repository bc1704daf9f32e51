"""The rehearsal stack: what its roles may do, and what its functions have of the pipeline's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfn.names import pascal_case
from cfn.rehearsal import Candidate, rehearsal_template
from cfn.render import TEMPLATE_BODY_MAX
from cfn.workflow.limits import CALLED_FUNCTIONS
from tests.unit.cfn.examples import DEV, pipeline

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/transaction-state-dev"
NETWORK = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    resources = pipeline(DEV)["Resources"]
    candidates = [
        Candidate(
            name,
            f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name}-dev@sha256:{'a' * 64}",
            resources[f"{pascal_case(name)}Function"]["Properties"],
            {"ENVIRONMENT": "other", "IMAGE_DIGEST": "sha256:running"},
            NETWORK,
        )
        for name in CALLED_FUNCTIONS
    ]
    text = rehearsal_template(candidates, TABLE)
    assert len(text) < TEMPLATE_BODY_MAX
    return json.loads(text)  # type: ignore[no-any-return]


def statements(template: dict[str, Any], role: str) -> list[dict[str, Any]]:
    [policy] = template["Resources"][role]["Properties"]["Policies"]
    return policy["PolicyDocument"]["Statement"]  # type: ignore[no-any-return]


def test_the_rehearsal_may_read_the_table_and_invoke_the_candidates_and_nothing_else(template: dict[str, Any]) -> None:
    functions = [{"Fn::GetAtt": [f"{pascal_case(name)}Function", "Arn"]} for name in CALLED_FUNCTIONS]
    assert statements(template, "Role") == [
        {"Effect": "Allow", "Action": ["lambda:InvokeFunction"], "Resource": functions},
        {"Effect": "Allow", "Action": ["dynamodb:BatchGetItem"], "Resource": TABLE},
        {"Effect": "Allow", "Action": ["dynamodb:Query"], "Resource": f"{TABLE}/index/customer"},
    ]


def test_the_candidates_may_only_write_their_log(template: dict[str, Any]) -> None:
    allowed = [each for each in statements(template, "FunctionRole") if each["Effect"] == "Allow"]
    assert [each["Resource"] for each in allowed] == [{"Fn::GetAtt": ["LogGroup", "Arn"]}, "*"]
    assert {action.partition(":")[0] for action in allowed[1]["Action"]} == {"ec2"}
    [denied] = [each for each in statements(template, "FunctionRole") if each["Effect"] == "Deny"]
    assert (denied["Action"], denied["Condition"]) == ("ec2:*", {"Null": {"lambda:SourceFunctionArn": "false"}})


def test_a_candidate_has_the_released_configuration_and_the_running_network(template: dict[str, Any]) -> None:
    properties = template["Resources"]["FraudDetectionFunction"]["Properties"]
    released = pipeline(DEV)["Resources"]["FraudDetectionFunction"]["Properties"]
    assert [properties[name] for name in ("MemorySize", "Timeout")] == [released["MemorySize"], released["Timeout"]]
    assert properties["VpcConfig"] == NETWORK
    assert properties["Environment"]["Variables"]["ENVIRONMENT"] == "dev"
    assert properties["Environment"]["Variables"]["IMAGE_DIGEST"] == f"sha256:{'a' * 64}"
    assert "FunctionName" not in properties


def test_nothing_of_it_takes_concurrency_or_keeps_data(template: dict[str, Any]) -> None:
    text = json.dumps(template)
    assert "ReservedConcurrentExecutions" not in text
    assert "Retain" not in text
    assert {each["Type"] for each in template["Resources"].values()} == {
        "AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Logs::LogGroup",
    }  # fmt: skip


def test_a_variable_that_only_the_stack_knows_is_that_of_the_running_function() -> None:
    properties = {"Environment": {"Variables": {"TABLE_NAME": {"Ref": "StateTable"}, "OTHER": {"Ref": "Gone"}}}}
    [function] = (
        each
        for each in json.loads(rehearsal_template([Candidate("a", "r@sha256:b", properties, {"TABLE_NAME": "t"})]))[
            "Resources"
        ].values()
        if each["Type"] == "AWS::Lambda::Function"
    )
    assert function["Properties"]["Environment"]["Variables"] == {
        "TABLE_NAME": "t", "OTHER": "", "IMAGE_DIGEST": "sha256:b",
    }  # fmt: skip
