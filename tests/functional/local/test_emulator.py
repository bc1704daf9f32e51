"""The embedded AWS by itself."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import make_role


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


def test_a_zip_function_runs_under_its_own_role(embedded_aws: EmbeddedAws) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(
            "index.py",
            "import boto3, os\n"
            "def handle(event, context):\n"
            "    return [boto3.client('sts').get_caller_identity()['Arn'], os.environ['AWS_ENDPOINT_URL']]\n",
        )
    client = embedded_aws.client("lambda")
    client.create_function(
        FunctionName="zipped", Runtime="python3.13", Handler="index.handle", Role=make_role(embedded_aws, "zipped"),
        Timeout=30, Code={"ZipFile": archive.getvalue()},
    )  # fmt: skip
    arn, endpoint = json.loads(client.invoke(FunctionName="zipped")["Payload"].read())
    assert arn.startswith("arn:aws:sts::000000000000:assumed-role/zipped/")
    assert endpoint == embedded_aws.endpoint
