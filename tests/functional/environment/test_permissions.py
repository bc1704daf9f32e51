"""Least privilege, proved: each action that a role has is taken away, and what needs it fails.

What the embedded AWS does not ask a role for is listed with its reason and source instead, so that no grant is left
that neither fails here nor is explained.
"""

from __future__ import annotations

import io
import json
import threading
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cfn.placeholder import placeholder_digest
from cfn.registry import placeholder_source
from pipeline.core.errors import SubmissionError
from tests.functional.deployed import PERSONAL, Deployed, Grant, grants, without

# Granted, and not asked for here: AWS asks, and says so.
LOG_DELIVERY = "Step Functions guide, Logging using CloudWatch Logs: the permissions of the execution role"
FUNCTION_LOGS = "Lambda guide, Lambda execution role: what writing logs needs"
NOT_ASKED: Mapping[tuple[str, str], str] = {
    **{
        ("StateMachineRole", f"logs:{action}"): LOG_DELIVERY
        for action in (
            "CreateLogDelivery",
            "DeleteLogDelivery",
            "DescribeLogGroups",
            "DescribeResourcePolicies",
            "GetLogDelivery",
            "ListLogDeliveries",
            "PutResourcePolicy",
            "UpdateLogDelivery",
        )
    },
    **{
        (role, f"logs:{action}"): FUNCTION_LOGS
        for role in ("ComplianceCheckingRole", "FraudDetectionRole", "PlaceholderRole", "TransactionValidationRole")
        for action in ("CreateLogStream", "PutLogEvents")
    },
    ("PlaceholderRole", "ecr:DescribeImages"): "ECR API, PutImage: called where an immutable tag is already there",
}


def test_every_grant_is_either_tried_or_explained(deployed: Deployed) -> None:
    tried = {("StateMachineRole", action) for action in WORKFLOW}
    tried |= {("PlaceholderRole", action) for action in PUSHING}
    assert {(grant.role, grant.action) for grant in grants(deployed)} == tried | set(NOT_ASKED)


def transaction(**changes: Any) -> dict[str, Any]:
    """A transaction under an id of its own, which is approved."""
    mark = uuid.uuid4().hex
    return {
        "transaction_id": mark, "amount": 10, "currency": "USD", "merchant_id": "merchant-001", "customer_id": mark,
        **changes,
    }  # fmt: skip


def declined() -> dict[str, Any]:
    """One that compliance blocks, so that details are kept and an alert is sent."""
    return transaction(merchant_country="KP")


def submit(deployed: Deployed, submitted: Mapping[str, Any]) -> str:
    """The outcome, or where and why it was parked: ``KeepDetails DynamoDB.AmazonDynamoDBException``."""
    try:
        return str(deployed.submit(submitted)["outcome"])
    except SubmissionError as problem:
        return f"{problem.what} {problem.why}"


def approve(deployed: Deployed) -> str:
    return submit(deployed, transaction())


def repeat(deployed: Deployed) -> str:
    submitted = transaction()
    submit(deployed, submitted)
    return submit(deployed, submitted)


def parked(deployed: Deployed) -> int:
    """Messages in the dead-letter queue, also those that a reader holds."""
    sqs = deployed.aws.client("sqs")
    queue = sqs.get_queue_url(QueueName="transaction-dlq-dev")["QueueUrl"]
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=counts)["Attributes"].values()))


def seal(deployed: Deployed) -> str:
    """Thirteen digits that pass Luhn: the payload's fingerprint needs its key."""
    return submit(deployed, transaction(merchant_id="order 1234567890128"))


def alert(deployed: Deployed) -> str:
    """The outcome, which is answered also if the alert was parked, and what was parked."""
    before = parked(deployed)
    outcome = submit(deployed, declined())
    return f"{outcome}, {parked(deployed) - before} parked"


WORKFLOW = {
    "lambda:InvokeFunction": (approve, "APPROVED"),
    "dynamodb:UpdateItem": (approve, "APPROVED"),
    "dynamodb:Query": (approve, "APPROVED"),
    "dynamodb:GetItem": (repeat, "APPROVED"),
    "secretsmanager:GetSecretValue": (seal, "APPROVED"),
    "dynamodb:PutItem": (alert, "DECLINED, 0 parked"),
    "sns:Publish": (alert, "DECLINED, 0 parked"),
    "sqs:SendMessage": (None, ""),  # the way out of a failure: below
}


def of_role(deployed: Deployed, role: str, *actions: str) -> list[Grant]:
    return [each for each in grants(deployed) if each.role == role and each.action in actions]


@pytest.mark.parametrize("action", [action for action, (probe, _) in WORKFLOW.items() if probe])
def test_the_workflow_needs_each_of_its_permissions(deployed: Deployed, action: str) -> None:
    probe, expected = WORKFLOW[action]
    assert probe is not None
    assert probe(deployed) == expected
    found = of_role(deployed, "StateMachineRole", action)
    assert found
    for grant in found:
        with without(deployed, grant):
            assert probe(deployed) != expected, grant
    assert probe(deployed) == expected


def test_parking_needs_the_queue(deployed: Deployed) -> None:
    publish, send = of_role(deployed, "StateMachineRole", "sns:Publish", "sqs:SendMessage")
    with without(deployed, publish):
        assert alert(deployed) == "DECLINED, 1 parked"
    with without(deployed, publish, send):
        said = alert(deployed)
    assert "Alert failed" in said
    assert said.endswith(", 0 parked")  # the table has this one


def test_the_functions_may_write_logs_and_no_more(deployed: Deployed) -> None:
    for role in ("TransactionValidationRole", "FraudDetectionRole", "ComplianceCheckingRole"):
        assert {each.action for each in grants(deployed) if each.role == role} == {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        }


PUSHING = ("ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart")
REPOSITORIES = ("compliance-checking-dev", "fraud-detection-dev", "transaction-validation-dev")


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where a custom resource answers, and what it answered."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()


def push(deployed: Deployed, repository: str, url: str, received: list[dict[str, Any]]) -> str:
    """The status that the placeholder's custom resource answers CloudFormation, with its reason."""
    from pipeline.target import host_architecture

    architecture = str(host_architecture())
    event = {
        "RequestType": "Create", "ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l",
        "ResourceProperties": {
            "RepositoryName": repository,
            "Architecture": architecture,
            "Digest": placeholder_digest(architecture),
        },
    }  # fmt: skip
    client = deployed.aws.client("lambda")
    client.invoke(FunctionName="transaction-placeholder-dev", Payload=json.dumps(event))
    answer = received.pop()
    return f"{answer['Status']} {answer.get('Reason', '')}".strip()


@pytest.fixture(scope="module")
def impatient(deployed: Deployed) -> Iterator[None]:
    """The placeholder's function without the wait for IAM, whose answer is final here."""
    client = deployed.aws.client("lambda")

    def replace_code(source: str) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("index.py", source)
        client.update_function_code(FunctionName="transaction-placeholder-dev", ZipFile=content.getvalue())

    source = placeholder_source()
    assert source.count("PROPAGATION_SECONDS = 20") == 1
    replace_code(source.replace("PROPAGATION_SECONDS = 20", "PROPAGATION_SECONDS = -1"))
    yield
    replace_code(source)


@pytest.mark.parametrize("action", PUSHING)
@pytest.mark.usefixtures("impatient")
def test_the_placeholder_needs_each_of_its_permissions(
    deployed: Deployed, action: str, answers: tuple[str, list[dict[str, Any]]]
) -> None:
    found = of_role(deployed, "PlaceholderRole", action)
    # All at once, and each repository alone.
    assert {each.resource.rpartition("/")[2] for each in found} == {"*", *REPOSITORIES}
    for grant in found:
        repository = REPOSITORIES[0] if grant.resource == "*" else grant.resource.rpartition("/")[2]
        with without(deployed, grant):
            assert push(deployed, repository, *answers).startswith(
                "FAILED ClientError: An error occurred (AccessDenied"
            )
    assert push(deployed, REPOSITORIES[0], *answers) == "SUCCESS"


def test_a_grant_on_one_function_is_not_one_on_another(deployed: Deployed) -> None:
    found = of_role(deployed, "StateMachineRole", "lambda:InvokeFunction")
    assert len(found) == 4  # the action, and each of the three aliases
    assert all(each.resource == "*" or each.resource.endswith(":live") for each in found)


def test_the_values_that_logs_must_not_have_are_distinct() -> None:
    assert len(set(PERSONAL.values())) == len(PERSONAL)
