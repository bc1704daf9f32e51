"""The HTTP entrance where Step Functions or DynamoDB fail: its handler in this process, behind a proxy that fails."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.functional.entrances.conftest import Entrances, transaction
from tests.proxies.faults import Fault, FaultProxy, error, throttled
from tests.unit.images.loading import context, load_handler

Submit = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def proxy(entrances: Entrances) -> Iterator[FaultProxy]:
    with FaultProxy(entrances.aws.endpoint) as proxy:
        yield proxy


@pytest.fixture
def handler(entrances: Entrances, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function's INIT with a deadline of a second, and the root's permissions."""
    monkeypatch.setattr("transactions.submission.DEADLINE_SECONDS", 1)
    for name, value in {
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "AWS_ACCESS_KEY_ID": entrances.aws.access_key_id,
        "AWS_SECRET_ACCESS_KEY": entrances.aws.secret_access_key,
        "AWS_DEFAULT_REGION": entrances.aws.region,
        "STATE_MACHINE_ARN": entrances.outputs["StateMachineArn"],
        "TABLE_NAME": entrances.outputs["StateTableName"],
    }.items():
        monkeypatch.setenv(name, value)
    return load_handler("http-entrance")


@pytest.fixture
def submit(handler: ModuleType) -> Submit:
    def submit(document: dict[str, Any]) -> dict[str, Any]:
        response = handler.handle(
            {
                "version": "2.0",
                "routeKey": "POST /transactions",
                "rawPath": "/transactions",
                "headers": {"content-type": "application/json"},
                "body": json.dumps(document),
                "isBase64Encoded": False,
            },
            context("http-entrance"),
        )
        return response | {"body": json.loads(response["body"])}

    return submit


@pytest.mark.parametrize("code", ["ThrottlingException", "ExecutionLimitExceeded"])
def test_a_throttled_request_comes_again(submit: Submit, proxy: FaultProxy, code: str) -> None:
    proxy.add(error("StartSyncExecution", code, "Rate exceeded"))
    response = submit(transaction("fault-1"))
    assert (response["statusCode"], response["headers"]["retry-after"]) == (429, "1")


@pytest.mark.parametrize(
    "fault",
    [
        error("StartSyncExecution", "StateMachineDoesNotExist", "State Machine Does Not Exist"),
        error("StartSyncExecution", "AccessDeniedException", "not authorized to perform states:StartSyncExecution"),
        error("StartSyncExecution", "InternalFailure", "", status=500),
        Fault("StartSyncExecution", "cut"),
        Fault("StartSyncExecution", "hang", seconds=3),
    ],
    ids=lambda fault: fault.code or fault.kind,
)
def test_a_request_that_did_not_reach_the_workflow_comes_again(
    entrances: Entrances, submit: Submit, proxy: FaultProxy, fault: Fault
) -> None:
    identifier = f"fault-{uuid.uuid4()}"
    proxy.add(fault)
    response = submit(transaction(identifier))
    assert (response["statusCode"], response["body"]["code"]) == (503, "unavailable")
    assert response["headers"]["retry-after"] == "5"
    assert "not authorized" not in str(response)
    assert entrances.record(identifier) == {}
    assert submit(transaction(identifier))["statusCode"] == 200


def test_an_answer_that_was_lost_is_read_from_the_record(submit: Submit, proxy: FaultProxy) -> None:
    proxy.add(Fault("StartSyncExecution", "lose"))
    response = submit(transaction("fault-lost"))
    assert (response["statusCode"], response["body"]["outcome"]) == (200, "APPROVED")


def test_a_transaction_that_is_claimed_is_accepted(
    entrances: Entrances, submit: Submit, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: "0")
    item = {"transaction_id": "fault-claimed", "status": "CLAIMED", "execution": "http-0:1"}
    entrances.aws.client("dynamodb").put_item(
        TableName=entrances.outputs["StateTableName"], Item={name: {"S": value} for name, value in item.items()}
    )
    proxy.add(Fault("StartSyncExecution", "cut"))
    response = submit(transaction("fault-claimed"))
    assert (response["statusCode"], response["body"]["status"]) == (202, "PENDING")
    assert response["headers"]["location"] == "transactions/fault-claimed"
    assert entrances.send("GET", "/transactions/fault-claimed")[2]["status"] == "PENDING"


def test_a_claim_of_another_execution_accepts_nothing(entrances: Entrances, submit: Submit, proxy: FaultProxy) -> None:
    assert submit(transaction("fault-other"))["statusCode"] == 200
    proxy.add(Fault("StartSyncExecution", "cut"))
    assert submit(transaction("fault-other", amount="99.00"))["statusCode"] == 503


def test_a_table_that_cannot_be_read_is_no_404(handler: ModuleType, proxy: FaultProxy) -> None:
    proxy.add(throttled("GetItem", times=None))
    event = {"routeKey": "GET /transactions/{id}", "rawPath": "/transactions/t", "pathParameters": {"id": "t"}}
    assert handler.handle(event, context("http-entrance"))["statusCode"] == 503


def test_a_parked_transaction_is_accepted_and_has_an_address(entrances: Entrances) -> None:
    """Without the alias that it calls, the workflow parks what it is given."""
    aws_lambda, alias = entrances.aws.client("lambda"), {"FunctionName": "fraud-detection-doors", "Name": "live"}
    version = aws_lambda.get_alias(**alias)["FunctionVersion"]
    aws_lambda.delete_alias(**alias)
    try:
        status, headers, body = entrances.submit(transaction("fault-parked"))
    finally:
        aws_lambda.create_alias(**alias, FunctionVersion=version)
    assert (status, body["status"], headers["location"]) == (202, "PARKED", "transactions/fault-parked")
    assert entrances.send("GET", "/transactions/fault-parked")[2]["status"] == "PARKED"
    entrances.project.run("redrive", "-e", "doors", "--id", "fault-parked")
    assert entrances.send("GET", "/transactions/fault-parked")[2]["outcome"] == "APPROVED"


def test_a_defect_reveals_nothing(handler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    response = handler.handle({"routeKey": "GET /openapi.json", "secret": "4929420573595709"}, context("http-entrance"))
    assert (response["statusCode"], json.loads(response["body"])["code"]) == (500, "internal")
    assert "4929420573595709" not in str(response)
