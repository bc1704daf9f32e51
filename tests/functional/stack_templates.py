"""Small templates, and helpers to deploy them, for the tests of stacks."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from pipeline.core.events import Event
from pipeline.stacks import StackOutputs, StackPlan, WantedStack, apply_stack, plan_stack, read_stack


def template(**resources: Any) -> dict[str, Any]:
    """A queue whose timeout is a parameter, and more."""
    return {
        "Parameters": {"Seconds": {"Type": "Number", "Default": 1}},
        "Resources": {
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": {"Ref": "Seconds"}}},
            **resources,
        },
        "Outputs": {"QueueUrl": {"Value": {"Ref": "Queue"}}},
    }


def table(name: str, **attributes: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        },
        **attributes,
    }


def log_group(name: str, **attributes: Any) -> dict[str, Any]:
    return {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name}, **attributes}


def parameter(name: str) -> dict[str, Any]:
    """A resource whose name may be taken, which the emulator refuses as AWS does."""
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Name": name, "Type": "String", "Value": "x"}}


def wanted(name: str, *, body: dict[str, Any] | str | None = None, **more: Any) -> WantedStack:
    text = body if isinstance(body, str) else json.dumps(body or template())
    return WantedStack(name, text, **more)


def decide(cfn: Any, stack: WantedStack) -> StackPlan:
    return plan_stack(read_stack(cfn, stack.name), stack)


def up(cfn: Any, stack: WantedStack, events: list[Event] | None = None, *, timeout: float = 30) -> StackOutputs:
    report = (lambda _: None) if events is None else events.append
    return apply_stack(cfn, decide(cfn, stack), report, timeout=timeout)


class Provider:
    """The function of a custom resource, outside every stack, that can be set to fail."""

    CODE = """
import json, urllib.request
def handler(event, context):
    reason = REASON
    failing = reason and (event["RequestType"] != "Delete" or DELETING)
    answer = {
        "Status": "FAILED" if failing else "SUCCESS", "Reason": reason or "fine",
        "PhysicalResourceId": event.get("PhysicalResourceId", "thing"), "StackId": event["StackId"],
        "RequestId": event["RequestId"], "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
"""

    def __init__(self, lambda_client: Any, iam: Any, name: str) -> None:
        self._lambda, self._name = lambda_client, name
        allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        trust = {"Version": "2012-10-17", "Statement": [allow]}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        self.arn = lambda_client.create_function(
            FunctionName=name, Runtime="python3.12", Handler="index.handler", Role=role, Timeout=20,
            Code={"ZipFile": self._zip("")},
        )["FunctionArn"]  # fmt: skip

    def resource(self, value: str) -> dict[str, Any]:
        return {"Type": "Custom::Thing", "Properties": {"ServiceToken": self.arn, "Value": value}}

    def fail(self, reason: str, *, deleting: bool = False) -> None:
        """Fail creations and updates from now on, and deletions too when ``deleting``."""
        self._lambda.update_function_code(FunctionName=self._name, ZipFile=self._zip(reason, deleting))

    def succeed(self) -> None:
        self.fail("")

    def _zip(self, reason: str, deleting: bool = False) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("index.py", self.CODE.replace("REASON", repr(reason)).replace("DELETING", str(deleting)))
        return content.getvalue()


def history(cfn: Any, name: str) -> Iterator[str]:
    """The statuses of the stack itself, oldest first."""
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    return (each["ResourceStatus"] for each in reversed(events) if each["LogicalResourceId"] == name)
