"""No value in place of a property makes a rule crash."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.unit.rules.linting import all_findings

WHOLE = {
    "Parameters": {"Env": {"Type": "String", "Default": "dev"}, "Image": {"Type": "String"}},
    "Mappings": {"Sizes": {"dev": {"Reserved": 5}}},
    "Conditions": {
        "IsProd": {"Fn::Equals": [{"Ref": "Env"}, "prod"]},
        "IsDev": {"Fn::Not": [{"Condition": "IsProd"}]},
    },
    "Resources": {
        "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "f"}},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "ManagedPolicyArns": ["arn:aws:iam::aws:policy/AWSXRayDaemonWriteAccess"],
                "Policies": [
                    {
                        "PolicyName": "p",
                        "PolicyDocument": {
                            "Statement": [{"Effect": "Allow", "Action": ["sns:Publish"], "Resource": {"Ref": "Topic"}}]
                        },
                    }
                ],
            },
        },
        "F": {
            "Type": "AWS::Lambda::Function",
            "Condition": "IsDev",
            "Properties": {
                "FunctionName": "f",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "PackageType": {"Fn::If": ["IsProd", "Image", "Zip"]},
                "Code": {"ImageUri": {"Fn::Sub": "${Repository.RepositoryUri}:latest"}},
                "ReservedConcurrentExecutions": {"Fn::FindInMap": ["Sizes", {"Ref": "Env"}, "Reserved"]},
                "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
                "VpcConfig": {"SubnetIds": [{"Ref": "Subnet"}], "SecurityGroupIds": [{"Ref": "Group"}]},
            },
        },
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "l", "RetentionInDays": 30}},
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": {"Ref": "Vpc"}}},
        "Routes": {"Type": "AWS::EC2::RouteTable", "Properties": {"VpcId": {"Ref": "Vpc"}}},
        "Link": {
            "Type": "AWS::EC2::SubnetRouteTableAssociation",
            "Properties": {"SubnetId": {"Ref": "Subnet"}, "RouteTableId": {"Ref": "Routes"}},
        },
        "Group": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "VpcId": {"Ref": "Vpc"},
                "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}],
                "SecurityGroupEgress": [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}],
            },
        },
        "Endpoint": {
            "Type": "AWS::EC2::VPCEndpoint",
            "Properties": {
                "VpcId": {"Ref": "Vpc"},
                "ServiceName": {"Fn::Sub": "com.amazonaws.${AWS::Region}.states"},
                "VpcEndpointType": "Interface",
                "SecurityGroupIds": [{"Ref": "Group"}],
            },
        },
        "Table": {
            "Type": "AWS::DynamoDB::GlobalTable",
            "Properties": {
                "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
                "GlobalSecondaryIndexes": [{"IndexName": "i", "KeySchema": [{"AttributeName": "b"}]}],
            },
        },
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": [{"Effect": "Allow"}]}}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": {"Ref": "Key"}}},
        "Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmActions": [{"Ref": "Topic"}]}},
        "Rule": {"Type": "AWS::Events::Rule", "Properties": {"Targets": [{"Id": "t", "Arn": {"Ref": "Topic"}}]}},
        "Machine": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "StateMachineType": "EXPRESS",
                "DefinitionSubstitutions": {"Next": "B"},
                "LoggingConfiguration": {"Level": "ALL", "Destinations": [{}]},
                "Definition": {
                    "QueryLanguage": "JSONata",
                    "StartAt": "A",
                    "States": {
                        "A": {
                            "Type": "Task",
                            "Resource": "arn:aws:states:::lambda:invoke",
                            "Arguments": {"FunctionName": {"Ref": "F"}, "Payload": "{% $x %}"},
                            "Retry": [{"ErrorEquals": ["States.Timeout"], "MaxAttempts": 1}],
                            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B"}],
                            "Next": "P",
                        },
                        "P": {
                            "Type": "Parallel",
                            "Branches": [{"StartAt": "C", "States": {"C": {"Type": "Pass", "End": True}}}],
                            "Next": "${Next}",
                        },
                        "B": {"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Next": "A"}], "Default": "D"},
                        "D": {"Type": "Succeed"},
                    },
                },
            },
        },
        "Text": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "DefinitionString": {"Fn::Sub": '{"StartAt": "A", "States": {"A": {"Type": "Fail"}}}'},
            },
        },
    },
}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(WHOLE)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


# A template whose sections are not objects never reaches a rule; cfn-lint itself refuses to read it.
PLACES = [path for path in places(WHOLE) if len(path) > 2 or path[0] in ("Parameters", "Mappings", "Conditions")]
NAMES = ["Ref", "Fn::If", "Fn::Sub", "Fn::GetAtt", "Fn::Join", "Fn::Select", "Fn::FindInMap", "Fn::Transform", "Type"]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70000)
    | st.sampled_from(["", "*", "${", "${F.Arn}", "F", "IsProd", "-1", "arn:"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=examples(1.5))
@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=1))
def test_no_value_of_a_property_makes_a_rule_fail(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    for path, value in changes:
        all_findings(replaced(path, value))


@pytest.mark.parametrize("odd", [None, "", [[]], {"Ref": []}], ids=repr)
def test_no_place_makes_a_rule_fail(odd: Any) -> None:
    for path in PLACES:
        all_findings(replaced(path, odd))


def test_the_template_that_is_changed_makes_rules_speak() -> None:
    """Else the tests above would prove little."""
    assert len(all_findings(WHOLE)) > 10
