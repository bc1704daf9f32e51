"""Each check on accounts with and without the problem that it looks for: the account, the stacks and their names."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from cfn.names import Names
from pipeline.core.errors import NextStep
from pipeline.doctor import CHECKS, Status, run_checks
from pipeline.doctor.verdict import combine, error, ok, unknown, warning
from tests.unit.cfn.examples import DEV, PROD, pipeline
from tests.unit.doctor.account import (
    REGION,
    SOURCES,
    FakeAccount,
    Refusal,
    bodies,
    pull_policy,
    templates,
)

REGISTRY, PIPELINE = Names("dev").registry_stack, Names("dev").pipeline_stack
READING = ("Describe", "Get", "List", "BatchGet", "Simulate", "Validate")


def test_a_new_account_is_ready(account: FakeAccount) -> None:
    results = run_checks(account.target(), DEV, SOURCES, Names("dev"), bodies())
    assert {each.name: each.status for each in results} == dict.fromkeys(CHECKS, Status.OK), results


def test_only_reading_calls_are_made(account: FakeAccount) -> None:
    account.deployed(REGISTRY)
    account.deployed(PIPELINE)
    account.answer("ecr.GetRepositoryPolicy", pull_policy())
    account.answer("sns.GetTopicAttributes", {"Attributes": {"KmsMasterKeyId": "alias/aws/sns"}})
    run_checks(account.target(), DEV, SOURCES, Names("dev"), bodies())
    run_checks(FakeAccount(calls=account.calls).target(), DEV, SOURCES, Names("dev"), bodies())
    called = {name.partition(".")[2] for name, _ in account.calls}
    assert {name for name in called if not name.startswith(READING)} == set()


def test_calls_run_concurrently(account: FakeAccount) -> None:
    respond, counting, under_way, most = account.respond, threading.Lock(), 0, 0

    def slowly(name: str, parameters: Mapping[str, Any]) -> Any:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with counting:
            under_way -= 1
        return respond(name, parameters)

    account.respond = slowly  # type: ignore[method-assign]
    run_checks(account.target(), DEV, SOURCES, Names("dev"), bodies())
    assert most >= 5


def test_a_refused_call_is_unknown_with_its_error(account: FakeAccount) -> None:
    account.refuse("ec2.DescribeRegions", "UnauthorizedOperation", "You are not authorized")
    verdict = account.verdict("region")
    assert verdict.status is Status.UNKNOWN
    assert "DescribeRegions failed with UnauthorizedOperation: You are not authorized" in verdict.evidence
    assert "Allow the caller DescribeRegions" in str(verdict.cure)


def test_rejected_credentials_are_one_error(account: FakeAccount) -> None:
    account.respond = lambda name, parameters: Refusal("ExpiredToken", "expired")  # type: ignore[method-assign]
    first, *others = run_checks(account.target(), DEV, SOURCES, Names("dev"), bodies())
    assert (first.name, first.status) == ("credentials", Status.ERROR)
    assert "ExpiredToken" in first.evidence
    assert {each.evidence for each in others if each.status is Status.UNKNOWN} == {"not checked: see credentials"}


def test_an_unreadable_stack_makes_only_its_checks_unknown(account: FakeAccount) -> None:
    account.deployed(REGISTRY)
    account.answers["resources"] = {}
    account.respond = refuse_stacks(account.respond)  # type: ignore[method-assign]
    results = {each.name: each for each in run_checks(account.target(), DEV, SOURCES, Names("dev"), bodies())}
    unknowns = {name for name, each in results.items() if each.status is Status.UNKNOWN}
    assert unknowns == {
        "stacks", "drift", "names", "log groups", "reserved concurrency", "load", "quotas", "images",
        "repository policies", "topic keys",
    }  # fmt: skip


def refuse_stacks(respond: Any) -> Any:
    return lambda name, parameters: (
        Refusal("AccessDenied", "no") if name == "cloudformation.DescribeStacks" else respond(name, parameters)
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [("ExpiredToken", Status.ERROR), ("SignatureDoesNotMatch", Status.ERROR), ("Odd", Status.UNKNOWN)],
)
def test_credentials_that_aws_rejects(account: FakeAccount, code: str, status: Status) -> None:
    account.refuse("sts.GetCallerIdentity", code)
    assert account.verdict("credentials").status is status


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, Status.OK), (90, Status.WARNING), (-90, Status.WARNING), (400, Status.ERROR)]
)
@pytest.mark.parametrize("refused", [False, True])
def test_a_clock_that_is_off(account: FakeAccount, seconds: int, status: Status, refused: bool) -> None:
    account.headers = {"date": format_datetime(datetime.now(UTC) - timedelta(seconds=seconds), usegmt=True)}
    if refused:
        account.refuse("sts.GetCallerIdentity", "RequestExpired")
    verdict = account.verdict("clock")
    assert verdict.status is status
    if seconds:
        assert ("ahead of" if seconds > 0 else "behind") in verdict.evidence


def test_a_region_that_does_not_exist_or_is_not_enabled(account: FakeAccount) -> None:
    account.answer("ec2.DescribeRegions", {"Regions": [{"RegionName": REGION, "OptInStatus": "not-opted-in"}]})
    assert f"enable-region --region-name {REGION}" in str(account.verdict("region").cure)
    account.refuse("ec2.DescribeRegions", "InvalidParameterValue", "Invalid region name")
    assert account.verdict("region").status is Status.ERROR


@pytest.mark.parametrize(
    ("status", "protected", "expected"),
    [
        ("CREATE_COMPLETE", False, Status.OK),
        ("UPDATE_ROLLBACK_COMPLETE", False, Status.OK),
        ("ROLLBACK_COMPLETE", False, Status.WARNING),
        ("ROLLBACK_COMPLETE", True, Status.ERROR),
        ("DELETE_FAILED", False, Status.WARNING),
        ("UPDATE_IN_PROGRESS", False, Status.WARNING),
        ("UPDATE_ROLLBACK_FAILED", False, Status.WARNING),
        ("IMPORT_ROLLBACK_FAILED", False, Status.ERROR),
    ],
)
def test_the_status_of_a_stack(account: FakeAccount, status: str, protected: bool, expected: Status) -> None:
    account.deployed(PIPELINE, status, EnableTerminationProtection=protected)
    verdict = account.verdict("stacks")
    assert verdict.status is expected
    assert f"{PIPELINE} is {status}" in verdict.evidence


TAKEN = [
    ("dynamodb.DescribeTable", {"Table": {}}, "the table transaction-state-dev already exists", Status.WARNING),
    (
        "ecr.DescribeRepositories", {"repositories": [{}]}, "the repository fraud-detection-dev already exists",
        Status.WARNING,
    ),
    ("lambda.GetFunctionConfiguration", {}, "the function fraud-detection-dev already exists", Status.ERROR),
    ("sns.GetTopicAttributes", {"Attributes": {}}, "the topic fraud-alerts-dev already exists", Status.ERROR),
    ("sqs.GetQueueUrl", {"QueueUrl": "u"}, "the queue transaction-dlq-dev already exists", Status.WARNING),
    (
        "stepfunctions.DescribeStateMachine",
        {
            "stateMachineArn": "arn:aws:states:x", "name": "n", "definition": "{}", "roleArn": "arn:aws:iam::1:role/r",
            "type": "EXPRESS", "creationDate": datetime.now(UTC),
        },
        "the state machine transaction-pipeline-dev already exists",
        Status.ERROR,
    ),
    (
        "cloudwatch.DescribeAlarms",
        {"MetricAlarms": [{}]},
        "the alarm transaction-dlq-dev-messages already exists",
        Status.ERROR,
    ),
    (
        "kms.DescribeKey",
        {"KeyMetadata": {"KeyId": "k", "KeyState": "Enabled"}},
        "the key alias alias/transaction-alarms-dev already exists",
        Status.ERROR,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "answer", "said", "status"), TAKEN, ids=[each[0] for each in TAKEN])
def test_a_name_that_is_taken(
    account: FakeAccount, operation: str, answer: dict[str, Any], said: str, status: Status
) -> None:
    account.answer(operation, answer)
    verdict = account.verdict("names")
    assert verdict.status is status
    assert said in verdict.evidence
    assert "imports it into the stack" in str(verdict.cure) if status is Status.WARNING else "aws " in str(verdict.cure)
    account.deployed(REGISTRY)
    account.deployed(PIPELINE)
    assert account.verdict("names").status is Status.OK  # then it is ours


def test_a_table_cannot_be_imported_into_an_existing_stack(account: FakeAccount) -> None:
    account.answer("dynamodb.DescribeTable", {"Table": {}})
    account.deployed(PIPELINE, resources=["Vpc"])
    verdict = account.verdict("names")
    assert verdict.status is Status.ERROR
    assert "aws dynamodb delete-table --table-name transaction-state-dev" in str(verdict.cure)


def test_log_groups_that_exist_are_offered_for_import(account: FakeAccount) -> None:
    account.answer(
        "logs.DescribeLogGroups",
        lambda asked: {"logGroups": [{"logGroupName": name} for name in ("fraud-detection-dev", "fraud-detection-devil")
                                     if name.startswith(asked["logGroupNamePrefix"])]},
    )  # fmt: skip
    verdict = account.verdict("log groups")
    assert verdict.evidence == "the log group fraud-detection-dev already exists outside the stacks"
    assert verdict.status is Status.WARNING
    assert "imports it into the stack as FraudDetectionLogGroup" in str(verdict.cure)
    assert account.verdict("names").status is Status.OK


def test_the_worst_of_several_verdicts_wins() -> None:
    again = NextStep("Do it again", ("down",), ("up",))
    found = combine([warning("hm", "Look."), error("bad", again), error("worse", again), unknown("who knows")], "")
    assert (found.status, found.evidence) == (Status.ERROR, "bad; worse; hm; who knows")
    assert found.cure == NextStep("Do it again. Look.", ("down",), ("up",))
    assert combine([], "nothing there") == ok("nothing there")


def test_every_resource_type_with_a_fixed_name_is_checked() -> None:
    from pipeline.doctor.own_stacks import _KINDS

    named = {
        (kind, name)
        for settings in (DEV, PROD)
        for template in (templates() if settings is DEV else _prod()).values()
        for each in template["Resources"].values()
        for kind, name in [(each["Type"], next((n for n in each["Properties"] if n in _NAMES), None))]
        if name and isinstance(each["Properties"][name], str)
    }
    # An alias or a version is part of its function, and a custom resource is not a resource of AWS.
    assert {kind for kind, _ in named} - {"AWS::Lambda::Alias", "Custom::PlaceholderImage"} == set(_KINDS)


_NAMES = {
    "TableName", "RepositoryName", "LogGroupName", "FunctionName", "TopicName", "QueueName", "StateMachineName",
    "AlarmName", "AliasName", "ApplicationName", "RoleName", "ManagedPolicyName", "BucketName", "GroupName",
}  # fmt: skip


def _prod() -> dict[str, dict[str, Any]]:
    from tests.unit.cfn.examples import registry

    return {"registry": registry(PROD), "pipeline": pipeline(PROD)}


def test_functions_that_were_deleted_outside_of_their_stack_are_a_warning(account: FakeAccount) -> None:
    account.deployed(PIPELINE)
    verdict = account.verdict("drift")
    assert verdict.status is Status.WARNING
    assert "fraud-detection-dev: was deleted" in verdict.evidence
    assert verdict.cure.commands == (("up", "--revert-drift"),)


def test_without_a_stack_nothing_has_drifted(account: FakeAccount) -> None:
    assert account.verdict("drift").status is Status.OK
    assert account.called("lambda.GetFunction") == []
