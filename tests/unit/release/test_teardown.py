"""The end of an environment: interfaces that Lambda is slow to give up, and data that stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.core.events import Event, Note
from pipeline.release.teardown import free_network_interfaces, kept_by, vpc_functions


class Aws:
    """Lambda and EC2 as they behave together on AWS: interfaces outlive functions, and become free one by one."""

    def __init__(self, *, polls_until_free: int, in_vpc: bool = True) -> None:
        self.functions = {"fraud-dev": ["sg-1"] if in_vpc else []}
        self.interfaces = {"eni-1": polls_until_free, "eni-2": polls_until_free + 1}

    def client(self, service: str) -> Any:
        assert service in ("lambda", "ec2")
        return self

    def get_function_configuration(self, *, FunctionName: str) -> Any:
        if FunctionName not in self.functions:
            raise _refusal("ResourceNotFoundException")
        return {"VpcConfig": {"SecurityGroupIds": self.functions[FunctionName]}}

    def delete_function(self, *, FunctionName: str) -> None:
        del self.functions[FunctionName]

    def get_paginator(self, call: str) -> Any:
        assert call == "describe_network_interfaces"
        return self

    def paginate(self, *, Filters: Any) -> Any:
        assert {"Name": "group-id", "Values": ["sg-1"]} in Filters
        shown = []
        for name, polls in self.interfaces.items():
            shown.append({"NetworkInterfaceId": name, "Status": "available" if polls <= 0 else "in-use"})
            self.interfaces[name] = polls - 1
        return [{"NetworkInterfaces": shown}]

    def delete_network_interface(self, *, NetworkInterfaceId: str) -> None:
        del self.interfaces[NetworkInterfaceId]
        if NetworkInterfaceId == "eni-2":
            raise _refusal("InvalidNetworkInterfaceID.NotFound")  # Lambda was faster


def _refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "call")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.core.interruption.sleep", lambda _seconds: None)


def test_functions_go_first_and_their_interfaces_as_lambda_gives_them_up() -> None:
    aws = Aws(polls_until_free=2)
    functions = vpc_functions(aws, ["fraud-dev", "gone-already"])
    assert functions == {"fraud-dev": {"sg-1"}}
    assert free_network_interfaces(aws.client, functions) == 1
    assert (aws.functions, aws.interfaces) == ({}, {})


def test_what_lambda_does_not_give_up_in_time_is_left_to_cloudformation() -> None:
    aws, events = Aws(polls_until_free=10**6), list[Event]()
    assert free_network_interfaces(aws.client, {"fraud-dev": {"sg-1"}}, events.append, timeout=0.0) == 0
    assert [event.text for event in events if isinstance(event, Note)] == [
        "Lambda still holds 2 network interfaces; CloudFormation waits for them"
    ]


def test_a_function_outside_of_a_vpc_is_left_to_its_stack() -> None:
    aws = Aws(polls_until_free=0, in_vpc=False)
    assert free_network_interfaces(aws.client, vpc_functions(aws, ["fraud-dev"])) == 0
    assert aws.functions == {"fraud-dev": []}


def test_nothing_is_waited_for_once_the_stack_is_gone() -> None:
    aws = Aws(polls_until_free=10**6)
    assert free_network_interfaces(aws.client, {"fraud-dev": {"sg-1"}}, over=lambda: True) == 0


def test_what_stays_is_told_with_the_command_that_deletes_it() -> None:
    def resource(kind: str, policy: str, **properties: str) -> dict[str, Any]:
        return {"Type": kind, "DeletionPolicy": policy, "Properties": properties}

    body = {
        "Table": resource("AWS::DynamoDB::Table", "Retain", TableName="transaction-state-dev"),
        "Repository": resource("AWS::ECR::Repository", "RetainExceptOnCreate", RepositoryName="fraud-dev"),
        "Logs": resource("AWS::Logs::LogGroup", "Delete", LogGroupName="fraud-dev"),
        "Queue": resource("AWS::SQS::Queue", "Retain", QueueName="parked"),
        "Topic": resource("AWS::SNS::Topic", "Retain", TopicName="x"),
    }
    assert [(each.resource.logical_id, each.command) for each in kept_by(json.dumps({"Resources": body}))] == [
        ("Table", "aws dynamodb delete-table --table-name transaction-state-dev"),
        ("Repository", "aws ecr delete-repository --force --repository-name fraud-dev"),
        (
            "Queue",
            'aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name parked --query QueueUrl'
            ' --output text)"',
        ),
    ]


def test_data_is_all_kept_when_asked_and_a_protected_table_says_how_it_goes() -> None:
    body = {
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Retain",
            "Properties": {"TableName": "state", "DeletionProtectionEnabled": True},
        },
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "fraud-dev"}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "alerts"}},
    }
    kept = kept_by(json.dumps({"Resources": body}), keep_data=True)
    assert [each.command for each in kept] == [
        "aws dynamodb update-table --no-deletion-protection-enabled --table-name state"
        " && aws dynamodb delete-table --table-name state",
        "aws logs delete-log-group --log-group-name fraud-dev",
    ]


def test_a_stack_without_a_readable_template_keeps_nothing() -> None:
    assert kept_by("", keep_data=True) == ()
