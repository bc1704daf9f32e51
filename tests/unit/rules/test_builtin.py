"""Failures that cfn-lint's own rules detect, which these rules do not repeat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

import cfn.rules

ROLE = "arn:aws:iam::123456789012:role/r"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/f@sha256:" + "0" * 64
ENDPOINT = {
    "VpcId": "vpc-0123456789abcdef0",
    "ServiceName": "com.amazonaws.us-east-1.states",
    "PrivateDnsEnabled": True,
}


def machine(definition: dict[str, Any], as_text: bool = False) -> dict[str, Any]:
    body: Any = {"DefinitionString": json.dumps(definition)} if as_text else {"Definition": definition}
    return {"M": {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"RoleArn": ROLE, **body}}}


def function(**properties: Any) -> dict[str, Any]:
    return {"F": {"Type": "AWS::Lambda::Function", "Properties": {"Role": ROLE, **properties}}}


CASES = {
    "E3039 attribute definitions": {
        "T": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("a", "b")],
                "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
            },
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
        }
    },
    "E3004 a cycle": {
        "A": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "B"}}},
        "B": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "A"}}},
    },
    "E3601 a type of state": machine({"StartAt": "A", "States": {"A": {"Type": "Tsk", "End": True}}}),
    "E3601 a start": machine({"StartAt": "Z", "States": {"A": {"Type": "Succeed"}}}),
    "E3601 no next": machine({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}),
    "E3601 a type of state in text": machine({"StartAt": "A", "States": {"A": {"Type": "Tsk", "End": True}}}, True),
    "E3601 JSONata with a field of JSONPath": machine(
        {"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": {"Type": "Pass", "ResultPath": "$", "End": True}}}
    ),
    "E3685 a handler for an image": function(PackageType="Image", Code={"ImageUri": IMAGE}, Handler="h.f"),
    "W2533 a zip package without runtime": function(Code={"ZipFile": "x"}),
    "W3002 a folder as code": function(Code="./src", Handler="h.f", Runtime="python3.13"),
    "E3064 private DNS twice": {
        name: {"Type": "AWS::EC2::VPCEndpoint", "Properties": {**ENDPOINT, "VpcEndpointType": "Interface"}}
        for name in "AB"
    },
    "E3030 a retention that does not exist": {
        "L": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 31}}
    },
    "E3030 a type of endpoint that does not exist": {
        "E": {"Type": "AWS::EC2::VPCEndpoint", "Properties": {**ENDPOINT, "VpcEndpointType": "Private"}}
    },
    "E3663 a reserved variable": function(
        Code={"ZipFile": "x"}, Handler="h.f", Runtime="python3.13", Environment={"Variables": {"AWS_REGION": "x"}}
    ),
}
# Our own findings in these templates: they are about something else.
BESIDES = {"W9580", "W9564", "E9550"}


@pytest.mark.parametrize("case", CASES)
def test_cfn_lint_finds_it(case: str) -> None:
    template = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": CASES[case]})
    found = {m.rule.id for m in lint(template, config=ManualArgs(append_rules=["cfn.rules"], regions=["us-east-1"]))}
    ours = {getattr(cfn.rules, name).id for name in cfn.rules.__all__}
    assert case.split()[0] in found
    assert found & ours <= BESIDES
