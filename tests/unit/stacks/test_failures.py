"""The first cause of a failure, and the resources cancelled because of it."""

from __future__ import annotations

import pickle

import pytest

from pipeline.stacks import ResourceFailure, StackFailed, StackStatus, missing_images
from pipeline.stacks.failures import advice, explain, failures_of
from pipeline.stacks.stack_events import StackEvent

STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/pipeline-dev/1"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@sha256:" + "a" * 64


def event(logical_id: str, status: str, reason: str = "", resource_type: str = "AWS::SQS::Queue") -> StackEvent:
    return StackEvent(f"{logical_id}-{status}", logical_id, resource_type, logical_id, status, reason, "token")


def stack_event(status: str, reason: str = "") -> StackEvent:
    return StackEvent(status, "pipeline-dev", "AWS::CloudFormation::Stack", STACK, status, reason, "token")


CASCADE = [
    stack_event("CREATE_IN_PROGRESS", "User Initiated"),
    event("Table", "CREATE_IN_PROGRESS"),
    event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
    event("Table", "CREATE_FAILED", "Table already exists: transaction-state-dev", "AWS::DynamoDB::Table"),
    event("Topic", "CREATE_FAILED", "Resource creation cancelled"),
    stack_event("ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Table, Queue, Topic]."),
    stack_event("ROLLBACK_COMPLETE"),
]


def test_causes_come_before_cancelled_resources() -> None:
    failures = failures_of(CASCADE, STACK)
    assert [failure.logical_id for failure in failures] == ["Table", "Queue", "Topic"]
    assert [failure.cancelled for failure in failures] == [False, True, True]


def test_cancelled_resources_are_counted() -> None:
    assert explain(failures_of(CASCADE, STACK), "") == (
        "Table (AWS::DynamoDB::Table): Table already exists: transaction-state-dev"
        " (2 more were cancelled because of it)"
    )


def test_a_resource_that_fails_again_in_the_rollback_keeps_its_first_reason() -> None:
    events = [event("Role", "UPDATE_FAILED", "first"), event("Role", "UPDATE_FAILED", "second")]
    assert [failure.reason for failure in failures_of(events, STACK)] == ["first"]


def test_without_a_failed_resource_the_reason_of_the_stack_is_used() -> None:
    assert explain((), "Export x is imported by stack y") == "Export x is imported by stack y"
    assert explain((), "") == "CloudFormation gives no reason"


@pytest.mark.parametrize(
    ("reason", "transient"),
    [
        ("The role defined for the function cannot be assumed by Lambda. (Service: Lambda, Status Code: 400)", True),
        ("Invalid principal in policy: \"AWS\":\"arn:aws:iam::1:role/x\"", True),
        (f"Source image {IMAGE} does not exist. Provide a valid source image.", True),
        ("The provided execution role does not have permissions to call CreateNetworkInterface on EC2", True),
        ("Lambda does not have permission to access the ECR image. Check the ECR permissions.", True),
        ("Rate exceeded (Service: Sns, Status Code: 400)", True),
        ("Internal Failure", True),
        ("Table already exists: transaction-state-dev", False),
        ("Resource handler returned message: \"User is not authorized to perform: sqs:CreateQueue\"", False),
    ],
)  # fmt: skip
def test_transient_failures_are_retried(reason: str, transient: bool) -> None:
    failure = ResourceFailure("X", "AWS::Lambda::Function", "CREATE_FAILED", reason)
    assert StackFailed("what", "why", "next", failures=(failure,)).transient is transient


def test_missing_images_are_read_from_lambdas_reasons() -> None:
    twice = [
        ResourceFailure(
            name, "AWS::Lambda::Function", "UPDATE_FAILED", f'"Source image {IMAGE} does not exist. Provide'
        )
        for name in ("A", "B")
    ]
    assert [str(image) for image in missing_images(twice)] == [IMAGE]
    assert missing_images([ResourceFailure("A", "", "", "Source image ??? does not exist")]) == ()


def test_the_error_can_be_pickled() -> None:
    failure = ResourceFailure("X", "AWS::SQS::Queue", "CREATE_FAILED", "no")
    error = StackFailed("w", "y", "n", stack="s", status=StackStatus.ROLLBACK_COMPLETE, failures=(failure,))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.stack, again.status, again.failures) == (
        str(error), "s", StackStatus.ROLLBACK_COMPLETE, (failure,),
    )  # fmt: skip


def test_more_memory_than_a_new_account_has_is_explained() -> None:
    reason = (
        "Resource handler returned message: \"1 validation error detected: Value '3072' at 'memorySize' failed to"
        ' constraint: Member must have value less than or equal to 3008 (Service: Lambda, Status Code: 400)"'
    )
    failure = ResourceFailure("FraudDetectionFunction", "AWS::Lambda::Function", "CREATE_FAILED", reason)
    assert "Set memory = 3008 or less in its function.toml" in advice((failure,))
    assert advice((ResourceFailure("Queue", "AWS::SQS::Queue", "CREATE_FAILED", "no"),)) == ""
