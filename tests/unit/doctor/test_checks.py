"""Each check on accounts with and without the problem that it looks for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from cfn.names import Names
from cfn.settings import Architecture
from pipeline.core.errors import NextStep
from pipeline.doctor import CHECKS, Status, run_checks
from pipeline.doctor.keys import allows_service
from pipeline.doctor.verdict import combine, error, ok, unknown, warning
from pipeline.oci.values import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Digest
from tests.servers.registry import LoopbackRegistry
from tests.unit.cfn.examples import DEV, PROD, pipeline
from tests.unit.doctor import account as account_module
from tests.unit.doctor.account import (
    ACCOUNT,
    REGION,
    SOURCES,
    FakeAccount,
    Refusal,
    bodies,
    endpoint_services,
    templates,
)

REGISTRY, PIPELINE = Names("dev").registry_stack, Names("dev").pipeline_stack
READING = ("Describe", "Get", "List", "BatchGet", "Simulate", "Validate")


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


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
        "stacks", "names", "log groups", "reserved concurrency", "load", "quotas", "images", "repository policies",
        "topic keys",
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


@pytest.mark.parametrize(
    ("limit", "free", "fits"), [(1000, 1000, 60), (1000, 115, 5), (10, 10, 0), (1000, 100, 0), (280, 280, 60)]
)
def test_reserved_concurrency_that_fits_is_reported(account: FakeAccount, limit: int, free: int, fits: int) -> None:
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": free}},
    )
    verdict = account.verdict("reserved concurrency")
    if fits == 60:
        assert verdict.status is Status.OK
    else:
        assert verdict.status is Status.WARNING
        assert f"`up` reserves {fits or 'none'} instead" in str(verdict.cure)
        assert f"other functions reserve {limit - free}" in verdict.evidence


@pytest.mark.parametrize(
    ("limit", "status", "said"),
    [
        (1000, Status.OK, "36,000 transactions a minute are carried: Lambda rate"),
        (190, Status.WARNING, "with peaks of 3 times as many"),
        (120, Status.WARNING, "3,600 transactions a minute are carried: Lambda rate"),
        (10, Status.WARNING, "2,000 transactions a minute are carried: Lambda rate, all functions"),
    ],
)
def test_the_load_that_the_account_carries(account: FakeAccount, limit: int, status: Status, said: str) -> None:
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit}},
    )
    verdict = account.verdict("load")
    assert verdict.status is status
    assert said in verdict.evidence


def test_our_own_reservations_are_not_counted_twice(account: FakeAccount) -> None:
    account.deployed(PIPELINE, parameters={"ReservedConcurrency": "60"})
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": 280, "UnreservedConcurrentExecutions": 100}},
    )
    verdict = account.verdict("reserved concurrency")
    assert verdict.status is Status.OK
    assert "other functions reserve 0" in verdict.evidence


@pytest.mark.parametrize(
    ("memory", "executions", "status"),
    [
        (1_769, 10, Status.OK),
        (3_008, 10, Status.OK),
        (3_009, 10, Status.WARNING),
        (10_240, 999, Status.WARNING),
        (10_240, 1_000, Status.OK),
    ],
)
def test_more_memory_than_new_accounts_give(
    account: FakeAccount, monkeypatch: pytest.MonkeyPatch, memory: int, executions: int, status: Status
) -> None:
    limit = {"ConcurrentExecutions": executions, "UnreservedConcurrentExecutions": executions}
    account.answer("lambda.GetAccountSettings", {"AccountLimit": limit})
    large = replace(SOURCES[0], definition=replace(SOURCES[0].definition, memory=memory))
    monkeypatch.setattr(account_module, "SOURCES", (large, *SOURCES[1:]))
    verdict = account.verdict("memory")
    assert verdict.status is status
    if status is Status.WARNING:
        assert f"{large.name} ({memory:,} MB): an account with {executions}" in verdict.evidence
        assert "memory = 3008" in str(verdict.cure)


def test_the_vpc_quota_is_reached(account: FakeAccount) -> None:
    account.answer("ec2.DescribeVpcs", {"Vpcs": [{}] * 5})
    verdict = account.verdict("quotas")
    assert verdict.status is Status.ERROR
    assert "5 VPCs exist and 1 more would be created, but the quota is 5" in verdict.evidence
    assert "--quota-code L-F678F1CE --desired-value 11" in str(verdict.cure)
    account.deployed(PIPELINE)
    assert account.verdict("quotas").status is Status.OK


def test_an_unreadable_quota_matters_only_beyond_the_default(account: FakeAccount) -> None:
    account.refuse("service-quotas.GetServiceQuota", "AccessDeniedException")
    assert account.verdict("quotas").status is Status.OK
    account.answer("ec2.DescribeVpcEndpoints", {"VpcEndpoints": [{}] * 19})
    assert account.verdict("quotas").status is Status.UNKNOWN


def test_too_few_zones(account: FakeAccount) -> None:
    account.answer("ec2.DescribeAvailabilityZones", {"AvailabilityZones": [{"ZoneName": "a"}, {"ZoneName": "b"}]})
    verdict = account.verdict("zones")
    assert (verdict.status, str(verdict.cure)) == (Status.ERROR, "Set zones = 2, or use another region.")


def test_zones_without_the_endpoints_do_not_count(account: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(DEV, endpoints=("states",))
    detail = {"ServiceName": f"com.amazonaws.{REGION}.states", "ServiceType": [{"ServiceType": "Interface"}]}
    zones = [f"{REGION}a", f"{REGION}b"]
    account.answer("ec2.DescribeVpcEndpointServices", {"ServiceDetails": [{**detail, "AvailabilityZones": zones}]})
    assert account.verdict("zones").status is Status.OK
    templates = replace(bodies(), pipeline=json.dumps(pipeline(settings)))
    monkeypatch.setattr(account_module, "bodies", lambda: templates)
    verdict = account.verdict("zones", settings)
    assert verdict.status is Status.ERROR
    assert f"not {REGION}c: com.amazonaws.{REGION}.states is not offered there" in verdict.evidence


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ({"s3": "Gateway"}, f"no endpoint service com.amazonaws.{REGION}.dynamodb"),
        (
            {"dynamodb": "Interface", "s3": "Gateway", "states": "Interface"},
            "offered as Interface, but the template needs",
        ),
    ],
)
def test_endpoint_services_that_the_region_does_not_offer(
    account: FakeAccount, offered: dict[str, str], said: str
) -> None:
    account.answer("ec2.DescribeVpcEndpointServices", endpoint_services(**offered))
    verdict = account.verdict("endpoint services")
    assert verdict.status is Status.ERROR
    assert said in verdict.evidence


def test_a_service_offered_in_both_types_fits(account: FakeAccount) -> None:
    details = [
        {"ServiceName": f"com.amazonaws.{REGION}.{name}", "ServiceType": [{"ServiceType": kind}]}
        for name in ("dynamodb", "s3", "states")
        for kind in ("Gateway", "Interface")
    ]
    account.answer("ec2.DescribeVpcEndpointServices", {"ServiceDetails": details})
    assert account.verdict("endpoint services").status is Status.OK


def test_prefix_lists_that_are_not_found(account: FakeAccount) -> None:
    account.refuse("ec2.DescribeManagedPrefixLists", "UnauthorizedOperation")
    verdict = account.verdict("prefix lists")
    assert verdict.status is Status.WARNING
    assert "DynamoDbPrefixListId, S3PrefixListId" in verdict.evidence


def test_a_definition_that_step_functions_refuses(account: FakeAccount) -> None:
    diagnostic = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": "no", "location": "/States/Claim"}
    account.answer("stepfunctions.ValidateStateMachineDefinition", {"result": "FAIL", "diagnostics": [diagnostic]})
    verdict = account.verdict("state machine")
    assert verdict.status is Status.ERROR
    assert "/States/Claim: SCHEMA_VALIDATION_FAILED no" in verdict.evidence
    [asked] = account.called("stepfunctions.ValidateStateMachineDefinition")
    assert asked["type"] == "EXPRESS"
    assert "${" not in asked["definition"]


def test_a_definition_that_step_functions_warns_about(account: FakeAccount) -> None:
    diagnostic = {"severity": "WARNING", "code": "NO_PATH", "message": "hm"}
    account.answer("stepfunctions.ValidateStateMachineDefinition", {"result": "OK", "diagnostics": [diagnostic]})
    assert account.verdict("state machine").status is Status.WARNING


def pull_policy(**changes: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        **changes,
    }
    return {"policyText": json.dumps({"Statement": [statement]})}


def test_repositories_that_allow_lambda_to_pull(account: FakeAccount) -> None:
    account.deployed(REGISTRY)
    account.answer("ecr.GetRepositoryPolicy", pull_policy())
    assert account.verdict("repository policies").status is Status.OK


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (pull_policy(Action="ecr:BatchGetImage"), "does not allow Lambda ecr:GetDownloadUrlForLayer"),
        (pull_policy(Principal={"Service": "codebuild.amazonaws.com"}), "does not allow Lambda ecr:BatchGetImage"),
        ("RepositoryPolicyNotFoundException", "has no policy"),
        ("RepositoryNotFoundException", "was deleted outside its stack"),
    ],
)
def test_repositories_that_do_not_allow_lambda_to_pull(account: FakeAccount, answer: Any, said: str) -> None:
    account.deployed(REGISTRY)
    if isinstance(answer, str):
        account.refuse("ecr.GetRepositoryPolicy", answer)
    else:
        account.answer("ecr.GetRepositoryPolicy", answer)
    verdict = account.verdict("repository policies")
    assert verdict.status is Status.ERROR
    assert said in verdict.evidence


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ({"Effect": "Allow", "Principal": {"Service": "s"}, "Action": "kms:*"}, True),
        ({"Effect": "Allow", "Principal": {"Service": ["t", "s"]}, "Action": ["kms:generatedatakey*"]}, True),
        ({"Effect": "Allow", "Principal": "*", "Action": "kms:GenerateDataKey"}, True),
        ({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*"}, False),
        ({"Effect": "Deny", "Principal": "*", "Action": "kms:*"}, False),
        ({"Effect": "Allow", "Principal": {"Service": "s"}, "Action": "kms:Decrypt"}, False),
    ],
)
def test_what_a_resource_policy_allows_a_service(statement: Mapping[str, Any], allowed: bool) -> None:
    assert allows_service({"Statement": statement}, "s", "kms:GenerateDataKey") is allowed


KEY = "arn:aws:kms:eu-central-1:111122223333:key/1"


def key_policy(*actions: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": list(actions)}
    return {"Policy": json.dumps({"Statement": [statement]})}


def with_topics(account: FakeAccount, alarms: str | None = KEY) -> None:
    account.deployed(PIPELINE)
    account.answer(
        "sns.GetTopicAttributes",
        lambda asked: {"Attributes": {"KmsMasterKeyId": key} if (
            key := alarms if "Alarm" in asked["TopicArn"] else "alias/aws/sns") else {}},
    )  # fmt: skip
    account.answer("kms.DescribeKey", {"KeyMetadata": {"KeyId": "1", "KeyState": "Enabled"}})
    account.answer("kms.GetKeyPolicy", key_policy("kms:Decrypt", "kms:GenerateDataKey*"))


def test_topic_keys_that_allow_their_publishers(account: FakeAccount) -> None:
    with_topics(account)
    assert account.verdict("topic keys").status is Status.OK


def test_an_alarm_topic_on_the_key_that_aws_manages(account: FakeAccount) -> None:
    with_topics(account, "alias/aws/sns")
    assert "does not allow CloudWatch" in account.verdict("topic keys").evidence


@pytest.mark.parametrize(
    ("operation", "answer", "said"),
    [
        ("kms.DescribeKey", "NotFoundException", "does not exist"),
        ("kms.DescribeKey", {"KeyMetadata": {"KeyId": "1", "KeyState": "PendingDeletion"}}, "is PendingDeletion"),
        ("kms.GetKeyPolicy", key_policy("kms:Decrypt"), "kms:GenerateDataKey, so alarms are lost"),
        ("sns.GetTopicAttributes", "NotFound", "was deleted outside its stack"),
        ("sns.GetTopicAttributes", {"Attributes": {}}, "is not encrypted"),
    ],
)
def test_topic_keys_that_fail(account: FakeAccount, operation: str, answer: Any, said: str) -> None:
    with_topics(account)
    if isinstance(answer, str):
        account.refuse(operation, answer)
    else:
        account.answer(operation, answer)
    verdict = account.verdict("topic keys")
    assert verdict.status is Status.ERROR
    assert said in verdict.evidence


def image(server: LoopbackRegistry, architecture: str = "arm64", **changes: Any) -> dict[str, Any]:
    """An image in ``server``, as BatchGetImage gives it."""
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": ["python3"], "Cmd": ["handler.handle"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"tar"))]},
        }
    ).encode()
    layer = b"layer"
    server.repository("fraud-detection-dev").blobs[str(Digest.of(config))] = config
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)},
            "layers": [{"mediaType": OCI_LAYER_GZIP, "digest": str(Digest.of(layer)), "size": len(layer)}],
            **changes,
        }
    )
    return {"images": [{"imageManifest": manifest, "imageManifestMediaType": OCI_MANIFEST}]}


def uri(region: str = REGION) -> str:
    return f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/fraud-detection-dev@{Digest.of(b'it')}"


def test_images_that_fit(account: FakeAccount) -> None:
    with LoopbackRegistry() as server:
        account.registry_url = f"http://{server.host}"
        account.deployed(PIPELINE, parameters={"FraudDetectionImageUri": uri()})
        account.answer("ecr.BatchGetImage", image(server))
        verdict = account.verdict("images")
    assert verdict.status is Status.OK
    assert "fraud-detection" in verdict.evidence


def test_an_image_of_the_other_architecture(account: FakeAccount) -> None:
    with LoopbackRegistry() as server:
        account.registry_url = f"http://{server.host}"
        account.deployed(PIPELINE, parameters={"FraudDetectionImageUri": uri()})
        account.answer("ecr.BatchGetImage", image(server, "amd64"))
        verdict = account.verdict("images")
        assert verdict.evidence == "the image of fraud-detection is for amd64, but the function runs on arm64"
        assert account.verdict("images", replace(DEV, architecture=Architecture.X86_64)).status is Status.OK


def test_an_image_index(account: FakeAccount) -> None:
    account.deployed(PIPELINE, parameters={"FraudDetectionImageUri": uri()})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    account.answer("ecr.BatchGetImage", {"images": [{"imageManifest": index, "imageManifestMediaType": OCI_INDEX}]})
    verdict = account.verdict("images")
    assert verdict.status is Status.ERROR
    assert "OCI index" in verdict.evidence


@pytest.mark.parametrize(
    ("image_uri", "answer", "said"),
    [
        (uri(), {"images": []}, "is missing from fraud-detection-dev"),
        (uri(), "RepositoryNotFoundException", "is missing from fraud-detection-dev"),
        (uri("us-east-1"), {"images": []}, "is in region us-east-1"),
        ("Not/An@Image", {"images": []}, "is invalid"),
    ],
)
def test_images_that_lambda_could_not_pull(account: FakeAccount, image_uri: str, answer: Any, said: str) -> None:
    account.deployed(PIPELINE, parameters={"FraudDetectionImageUri": image_uri})
    if isinstance(answer, str):
        account.refuse("ecr.BatchGetImage", answer)
    else:
        account.answer("ecr.BatchGetImage", answer)
    verdict = account.verdict("images")
    assert verdict.status is Status.ERROR
    assert said in verdict.evidence


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
    from tests.unit.cfn.examples import pipeline, registry

    return {"registry": registry(PROD), "pipeline": pipeline(PROD)}
