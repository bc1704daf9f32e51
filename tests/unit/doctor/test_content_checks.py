"""The checks of what the stacks are made of: definition, images, policies and keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cfn.names import Names
from cfn.settings import Architecture
from pipeline.doctor import Status
from pipeline.doctor.keys import allows_service
from pipeline.oci.values import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Digest
from tests.servers.registry import LoopbackRegistry
from tests.unit.cfn.examples import DEV
from tests.unit.doctor.account import (
    ACCOUNT,
    REGION,
    FakeAccount,
    pull_policy,
)

REGISTRY, PIPELINE = Names("dev").registry_stack, Names("dev").pipeline_stack


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


def test_an_image_that_ecr_does_not_give_is_not_taken_for_one_that_is_gone(account: FakeAccount) -> None:
    account.deployed(PIPELINE, parameters={"FraudDetectionImageUri": uri()})
    failure = {"failureCode": "ImageInaccessible", "failureReason": "it is archived"}
    account.answer("ecr.BatchGetImage", {"images": [], "failures": [failure]})
    verdict = account.verdict("images")
    assert verdict.status is Status.ERROR
    assert "ImageInaccessible: it is archived" in verdict.evidence
    assert "aws ecr update-image-storage-class" in verdict.cure.text


@pytest.mark.parametrize(("value", "said"), [("ENABLED", "mounted"), ("DISABLED", "put-account-setting")])
def test_whether_repositories_share_layers(account: FakeAccount, value: str, said: str) -> None:
    account.answer("ecr.GetAccountSetting", {"name": "BLOB_MOUNTING", "value": value})
    verdict = account.verdict("blob mounting")
    assert verdict.status is Status.OK
    assert said in verdict.evidence


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
