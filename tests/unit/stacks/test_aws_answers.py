"""Responses that only AWS gives: slow change sets, pages, validation, function states.

botocore's Stubber holds each answer against the service model, so none is made up in its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from pipeline.assembly.model import PushedImage
from pipeline.core.errors import FunctionError, StackError
from pipeline.oci.values import Digest
from pipeline.release.verify import verify_function
from pipeline.stacks import (
    StackFailed,
    StackState,
    StackStatus,
    Update,
    WantedStack,
    apply_stack,
    describe_change,
    plan_stack,
    read_failures,
    read_stack,
)
from pipeline.stacks.state import canonical_template, read_change_sets

ID = "arn:aws:cloudformation:us-east-1:000000000000:stack/pipeline-dev/1"
SET = "arn:aws:cloudformation:us-east-1:000000000000:changeSet/x/1"
NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
BODY = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'
WANTED = WantedStack("pipeline-dev", BODY)


class Stubbed:
    """A client with queued responses to any requests."""

    def __init__(self, service: str) -> None:
        self.client: Any = boto3.client(
            service, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self._stubber = Stubber(self.client)

    def answers(self, call: str, answer: dict[str, Any]) -> None:
        self._stubber.add_response(call, answer)

    def refuses(self, call: str, code: str, message: str) -> None:
        self._stubber.add_client_error(call, service_error_code=code, service_message=message)

    def __enter__(self) -> Stubbed:
        self._stubber.activate()
        return self

    def __exit__(self, problem: object, *_: object) -> None:
        if problem is None:
            self._stubber.assert_no_pending_responses()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.core.interruption.sleep", lambda _seconds: None)


@pytest.fixture
def cfn() -> Iterator[Stubbed]:
    with Stubbed("cloudformation") as stubbed:
        yield stubbed


def stack(status: str, **more: Any) -> dict[str, Any]:
    found = {"StackName": "pipeline-dev", "StackId": ID, "StackStatus": status, "CreationTime": NOW, **more}
    return {"Stacks": [found]}


def event(number: int, logical_id: str, status: str, token: str = "", **more: Any) -> dict[str, Any]:
    of_stack = logical_id == "pipeline-dev"
    found = {
        "StackId": ID, "StackName": "pipeline-dev", "EventId": str(number), "LogicalResourceId": logical_id,
        "PhysicalResourceId": ID if of_stack else "x", "Timestamp": NOW + timedelta(seconds=number),
        "ResourceType": "AWS::CloudFormation::Stack" if of_stack else "AWS::SQS::Queue", "ResourceStatus": status,
    }  # fmt: skip
    return found | ({"ClientRequestToken": token} if token else {}) | more


def test_a_stack_is_read_with_everything_that_a_plan_needs(cfn: Stubbed) -> None:
    cfn.answers(
        "describe_stacks",
        stack(
            "UPDATE_ROLLBACK_COMPLETE",
            Parameters=[{"ParameterKey": "Image", "ParameterValue": "x"}],
            Outputs=[{"OutputKey": "Url", "OutputValue": "y"}],
            Tags=[{"Key": "team", "Value": "risk"}],
            EnableTerminationProtection=True,
        ),
    )
    cfn.answers("get_template", {"TemplateBody": "Resources:\n  Queue: {}\n"})
    assert read_stack(cfn.client, "pipeline-dev") == StackState(
        "pipeline-dev", StackStatus.UPDATE_ROLLBACK_COMPLETE, stack_id=ID, parameters={"Image": "x"},
        outputs={"Url": "y"}, tags={"team": "risk"}, template="Resources:\n  Queue: {}\n", termination_protection=True,
    )  # fmt: skip


def test_an_unknown_status_is_an_error(cfn: Stubbed) -> None:
    cfn.answers("describe_stacks", stack("HIBERNATE_COMPLETE"))
    with pytest.raises(StackError, match="unknown status HIBERNATE_COMPLETE"):
        read_stack(cfn.client, "pipeline-dev")


def test_change_sets_come_in_pages(cfn: Stubbed) -> None:
    summary = {"ChangeSetName": "a", "ChangeSetId": SET, "Status": "CREATE_COMPLETE", "CreationTime": NOW}
    cfn.answers("list_change_sets", {"Summaries": [summary], "NextToken": "more"})
    cfn.answers("list_change_sets", {"Summaries": [{**summary, "ChangeSetName": "b"}]})
    assert [each.name for each in read_change_sets(cfn.client, "pipeline-dev")] == ["a", "b"]


DEPLOYED = StackState(
    "pipeline-dev", StackStatus.CREATE_COMPLETE, stack_id=ID, template=canonical_template('{"Resources": {}}')
)


def test_changes_have_cloudformations_values_across_pages(cfn: Stubbed) -> None:
    plan = plan_stack(DEPLOYED, WANTED)
    assert isinstance(plan, Update)

    def change(name: str) -> dict[str, Any]:
        target = {"Attribute": "Properties", "Name": "Code", "Path": "/Properties/Code/ImageUri", "BeforeValue": "old",
                  "AfterValue": "new", "RequiresRecreation": "Never"}  # fmt: skip
        resource = {"LogicalResourceId": name, "ResourceType": "AWS::Lambda::Function", "Action": "Modify",
                    "Replacement": "False", "Scope": ["Properties"],
                    "Details": [{"Target": target, "Evaluation": "Static"}]}  # fmt: skip
        return {"Type": "Resource", "ResourceChange": resource}

    cfn.answers("create_change_set", {"Id": SET, "StackId": ID})
    for status in ("CREATE_PENDING", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"):
        cfn.answers("describe_change_set", {"Status": status})
    cfn.answers("describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": [change("A")], "NextToken": "more"})
    cfn.answers("describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": [change("B")]})
    cfn.answers("delete_change_set", {})
    first, second = describe_change(cfn.client, plan)
    assert (first.logical_id, second.logical_id) == ("A", "B")
    (changed,) = first.properties
    assert (changed.path, changed.before, changed.after) == ("Properties.Code.ImageUri", "old", "new")


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information to create a change set.",
        "No updates are to be performed.",
    ],
)
def test_both_reasons_of_an_empty_change_set_are_known(cfn: Stubbed, reason: str) -> None:
    cfn.answers("create_change_set", {"Id": SET, "StackId": ID})
    cfn.answers("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    cfn.answers("delete_change_set", {})
    cfn.answers("describe_stacks", stack("CREATE_COMPLETE"))
    assert not apply_stack(cfn.client, plan_stack(DEPLOYED, WANTED)).changed


def test_validation_findings_are_read_with_describe_events(cfn: Stubbed) -> None:
    cfn.answers("create_change_set", {"Id": SET, "StackId": ID})
    cfn.answers("describe_change_set", {"Status": "FAILED", "StatusReason": "Validation failed with 1 error(s)."})
    finding = {
        "EventId": "1", "EventType": "VALIDATION_ERROR",
        "LogicalResourceId": "Queue", "ResourceType": "AWS::SQS::Queue",
        "ValidationFailureMode": "FAIL", "ValidationName": "NAME_CONFLICT_VALIDATION",
        "ValidationStatusReason": "Resource of type 'AWS::SQS::Queue' with identifier 'x' already exists.",
        "ValidationPath": "/Resources/Queue",
    }  # fmt: skip
    warning = {**finding, "LogicalResourceId": "Other", "ValidationFailureMode": "WARN"}
    cfn.answers("describe_events", {"OperationEvents": [finding, warning]})
    cfn.answers("delete_change_set", {})
    with pytest.raises(StackFailed, match=r"identifier 'x' already exists\. at /Resources/Queue") as caught:
        apply_stack(cfn.client, plan_stack(DEPLOYED, WANTED))
    assert [failure.logical_id for failure in caught.value.failures] == ["Queue"]


def test_without_permission_for_describe_events_the_reason_is_shorter(cfn: Stubbed) -> None:
    cfn.answers("create_change_set", {"Id": SET, "StackId": ID})
    cfn.answers("describe_change_set", {"Status": "FAILED", "StatusReason": "Validation failed with 1 error(s)."})
    cfn.refuses("describe_events", "AccessDenied", "no")
    cfn.answers("delete_change_set", {})
    with pytest.raises(StackFailed, match="Validation failed with 1 error"):
        apply_stack(cfn.client, plan_stack(DEPLOYED, WANTED))


def test_the_last_operation_is_found_behind_pages_of_events(cfn: Stubbed) -> None:
    newest_first = [
        event(6, "pipeline-dev", "UPDATE_ROLLBACK_COMPLETE"),
        event(5, "Queue", "UPDATE_COMPLETE"),
        event(4, "pipeline-dev", "UPDATE_ROLLBACK_IN_PROGRESS"),
        event(3, "Queue", "UPDATE_FAILED", ResourceStatusReason="the cause"),
        event(2, "pipeline-dev", "UPDATE_IN_PROGRESS", ResourceStatusReason="User Initiated"),
        event(1, "Queue", "CREATE_FAILED", ResourceStatusReason="an old story"),
    ]
    cfn.answers("describe_stack_events", {"StackEvents": newest_first[:3], "NextToken": "more"})
    cfn.answers("describe_stack_events", {"StackEvents": newest_first[3:]})
    assert [failure.reason for failure in read_failures(cfn.client, ID)] == ["the cause"]


URI = "000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev"
PUSHED = PushedImage("fraud-detection", URI, Digest.of(b"new"))


@pytest.fixture
def functions() -> Iterator[Stubbed]:
    with Stubbed("lambda") as stubbed:
        yield stubbed


def function(digest: Digest, *, uri: str | None = None, **configuration: Any) -> dict[str, Any]:
    return {
        "Configuration": {"FunctionName": "fraud-detection-dev", **configuration},
        "Code": {"ImageUri": uri or f"{URI}:latest", "ResolvedImageUri": f"{URI}@{digest}"},
    }


def test_a_function_is_waited_for_until_lambda_is_done_with_it(functions: Stubbed) -> None:
    old, new = Digest.of(b"old"), Digest.of(b"new")
    functions.answers("get_function", function(new, State="Pending", LastUpdateStatus="InProgress"))
    functions.answers("get_function", function(old, State="Active", LastUpdateStatus="InProgress"))
    functions.answers("get_function", function(new, State="Active", LastUpdateStatus="Successful"))
    verify_function(functions.client, "fraud-detection-dev", PUSHED)


def test_an_inactive_function_keeps_its_image(functions: Stubbed) -> None:
    functions.answers("get_function", function(Digest.of(b"new"), State="Inactive", LastUpdateStatus="Successful"))
    verify_function(functions.client, "fraud-detection-dev", PUSHED)


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ({"State": "Failed", "StateReason": "The image was deleted."}, "The image was deleted."),
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "Access denied."}, "Access denied."),
    ],
)  # fmt: skip
def test_a_failed_function_is_reported_with_lambdas_reason(
    functions: Stubbed, configuration: dict[str, Any], reason: str
) -> None:
    functions.answers("get_function", function(Digest.of(b"new"), **configuration))
    with pytest.raises(FunctionError, match=reason):
        verify_function(functions.client, "fraud-detection-dev", PUSHED)


def test_a_function_that_takes_too_long_is_an_error(functions: Stubbed) -> None:
    functions.answers("get_function", function(Digest.of(b"new"), State="Pending"))
    with pytest.raises(FunctionError, match="still updating"):
        verify_function(functions.client, "fraud-detection-dev", PUSHED, timeout=-1)


def test_the_resolved_image_counts(functions: Stubbed) -> None:
    asked = f"{URI}@{Digest.of(b'new')}"
    functions.answers("get_function", function(Digest.of(b"other"), uri=asked, State="Active"))
    with pytest.raises(FunctionError, match="does not run the pushed image"):
        verify_function(functions.client, "fraud-detection-dev", PUSHED)
