"""Least privilege: each action of the entrances' roles is needed, and a caller needs the API's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.functional.entrances.conftest import Entrances, transaction
from tests.functional.signed_requests import request


@contextmanager
def without(entrances: Entrances, role: str, action: str) -> Iterator[None]:
    """Take an action away from a role, by its logical id, and give it back at the end."""
    iam, cloudformation = entrances.aws.client("iam"), entrances.aws.client("cloudformation")
    name = cloudformation.describe_stack_resource(StackName="transaction-pipeline-doors", LogicalResourceId=role)
    named = {"RoleName": name["StackResourceDetail"]["PhysicalResourceId"], "PolicyName": "calls"}
    document = iam.get_role_policy(**named)["PolicyDocument"]
    kept = [each for each in document["Statement"] if action not in each["Action"]]
    assert len(kept) == len(document["Statement"]) - 1
    iam.put_role_policy(**named, PolicyDocument=json.dumps({**document, "Statement": kept}))
    try:
        yield
    finally:
        iam.put_role_policy(**named, PolicyDocument=json.dumps(document))


def test_the_http_role_has_what_it_needs_and_no_more(entrances: Entrances) -> None:
    with without(entrances, "HttpEntranceRole", "states:StartSyncExecution"):
        status, _headers, problem = entrances.submit(transaction("role-1"))
        assert (status, problem["code"]) == (503, "unavailable")
        assert "AccessDenied" not in str(problem)
    assert entrances.submit(transaction("role-1"))[0] == 200
    with without(entrances, "HttpEntranceRole", "dynamodb:GetItem"):
        assert entrances.send("GET", "/transactions/role-1")[0] == 503
    assert entrances.send("GET", "/transactions/role-1")[0] == 200


@pytest.mark.parametrize("action", ["states:StartSyncExecution", "sns:Publish"])
def test_the_queue_s_role_has_what_it_needs(entrances: Entrances, action: str) -> None:
    sqs, url = entrances.aws.client("sqs"), entrances.outputs["QueueEntranceQueueUrl"]
    hidden = "ApproximateNumberOfMessagesNotVisible"

    def kept() -> int:
        return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[hidden])["Attributes"][hidden])

    identifier = f"role-{action.partition(':')[0]}"
    with without(entrances, "QueueEntranceRole", action):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(transaction(identifier)))
        logs, until, found = entrances.aws.client("logs"), time.monotonic() + 30, ""
        while "is kept" not in found and time.monotonic() < until:
            events = logs.filter_log_events(logGroupName="queue-entrance-doors", filterPattern=f'"{identifier}"')
            found = " ".join(each["message"] for each in events["events"])
            time.sleep(0.2)
    assert "is kept" in found
    assert kept() == 1
    sqs.purge_queue(QueueUrl=url)


def test_a_caller_may_do_what_its_policy_says(entrances: Entrances) -> None:
    iam, api = entrances.aws.client("iam"), entrances.outputs["ApiUrl"].rpartition("/")[2]
    resource = f"arn:aws:execute-api:us-east-1:{entrances.aws.account}:{api}/$default/GET/*"
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource}
    iam.create_user(UserName="reader-of-doors")
    iam.put_user_policy(
        UserName="reader-of-doors", PolicyName="read",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )  # fmt: skip
    key = iam.create_access_key(UserName="reader-of-doors")["AccessKey"]
    reader = replace(entrances.aws, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    url = entrances.outputs["ApiUrl"]
    try:
        assert request(reader, "GET", f"{url}/openapi.json")[0] == 200
        body = json.dumps(transaction("role-2")).encode()
        assert request(reader, "POST", f"{url}/transactions", body, {"Content-Type": "application/json"})[0] == 403
        assert entrances.record("role-2") == {}
    finally:
        iam.delete_access_key(UserName="reader-of-doors", AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName="reader-of-doors", PolicyName="read")
        iam.delete_user(UserName="reader-of-doors")
