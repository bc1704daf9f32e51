"""Every call of an API either changes what is saved, is journalled, keeps nothing, or only reads."""

from __future__ import annotations

import botocore.session
import pytest

from pipeline.local.emulator.durable.changing_calls import changes_state
from pipeline.local.emulator.signatures import Request


def json_call(target: str) -> Request:
    return Request("POST", "/", (("x-amz-target", target),))


def form(action: str) -> Request:
    return Request("POST", "/", (("content-type", "application/x-www-form-urlencoded"),), f"Action={action}".encode())


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("ecr", json_call("AmazonEC2ContainerRegistry_V20150921.PutImage")),
        ("ecr", Request("PUT", "/v2/app/manifests/v1", ())),
        ("ecr", Request("DELETE", "/v2/app/manifests/v1", ())),
        ("dynamodb", json_call("DynamoDB_20120810.CreateTable")),
        ("sqs", json_call("AmazonSQS.CreateQueue")),
        ("ssm", json_call("AmazonSSM.PutParameter")),
        ("logs", json_call("Logs_20140328.CreateLogGroup")),
        ("cloudformation", form("ExecuteChangeSet")),
        ("iam", form("CreateRole")),
        ("lambda", Request("PUT", "/2015-03-31/functions/app/code", ())),
        ("s3", Request("PUT", "/bucket/key", ())),
        ("unknown", json_call("Something.New")),
    ],
)
def test_changes(service: str, request_: Request) -> None:
    assert changes_state(service, request_)


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("ecr", Request("GET", "/v2/app/manifests/v1", ())),
        ("ecr", json_call("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")),
        ("cloudformation", form("DescribeStacks")),
        ("dynamodb", json_call("DynamoDB_20120810.PutItem")),
        ("dynamodb", json_call("DynamoDB_20120810.Query")),
        ("sqs", json_call("AmazonSQS.SendMessageBatch")),
        ("sqs", form("ReceiveMessage")),
        ("states", json_call("AWSStepFunctions.StartSyncExecution")),
        ("lambda", Request("POST", "/2015-03-31/functions/app/invocations?Qualifier=live", ())),
        ("sts", form("AssumeRole")),
    ],
)
def test_does_not(service: str, request_: Request) -> None:
    assert not changes_state(service, request_)


@pytest.mark.parametrize("service", ["dynamodb", "sqs", "ecr", "ssm"])
def test_what_a_service_calls_a_read_is_one(service: str) -> None:
    """No call that creates, puts, updates, tags or deletes a resource passes for a read."""
    journalled = {"PutItem", "UpdateItem", "DeleteItem", "DeleteMessage", "DeleteMessageBatch"}
    model = botocore.session.get_session().get_service_model(service)
    for name in model.operation_names:
        if name.startswith(("Create", "Put", "Update", "Delete", "Tag", "Untag", "Set", "Add", "Remove")):
            assert changes_state(service, json_call(f"Target.{name}")) or name in journalled
