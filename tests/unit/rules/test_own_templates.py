"""The project's own templates, under its own rules; and each failure put into them, which the rules find."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render
from cfn.rules import StateNotPermitted
from cfn.settings import Call, FunctionDefinition, Settings
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD
from tests.unit.rules.linting import Parsed, all_findings

CALLING = (
    replace(
        FUNCTIONS[0],
        calls=(
            Call("dynamodb", ("GetItem",), "state-table"),
            Call("sns", ("Publish",), "alert-topic"),
            Call("sqs", ("SendMessage",), "dead-letter-queue"),
            Call("states", ("StartSyncExecution",), "state-machine"),
        ),
    ),
    *FUNCTIONS[1:],
)
VARIANTS = {
    "dev": (DEV, FUNCTIONS),
    "prod": (PROD, FUNCTIONS),
    "one-zone": (replace(DEV, zones=1), FUNCTIONS),
    "calling": (DEV, CALLING),
    "one-more": (DEV, (*FUNCTIONS, FunctionDefinition("device-check"))),
}


@pytest.mark.parametrize("build", [registry_template, pipeline_template])
@pytest.mark.parametrize("variant", VARIANTS)
def test_our_own_template_breaks_no_rule(
    build: Callable[[Settings, Sequence[FunctionDefinition]], Any], variant: str
) -> None:
    assert all_findings(json.loads(render(build(*VARIANTS[variant])))) == []


Resources = dict[str, dict[str, Any]]


def sabotaged(change: Callable[[Resources], None], build: Any = pipeline_template) -> list[str]:
    template = json.loads(render(build(replace(DEV, endpoints=("states",)), FUNCTIONS)))
    change({name: resource.setdefault("Properties", {}) for name, resource in template["Resources"].items()})
    return sorted({each.partition(" ")[0] for each in all_findings(template)})


def _put(resource: str, **properties: Any) -> Callable[[Resources], None]:
    return lambda resources: resources[resource].update(properties)


def _drop(resource: str, name: str) -> Callable[[Resources], None]:
    return lambda resources: resources[resource].pop(name) and None


def _in_definition(old: str, new: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        machine = resources["StateMachine"]
        assert old in machine["DefinitionString"]
        machine["DefinitionString"] = machine["DefinitionString"].replace(old, new)

    return change


def _call_also(action: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        policy = {"PolicyName": "more", "PolicyDocument": {"Statement": [{"Effect": "Allow", "Action": action}]}}
        resources["FraudDetectionRole"].setdefault("Policies", []).append(policy)

    return change


SABOTAGE = {
    "reserves too much": (_put("FraudDetectionFunction", ReservedConcurrentExecutions=900), ["E9510"]),
    "a local path": (_put("FraudDetectionFunction", Code={"ImageUri": "./images/fraud-detection"}), ["E9520", "W9530"]),
    "a tag": (
        _put("FraudDetectionFunction", Code={"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/f:latest"}),
        ["W9530"],
    ),
    "a gateway for states": (_drop("StatesEndpoint", "VpcEndpointType"), ["E9540"]),
    "no private DNS": (_drop("StatesEndpoint", "PrivateDnsEnabled"), ["W9541"]),
    "the functions' group for the endpoint": (
        _put("StatesEndpoint", SecurityGroupIds=[{"Ref": "FunctionsSecurityGroup"}]),
        ["E9542"],
    ),
    "a call to SNS from the subnet": (_call_also("sns:Publish"), ["W9543"]),
    "a cycle": (
        _put("FraudDetectionRole", Description={"Fn::Sub": "For ${FraudDetectionFunction.Arn}"}),
        ["E9550"],
    ),
    "a log group named after its function": (
        _put("FraudDetectionLogGroup", LogGroupName={"Fn::Sub": "/aws/lambda/${FraudDetectionFunction}"}),
        ["E9550"],
    ),
    "an unreachable state": (_in_definition('"Next":"KeepDetails"', '"Next":"Alert"'), ["E9562"]),
    "a transition to nowhere": (_in_definition('"Default":"Wait"', '"Default":"Weight"'), ["E9560", "E9562"]),
    "an integration that does not exist": (_in_definition("dynamodb:updateItem", "dynamodb:upsert"), ["E9561"]),
    "no logging configuration": (_drop("FraudDetectionFunction", "LoggingConfig"), ["W9580"]),
    "no retention": (_drop("FraudDetectionLogGroup", "RetentionInDays"), ["W9582"]),
    "an unknown key": (_put("AlertTopic", KmsMasterKeyId="alias/aws/alerts"), ["E9590"]),
    "the managed key for alarms": (_put("AlarmTopic", KmsMasterKeyId="alias/aws/sns"), ["E9591"]),
    "open egress": (
        _put("EndpointsSecurityGroup", SecurityGroupEgress=[{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}]),
        ["W9600", "W9601"],
    ),
}


@pytest.mark.parametrize("case", SABOTAGE)
def test_a_failure_put_into_our_own_template_is_found(case: str) -> None:
    change, expected = SABOTAGE[case]
    assert sabotaged(change) == expected


def test_every_permission_of_the_workflow_is_one_that_a_state_needs() -> None:
    template = json.loads(render(pipeline_template(DEV, FUNCTIONS)))
    (policy,) = template["Resources"]["StateMachineRole"]["Properties"]["Policies"]
    needless, seen = [], 0
    for statement in policy["PolicyDocument"]["Statement"]:
        written = statement["Action"]
        actions = written if isinstance(written, list) else [written]
        for action in actions:
            statement["Action"] = [each for each in actions if each != action]
            if not list(StateNotPermitted().match(Parsed(template))):
                needless.append(action)
            seen += 1
        statement["Action"] = written
    assert seen > 10
    assert needless == []


def test_a_repository_in_the_stack_of_its_function_is_found() -> None:
    template = json.loads(render(pipeline_template(DEV, FUNCTIONS)))
    repository = {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "fraud-detection-dev"}}
    template["Resources"]["Repository"] = repository
    assert [each.partition(" ")[0] for each in all_findings(template)] == ["E9531"]
