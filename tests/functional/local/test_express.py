"""Synchronous executions on the embedded AWS begin at once and leave nothing behind."""

from __future__ import annotations

import json
import time

import pytest

from pipeline.local.emulator.express import START_PAUSE
from tests.functional.conftest import EmbeddedAws

PASS = {"QueryLanguage": "JSONata", "StartAt": "Say", "States": {"Say": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}}
FAIL = {"StartAt": "Say", "States": {"Say": {"Type": "Fail", "Error": "No", "Cause": "never"}}}


def make_machine(aws: EmbeddedAws, name: str, definition: object) -> str:
    iam, stepfunctions = aws.client("iam"), aws.client("stepfunctions")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states.amazonaws.com"}}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    machine = stepfunctions.create_state_machine(
        name=name, type="EXPRESS", roleArn=role, definition=json.dumps(definition)
    )
    return str(machine["stateMachineArn"])


def test_an_execution_begins_at_once(embedded_aws: EmbeddedAws) -> None:
    machine, stepfunctions = make_machine(embedded_aws, "begins", PASS), embedded_aws.client("stepfunctions")
    taken = []
    for _ in range(10):
        started = time.monotonic()
        stepfunctions.start_sync_execution(stateMachineArn=machine, input="{}")
        taken.append(time.monotonic() - started)
    assert min(taken) < START_PAUSE


def test_a_wait_is_waited_for(embedded_aws: EmbeddedAws) -> None:
    machine = make_machine(embedded_aws, "waits", WAIT)
    started = time.monotonic()
    embedded_aws.client("stepfunctions").start_sync_execution(stateMachineArn=machine, input="{}")
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(("definition", "status"), [(PASS, "SUCCEEDED"), (FAIL, "FAILED")])
def test_an_execution_is_forgotten_when_it_is_answered(
    embedded_aws: EmbeddedAws, definition: object, status: str
) -> None:
    stepfunctions = embedded_aws.client("stepfunctions")
    machine = make_machine(embedded_aws, f"forgets-{status.lower()}", definition)
    for _ in range(3):
        answer = stepfunctions.start_sync_execution(stateMachineArn=machine, input='{"a": 1}')
        assert answer["status"] == status
    assert stepfunctions.list_executions(stateMachineArn=machine)["executions"] == []
