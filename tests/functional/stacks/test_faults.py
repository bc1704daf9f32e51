"""Stacks under faults: a proxy before the embedded AWS throttles, refuses, hangs, disconnects and interleaves calls."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.retries.standard import ExponentialBackoff

from pipeline.core.errors import StackError
from pipeline.core.events import Event, Note
from pipeline.stacks import (
    ExistingResource,
    NoChange,
    StackFailed,
    StackStatus,
    apply_stack,
    delete_stack,
    describe_change,
    plan_stack,
    read_stack,
)
from tests.functional.conftest import EmbeddedAws
from tests.functional.stack_templates import decide, history, parameter, template, up, wanted
from tests.proxies.faults import FaultProxy, cut, error, expired, hanging, lost_answer, throttled, unavailable


@pytest.fixture
def proxy(embedded_aws: EmbeddedAws) -> Iterator[FaultProxy]:
    with FaultProxy(embedded_aws.endpoint) as running:
        yield running


@pytest.fixture
def cfn(embedded_aws: EmbeddedAws, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client like that of a release, but with retries after milliseconds."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _self, _context: 0.01)
    config = Config(retries={"mode": "standard", "total_max_attempts": 4}, read_timeout=0.5, connect_timeout=1)
    return embedded_aws.client("cloudformation", endpoint_url=proxy.endpoint, config=config)


@pytest.fixture
def direct(embedded_aws: EmbeddedAws) -> Any:
    """A second client that bypasses the proxy."""
    return embedded_aws.client("cloudformation")


@pytest.fixture
def name() -> str:
    return f"faults-{uuid.uuid4().hex[:8]}"


CHANGING = ("CreateChangeSet", "ExecuteChangeSet", "DeleteStack", "DeleteChangeSet", "UpdateStack")


def test_no_change_costs_two_calls(cfn: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    proxy.clear()
    assert not up(cfn, wanted(name)).changed
    assert proxy.calls == ["DescribeStacks", "GetTemplate"]


@pytest.mark.parametrize("action", ["DescribeStacks", "CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet"])
@pytest.mark.parametrize("fault", [throttled, unavailable, cut, lost_answer])
def test_a_transient_fault_is_retried(cfn: Any, proxy: FaultProxy, name: str, action: str, fault: Any) -> None:
    struck = proxy.add(fault(action))
    assert up(cfn, wanted(name)).changed
    assert struck.hits == 1
    assert list(history(cfn, name)).count("CREATE_COMPLETE") == 1
    assert isinstance(decide(cfn, wanted(name)), NoChange)


def test_a_request_without_a_response_is_retried(cfn: Any, proxy: FaultProxy, name: str) -> None:
    struck = proxy.add(hanging("DescribeStackEvents", 1.0))
    assert up(cfn, wanted(name)).changed
    assert struck.hits == 1


@pytest.mark.parametrize("action", ["CreateChangeSet", "ExecuteChangeSet"])
def test_an_update_whose_answer_was_lost_happens_once(cfn: Any, proxy: FaultProxy, name: str, action: str) -> None:
    up(cfn, wanted(name))
    proxy.add(lost_answer(action))
    assert up(cfn, wanted(name, parameters={"Seconds": "30"})).changed
    assert list(history(cfn, name)).count("UPDATE_COMPLETE") == 1
    sets = cfn.list_change_sets(StackName=name)["Summaries"]
    assert [each for each in sets if each["ExecutionStatus"] == "AVAILABLE"] == []


def test_a_stack_is_finished_by_the_next_run_after_credentials_expired(cfn: Any, proxy: FaultProxy, name: str) -> None:
    proxy.add(expired("DescribeStackEvents"))
    with pytest.raises(ClientError, match="expired"):
        up(cfn, wanted(name))
    proxy.clear()
    up(cfn, wanted(name))
    assert isinstance(decide(cfn, wanted(name)), NoChange)


def test_credentials_that_expire_before_the_execution_change_nothing(cfn: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    proxy.add(expired("ExecuteChangeSet"))
    with pytest.raises(ClientError, match="expired"):
        up(cfn, wanted(name, parameters={"Seconds": "30"}))
    assert read_stack(cfn, name).parameters == {"Seconds": "1"}


def test_a_missing_endpoint_raises_botocores_error(embedded_aws: EmbeddedAws) -> None:
    config = Config(retries={"total_max_attempts": 1})
    cfn = embedded_aws.client("cloudformation", endpoint_url="http://127.0.0.1:9", config=config)
    with pytest.raises(EndpointConnectionError):
        read_stack(cfn, "any")


# What AWS answers to the slower of two, in its own words (API reference; the emulator is laxer).
OVERTAKEN = [
    ("CreateChangeSet", "ValidationError", "Stack:arn:x is in UPDATE_IN_PROGRESS state and can not be updated."),
    ("CreateChangeSet", "ValidationError", "Stack [x] does not exist"),
    ("CreateChangeSet", "AlreadyExistsException", "Stack [x] already exists"),
    ("ExecuteChangeSet", "ChangeSetNotFound", "ChangeSet [x] does not exist"),
    ("ExecuteChangeSet", "InvalidChangeSetStatus", "ChangeSet [x] cannot be executed in its current status"),
    ("ExecuteChangeSet", "ValidationError", "Stack:arn:x is in UPDATE_IN_PROGRESS state and can not be updated."),
    ("DescribeChangeSet", "ChangeSetNotFound", "ChangeSet [x] does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "code", "message"), OVERTAKEN)
def test_a_run_that_is_overtaken_plans_again(
    cfn: Any, proxy: FaultProxy, name: str, action: str, code: str, message: str
) -> None:
    up(cfn, wanted(name))
    proxy.add(error(action, code, message))
    events: list[Event] = []
    assert up(cfn, wanted(name, parameters={"Seconds": "30"}), events).changed
    assert any(isinstance(event, Note) and "planning again" in event.text for event in events)
    assert read_stack(cfn, name).parameters == {"Seconds": "30"}


@pytest.mark.parametrize(
    "message",
    ["Template format error: unsupported structure", "S3 error: The specified bucket does not exist"],
)
def test_a_permanent_refusal_is_not_retried(cfn: Any, proxy: FaultProxy, name: str, message: str) -> None:
    proxy.add(error("CreateChangeSet", "ValidationError", message, times=None))
    with pytest.raises(ClientError, match=message):
        up(cfn, wanted(name))
    assert proxy.calls.count("CreateChangeSet") == 1


def test_the_same_change_by_another_run_is_enough(cfn: Any, direct: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    target = wanted(name, parameters={"Seconds": "30"})
    proxy.before("CreateChangeSet", lambda: up(direct, target))
    up(cfn, target)
    assert list(history(cfn, name)).count("UPDATE_COMPLETE") == 1
    assert isinstance(decide(cfn, target), NoChange)


def test_a_stack_deleted_meanwhile_is_created_again(cfn: Any, direct: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    proxy.before("CreateChangeSet", lambda: delete_stack(direct, name))
    assert up(cfn, wanted(name, parameters={"Seconds": "30"})).changed
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE


def test_concurrent_creations_end_with_one_stack(cfn: Any, direct: Any, proxy: FaultProxy, name: str) -> None:
    """Another run creates it between the plan and the change set; AWS then answers that it exists."""
    proxy.before("CreateChangeSet", lambda: up(direct, wanted(name)))
    up(cfn, wanted(name))
    assert list(history(direct, name)).count("CREATE_COMPLETE") == 1


def test_concurrent_updates_converge(cfn: Any, direct: Any, name: str) -> None:
    up(cfn, wanted(name))
    target = wanted(name, parameters={"Seconds": "30"})
    results: list[object] = []

    def run(client: Any) -> None:
        try:
            results.append(up(client, target))
        except Exception as problem:  # noqa: BLE001 (whatever it is, the assertion shows it)
            results.append(problem)

    threads = [threading.Thread(target=run, args=(client,)) for client in (cfn, direct)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result for result in results if isinstance(result, Exception)] == []
    assert isinstance(decide(cfn, target), NoChange)


def test_a_rolled_back_creation_is_deleted_first_because_aws_accepts_no_change_set(
    embedded_aws: EmbeddedAws, cfn: Any, proxy: FaultProxy, name: str
) -> None:
    ssm = embedded_aws.client("ssm")
    ssm.put_parameter(Name=f"{name}-taken", Type="String", Value="theirs")
    body = template(Thing=parameter(f"{name}-taken"))
    with pytest.raises(StackFailed):
        up(cfn, wanted(name, body=body))
    ssm.delete_parameter(Name=f"{name}-taken")
    proxy.clear()
    up(cfn, wanted(name, body=body))
    assert proxy.calls.index("DeleteStack") < proxy.calls.index("CreateChangeSet")


def test_a_transient_failure_is_retried(embedded_aws: EmbeddedAws, cfn: Any, proxy: FaultProxy, name: str) -> None:
    """A creation fails because Lambda does not know the new role yet, and succeeds on the retry."""
    body = template(Thing=parameter(f"{name}-taken"))
    ssm = embedded_aws.client("ssm")
    ssm.put_parameter(Name=f"{name}-taken", Type="String", Value="theirs")
    proxy.before("DeleteStack", lambda: ssm.delete_parameter(Name=f"{name}-taken"))
    reworded = RewordedEvents(cfn, "The role defined for the function cannot be assumed by Lambda.")
    events: list[Event] = []
    assert up(reworded, wanted(name, body=body), events).changed
    assert any(isinstance(event, Note) and "trying again" in event.text for event in events)
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE


class RewordedEvents:
    """A client that rewrites the reason of failed resources, because the emulator's roles are consistent at once."""

    def __init__(self, cfn: Any, reason: str) -> None:
        self._cfn, self._reason = cfn, reason

    def __getattr__(self, call: str) -> Any:
        return getattr(self._cfn, call)

    def describe_stack_events(self, **request: Any) -> Any:
        page = self._cfn.describe_stack_events(**request)
        for event in page["StackEvents"]:
            if event["ResourceStatus"].endswith("_FAILED"):
                event["ResourceStatusReason"] = self._reason
        return page


def test_a_description_that_fails_halfway_leaves_no_change_set(cfn: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    before = cfn.list_change_sets(StackName=name)["Summaries"]
    proxy.add(error("DescribeChangeSet", "AccessDenied", "not allowed", skip=1))
    with pytest.raises(ClientError, match="not allowed"):
        describe_change(cfn, decide(cfn, wanted(name, parameters={"Seconds": "30"})))
    assert cfn.list_change_sets(StackName=name)["Summaries"] == before


def test_a_validated_creation_that_fails_leaves_no_empty_stack(cfn: Any, proxy: FaultProxy, name: str) -> None:
    proxy.add(error("DescribeChangeSet", "AccessDenied", "not allowed", times=None))
    with pytest.raises(ClientError, match="not allowed"):
        describe_change(cfn, decide(cfn, wanted(name)), validate=True)
    assert read_stack(cfn, name).status.gone


def test_an_empty_stack_with_a_foreign_change_set_is_kept(cfn: Any, direct: Any, proxy: FaultProxy, name: str) -> None:
    def somebody() -> None:
        direct.create_change_set(
            StackName=name, ChangeSetName="theirs", ChangeSetType="CREATE", TemplateBody=json.dumps(template())
        )

    proxy.before("DeleteChangeSet", somebody)
    describe_change(cfn, decide(cfn, wanted(name)), validate=True)
    assert read_stack(cfn, name).status is StackStatus.REVIEW_IN_PROGRESS


def test_a_failed_change_set_is_reported_with_its_reason(cfn: Any, name: str) -> None:
    """CloudFormation rejects it: the resource belongs to another stack."""
    body = template(Thing=parameter(f"{name}-kept"))
    up(cfn, wanted(name, body=body))
    other = f"{name}-other"
    thing = (ExistingResource("Thing", "AWS::SSM::Parameter", {"Name": f"{name}-kept"}),)
    with pytest.raises(StackFailed, match="nothing was changed"):
        apply_stack(cfn, plan_stack(read_stack(cfn, other), wanted(other, body=body, existing=thing)))
    assert read_stack(cfn, other).status.gone


def test_a_timeout_says_that_the_operation_continues(cfn: Any, proxy: FaultProxy, name: str) -> None:
    proxy.add(hanging("DescribeStackEvents", 0.4, times=None))
    with pytest.raises(StackError, match="and continues"):
        up(CalmEvents(cfn), wanted(name), timeout=0.3)
    proxy.clear()
    up(cfn, wanted(name))
    assert read_stack(cfn, name).status is StackStatus.CREATE_COMPLETE


class CalmEvents:
    """A client without events, because AWS shows them late."""

    def __init__(self, cfn: Any) -> None:
        self._cfn = cfn

    def __getattr__(self, call: str) -> Any:
        return getattr(self._cfn, call)

    def describe_stack_events(self, **_request: Any) -> Any:
        return {"StackEvents": []}


def test_a_refused_deletion_says_why(cfn: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    proxy.add(error("DeleteStack", "ValidationError", "Export queue is imported by stack other"))
    with pytest.raises(StackError, match="imported by stack other"):
        delete_stack(cfn, name)


def test_a_deletion_by_another_run_is_waited_for(cfn: Any, direct: Any, proxy: FaultProxy, name: str) -> None:
    up(cfn, wanted(name))
    proxy.before("DeleteStack", lambda: direct.delete_stack(StackName=name))
    assert delete_stack(cfn, name)
    assert read_stack(cfn, name).status.gone


@pytest.mark.parametrize("fault", [throttled, unavailable, cut, lost_answer])
def test_a_deletion_survives_transient_faults(cfn: Any, proxy: FaultProxy, name: str, fault: Any) -> None:
    up(cfn, wanted(name))
    proxy.add(fault("DeleteStack"), fault("DescribeStackEvents", skip=1))
    assert delete_stack(cfn, name)
    assert read_stack(cfn, name).status.gone
