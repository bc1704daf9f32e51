"""CloudFormation's drift, as its API answers: drift-aware change sets, and drift detection where there are none.

The answers are documents of the documented form, served over HTTP, so that botocore's own model writes the requests and
reads the answers. No drift-aware change set was made on AWS.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config

from pipeline.core.errors import StackError
from pipeline.drift.detection import detect_drift
from pipeline.drift.drifted import Difference, Drifted
from pipeline.stacks import NoChange, StackState, StackStatus, Wait, WantedStack, apply_stack, plan_stack

STACK = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop-pipeline-dev/1"
SET = "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/x/1"
BODY = '{"Resources":{"Queue":{"Type":"AWS::SQS::Queue"}}}'
STATE = StackState("shop-pipeline-dev", StackStatus.UPDATE_COMPLETE, stack_id=STACK, template=BODY)
WANTED = WantedStack("shop-pipeline-dev", BODY)
SETTLED = NoChange(WANTED, STATE)
EMPTY = "The submitted information didn&apos;t contain changes."
CHANGES = """
<member><Type>Resource</Type><ResourceChange><Action>Modify</Action><LogicalResourceId>Queue</LogicalResourceId>
<PhysicalResourceId>https://sqs/q</PhysicalResourceId><ResourceType>AWS::SQS::Queue</ResourceType>
<Replacement>False</Replacement><Scope><member>Properties</member></Scope>
<ResourceDriftStatus>MODIFIED</ResourceDriftStatus><Details><member><Target><Attribute>Properties</Attribute>
<Name>VisibilityTimeout</Name><RequiresRecreation>Never</RequiresRecreation><Path>/Properties/VisibilityTimeout</Path>
<BeforeValue>5</BeforeValue><AfterValue>60</AfterValue><BeforeValueFrom>ACTUAL_STATE</BeforeValueFrom>
<AfterValueFrom>TEMPLATE</AfterValueFrom><Drift><PreviousValue>60</PreviousValue><ActualValue>5</ActualValue>
<DriftDetectionTimestamp>2026-11-23T14:00:00Z</DriftDetectionTimestamp></Drift></Target><Evaluation>Static</Evaluation>
<ChangeSource>DirectModification</ChangeSource></member></Details></ResourceChange></member>
<member><Type>Resource</Type><ResourceChange><Action>Add</Action><LogicalResourceId>Topic</LogicalResourceId>
<ResourceType>AWS::SNS::Topic</ResourceType><ResourceDriftStatus>DELETED</ResourceDriftStatus></ResourceChange></member>
<member><Type>Resource</Type><ResourceChange><Action>Modify</Action><LogicalResourceId>Other</LogicalResourceId>
<ResourceType>AWS::SQS::Queue</ResourceType><ResourceDriftStatus>IN_SYNC</ResourceDriftStatus></ResourceChange></member>"""
TOPIC = Drifted("Topic", "AWS::SNS::Topic", "", deleted=True)


@dataclass
class CloudFormation:
    """A server of queued answers by action; ``asked`` has the parameters of each request."""

    answers: dict[str, list[str]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, action: str, *results: str) -> None:
        self.answers.setdefault(action, []).extend(results)

    def actions(self) -> list[str]:
        return [each["Action"] for each in self.asked]

    def respond(self, body: str) -> tuple[int, str]:
        request = {name: values[0] for name, values in parse_qs(body).items()}
        self.asked.append(request)
        action = request["Action"]
        queued = self.answers.get(action)
        if not queued:
            return (
                400,
                f"<ErrorResponse><Error><Code>InvalidAction</Code><Message>{action}</Message></Error></ErrorResponse>",
            )
        result = queued.pop(0) if len(queued) > 1 else queued[0]
        return 200, f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"


@pytest.fixture
def cloudformation() -> Iterator[tuple[CloudFormation, Any]]:
    account = CloudFormation()
    account.answer("CreateChangeSet", f"<Id>{SET}</Id><StackId>{STACK}</StackId>")
    account.answer("DeleteChangeSet", "")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, text = account.respond(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield account, boto3.client(
            "cloudformation", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )  # fmt: skip
        server.shutdown()
        thread.join()


def described(status: str, *, aware: bool, reason: str = "", changes: str = "") -> str:
    mode = "<DeploymentMode>REVERT_DRIFT</DeploymentMode><StackDriftStatus>DRIFTED</StackDriftStatus>" if aware else ""
    return (
        f"<ChangeSetId>{SET}</ChangeSetId><StackId>{STACK}</StackId><Status>{status}</Status>"
        f"<StatusReason>{reason}</StatusReason>{mode}<Changes>{changes}</Changes>"
    )


def test_a_drift_aware_change_set_says_what_was_changed(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("CREATE_COMPLETE", aware=True, changes=CHANGES))
    found = detect_drift(client, SETTLED)
    queue = Drifted(
        "Queue", "AWS::SQS::Queue", "https://sqs/q", (Difference("VisibilityTimeout", "60", "5"),),
    )  # fmt: skip
    assert (found.by, found.drifted) == ("change set", (queue, TOPIC))
    asked = account.asked[0]
    assert (asked["DeploymentMode"], asked["ChangeSetType"], asked["OnStackFailure"]) == (
        "REVERT_DRIFT", "UPDATE", "ROLLBACK",
    )  # fmt: skip
    assert account.actions()[-1] == "DeleteChangeSet"
    assert "ExecuteChangeSet" not in account.actions()


def test_a_stack_in_sync_has_no_drift(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("FAILED", aware=True, reason=EMPTY))
    assert detect_drift(client, SETTLED).drifted == ()
    assert "DetectStackDrift" not in account.actions()


def drift(status: str, differences: str = "") -> str:
    return (
        f"<member><StackId>{STACK}</StackId><LogicalResourceId>Queue</LogicalResourceId>"
        "<PhysicalResourceId>https://sqs/q</PhysicalResourceId><ResourceType>AWS::SQS::Queue</ResourceType>"
        f"<StackResourceDriftStatus>{status}</StackResourceDriftStatus><Timestamp>2026-11-23T14:00:00Z</Timestamp>"
        f"<PropertyDifferences>{differences}</PropertyDifferences></member>"
    )


def difference(path: str, kind: str) -> str:
    return (
        f"<member><PropertyPath>{path}</PropertyPath><ExpectedValue>60</ExpectedValue><ActualValue>5</ActualValue>"
        f"<DifferenceType>{kind}</DifferenceType></member>"
    )


def detection(status: str, reason: str = "") -> str:
    return (
        f"<StackId>{STACK}</StackId><StackDriftDetectionId>d</StackDriftDetectionId><DetectionStatus>{status}"
        f"</DetectionStatus><DetectionStatusReason>{reason}</DetectionStatusReason>"
        "<Timestamp>2026-11-23T14:00:00Z</Timestamp>"
    )


def test_without_drift_aware_change_sets_drift_is_detected(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("FAILED", aware=False, reason=EMPTY))
    account.answer("DetectStackDrift", "<StackDriftDetectionId>d</StackDriftDetectionId>")
    account.answer(
        "DescribeStackDriftDetectionStatus", detection("DETECTION_IN_PROGRESS"), detection("DETECTION_COMPLETE")
    )
    changed = [
        difference("/VisibilityTimeout", "NOT_EQUAL"),
        difference("/Tags/1", "ADD"),
        difference("/Name", "REMOVE"),
    ]
    account.answer(
        "DescribeStackResourceDrifts",
        f"<StackResourceDrifts>{drift('MODIFIED', ''.join(changed))}</StackResourceDrifts><NextToken>n</NextToken>",
        f"<StackResourceDrifts>{drift('DELETED')}</StackResourceDrifts>",
    )
    found = detect_drift(client, SETTLED)
    assert found.by == "detection"
    modified, deleted = found.drifted
    assert modified.differences == (
        Difference("VisibilityTimeout", "60", "5"), Difference("Tags.1", None, "5"), Difference("Name", "60", None),
    )  # fmt: skip
    assert deleted.deleted
    assert account.asked[-1]["NextToken"] == "n"


def test_a_detection_that_failed_is_an_error(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("FAILED", aware=False, reason=EMPTY))
    account.answer("DetectStackDrift", "<StackDriftDetectionId>d</StackDriftDetectionId>")
    account.answer("DescribeStackDriftDetectionStatus", detection("DETECTION_FAILED", "not authorized"))
    account.answer("DescribeStackResourceDrifts", "<StackResourceDrifts></StackResourceDrifts>")
    with pytest.raises(StackError, match="not authorized"):
        detect_drift(client, SETTLED)


def test_an_aws_with_neither_says_so(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("FAILED", aware=False, reason=EMPTY))
    found = detect_drift(client, SETTLED)
    assert (found.by, found.drifted) == ("", ())
    assert account.actions()[-1] == "DetectStackDrift"


def test_a_stack_in_motion_is_not_asked_about(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    assert detect_drift(client, Wait(WANTED, STATE)).by == ""
    assert account.asked == []


STACKS = (
    f"<Stacks><member><StackName>shop-pipeline-dev</StackName><StackId>{STACK}</StackId>"
    "<StackStatus>UPDATE_COMPLETE</StackStatus><CreationTime>2026-11-23T14:00:00Z</CreationTime></member></Stacks>"
)


def test_a_stack_that_is_as_wanted_is_updated_to_revert_its_drift(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    reverting = WantedStack("shop-pipeline-dev", BODY, revert_drift=True)
    account.answer("DescribeChangeSet", described("CREATE_COMPLETE", aware=True, changes=CHANGES))
    account.answer("ExecuteChangeSet", "")
    account.answer("DescribeStacks", STACKS)

    class Ended(BaseException):
        """Ends the wait for events, which is not what is tested."""

    client.meta.events.register(
        "before-call.cloudformation.DescribeStackEvents", lambda **_: (_ for _ in ()).throw(Ended)
    )
    with pytest.raises(Ended):
        apply_stack(client, plan_stack(STATE, reverting))
    assert account.asked[0]["DeploymentMode"] == "REVERT_DRIFT"
    executed = next(each for each in account.asked if each["Action"] == "ExecuteChangeSet")
    assert executed["ChangeSetName"] == SET


def test_an_express_update_is_rolled_back_if_it_fails(cloudformation: tuple[CloudFormation, Any]) -> None:
    account, client = cloudformation
    account.answer("DescribeChangeSet", described("FAILED", aware=False, reason=EMPTY))
    account.answer("DescribeStacks", STACKS)
    express = WantedStack("shop-pipeline-dev", BODY, express=True, tags={"a": "b"})
    assert not apply_stack(client, plan_stack(STATE, express)).changed
    asked = account.asked[0]
    assert (asked["DeploymentConfig.Mode"], asked["DeploymentConfig.DisableRollback"]) == ("EXPRESS", "false")
    assert "OnStackFailure" not in asked
