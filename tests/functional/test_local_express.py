"""Synchronous executions leave nothing behind on the embedded AWS."""

from __future__ import annotations

import json

import pytest

from tests.functional.conftest import EmbeddedAws

PASS = {"QueryLanguage": "JSONata", "StartAt": "Say", "States": {"Say": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Say", "States": {"Say": {"Type": "Fail", "Error": "No", "Cause": "never"}}}


@pytest.mark.parametrize(("definition", "status"), [(PASS, "SUCCEEDED"), (FAIL, "FAILED")])
def test_an_execution_is_forgotten_when_it_is_answered(
    embedded_aws: EmbeddedAws, definition: object, status: str
) -> None:
    iam, stepfunctions = embedded_aws.client("iam"), embedded_aws.client("stepfunctions")
    name = f"forgets-{status.lower()}"
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states.amazonaws.com"}}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    machine = stepfunctions.create_state_machine(
        name=name, type="EXPRESS", roleArn=role, definition=json.dumps(definition)
    )["stateMachineArn"]
    for _ in range(3):
        answer = stepfunctions.start_sync_execution(stateMachineArn=machine, input='{"a": 1}')
        assert answer["status"] == status
    assert stepfunctions.list_executions(stateMachineArn=machine)["executions"] == []
