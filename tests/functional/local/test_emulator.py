"""The embedded AWS by itself."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.functional.conftest import EmbeddedAws


def test_answers_the_root_of_the_account(embedded_aws: EmbeddedAws) -> None:
    assert embedded_aws.client("sts").get_caller_identity()["Account"] == embedded_aws.account


def test_refuses_an_unknown_access_key(embedded_aws: EmbeddedAws) -> None:
    stranger = embedded_aws.client("dynamodb", aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        stranger.list_tables()


def test_a_role_may_do_what_its_policy_says_and_nothing_else(embedded_aws: EmbeddedAws) -> None:
    iam, account = embedded_aws.client("iam"), embedded_aws.account
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}}
    role = iam.create_role(
        RoleName="reader", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]
    allowed = {"Effect": "Allow", "Action": "dynamodb:ListTables", "Resource": "*"}
    iam.put_role_policy(
        RoleName="reader",
        PolicyName="read",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    session = embedded_aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
    reader = {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }
    assert "TableNames" in embedded_aws.client("dynamodb", **reader).list_tables()
    with pytest.raises(ClientError, match="AccessDenied"):
        embedded_aws.client("sqs", **reader).list_queues()
