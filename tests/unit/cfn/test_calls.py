from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cfn.calls import RESOURCES, calls_by_endpoint
from cfn.names import Names
from cfn.settings import Call, FunctionDefinition, Settings
from cfn.statements import call_statements
from cfn.validation import check_functions, check_settings
from pipeline.core.errors import SettingsError
from tests.unit.cfn.examples import DEV, FUNCTIONS, VELOCITY


@pytest.mark.parametrize(
    ("resource", "arn"),
    [
        ("state-table", {"Fn::GetAtt": ["StateTable", "Arn"]}),
        ("state-table/index/customer", {"Fn::Sub": "${StateTable.Arn}/index/customer"}),
        ("alert-topic", {"Ref": "AlertTopic"}),
        ("dead-letter-queue", {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}),
        (
            "state-machine",
            {
                "Fn::Sub": "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:"
                "transaction-pipeline-dev"
            },
        ),
    ],
)
def test_symbolic_name_becomes_one_arn(resource: str, arn: dict[str, Any]) -> None:
    call = Call(RESOURCES[resource], ("Act",), resource)
    (statement,) = call_statements(Names("dev"), [call])
    assert statement["Resource"].to_dict() == arn  # type: ignore[attr-defined]
    assert statement["Action"] == [f"{call.service}:Act"]


def test_every_symbolic_name_is_known_to_that_table() -> None:
    for resource, service in RESOURCES.items():
        assert len(call_statements(Names("dev"), [Call(service, ("Act",), resource)])) == 1


def test_calls_on_one_resource_are_one_statement_in_a_fixed_order() -> None:
    calls = [Call("dynamodb", ("Query",), "state-table"), Call("dynamodb", ("GetItem", "Query"), "state-table")]
    (statement,) = call_statements(Names("dev"), calls)
    assert statement["Action"] == ["dynamodb:GetItem", "dynamodb:Query"]


def test_synchronous_executions_go_through_an_endpoint_of_their_own() -> None:
    function = FunctionDefinition(
        "caller", calls=(Call("states", ("StartSyncExecution", "StartExecution"), "state-machine"),)
    )
    assert calls_by_endpoint(DEV, [function]) == {
        "states": (Call("states", ("StartExecution",), "state-machine"),),
        "sync-states": (Call("states", ("StartSyncExecution",), "state-machine"),),
    }


@pytest.mark.parametrize(
    ("function", "finding"),
    [
        (FunctionDefinition("Fraud_Detection"), "'Fraud_Detection' is not named in a-z"),
        (FunctionDefinition("fraud--detection"), "'fraud--detection' is not named in a-z"),
        (FunctionDefinition("f" * 61), "has 65 characters and Lambda takes at most 64"),
        (FunctionDefinition("fraud", memory=127), "127 MB of memory and Lambda gives 128 to 10240"),
        (FunctionDefinition("fraud", memory=10_241), "10241 MB of memory"),
        (FunctionDefinition("fraud", timeout=0), "wants 0 s and Lambda gives 1 to 900"),
        (FunctionDefinition("fraud", timeout=901), "wants 901 s"),
        (FunctionDefinition("fraud", description="d" * 257), "has 257 characters and Lambda takes 256"),
        (FunctionDefinition("fraud", environment=(("AWS_REGION", "x"),)), "'AWS_REGION', which is reserved"),
        (FunctionDefinition("fraud", environment=(("TABLE_NAME", "x"),)), "'TABLE_NAME', which is reserved"),
        (FunctionDefinition("fraud", environment=(("a-b", "x"),)), "'a-b', which is reserved or not a name"),
        (FunctionDefinition("fraud", environment=(("BIG", "x" * 4000),)), "4003 bytes and Lambda takes 4096"),
        (
            FunctionDefinition("fraud", calls=(Call("dynamodb", ("Query",), "state-tabel"),)),
            "the resource 'state-tabel'; write state-table, state-table/index/customer, alert-topic,",
        ),
        (
            FunctionDefinition("fraud", calls=(Call("sns", ("Publish",), "state-table"),)),
            "calls 'sns' on state-table, which belongs to dynamodb",
        ),
        (FunctionDefinition("fraud", calls=(Call("sns", (), "alert-topic"),)), "alert-topic without an action"),
        (FunctionDefinition("fraud", calls=(Call("sns", ("*",), "alert-topic"),)), "the action '*'"),
        (FunctionDefinition("fraud", calls=(Call("sns", ("sns:Publish",), "alert-topic"),)), "'sns:Publish'"),
    ],
)
def test_what_cannot_be_deployed_is_named(function: FunctionDefinition, finding: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_functions(DEV, [function])
    assert finding in caught.value.why


def test_all_findings_come_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        check_functions(
            DEV,
            [
                FunctionDefinition("fraud", memory=1, calls=(Call("s3", ("GetObject",), "bucket"),)),
                FunctionDefinition("fraud"),
                FunctionDefinition("a-b1", timeout=0),
                FunctionDefinition("a-b-1"),
            ],
        )
    why = caught.value.why
    assert "1 MB of memory" in why
    assert "'bucket'" in why
    assert "0 s" in why
    assert "fraud is there more than once" in why
    assert "a-b-1 and a-b1 have one parameter, AB1ImageUri" in why


def test_the_shipped_functions_can_be_deployed() -> None:
    check_functions(DEV, FUNCTIONS)
    check_functions(Settings("a" * 16), FUNCTIONS)
    assert VELOCITY in FUNCTIONS[1].calls


def test_settings_that_aws_refuses_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(replace(DEV, log_retention_days=31, reserved_concurrency=-1, release="Slowly"))
    why = caught.value.why
    assert "log_retention_days is 31 and CloudWatch Logs has 1, 3, 5" in why
    assert "reserved_concurrency is -1" in why
    assert "release is 'Slowly'" in why
