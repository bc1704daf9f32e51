"""doctor on an embedded AWS: a healthy environment, each kind of problem, and that ``up`` stops before any change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest

from commands import doctor
from commands.context import Context
from pipeline.core.files import cache_folder
from pipeline.doctor import Status, run_checks
from pipeline.doctor.policy import permissions_of
from pipeline.environment.synth import synthesise
from pipeline.local.runtime.sandbox import find_isolation
from pipeline.target import Target
from tests.functional.deployed import ROOT, Deployed


def by_name(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in result["checks"]}


@pytest.mark.parametrize("step", ["doctor", "doctor: nothing there"])
def test_an_environment_without_faults(deployed: Deployed, step: str) -> None:
    outcome = deployed.outcomes[step]
    assert outcome.exit_code == 0
    assert outcome.result["healthy"] is True
    for name, each in by_name(outcome.result).items():
        accepted = ("ok", "warning") if name == "isolation" else ("ok", "unknown")  # bubblewrap may be missing here
        assert each["status"] in accepted, (name, each)
        assert each["evidence"]
        if each["status"] == "unknown":
            assert "the embedded AWS" in each["evidence"]
    assert {name for name, each in by_name(outcome.result).items() if each["status"] == "unknown"} <= {
        "blob mounting", "endpoint services", "topic keys",
    }  # fmt: skip


def test_what_keeps_functions_apart_is_said(deployed: Deployed) -> None:
    found = by_name(deployed.outcomes["doctor"].result)["isolation"]
    sandboxed = find_isolation().sandbox is not None
    assert found["status"] == ("ok" if sandboxed else "warning")
    assert ("in its own sandbox" in found["evidence"]) is sandboxed
    assert bool(found["cure"]) is not sandboxed


def test_the_deployed_images_are_checked(deployed: Deployed) -> None:
    checks = by_name(deployed.outcomes["doctor"].result)
    assert checks["images"]["evidence"].count("Lambda accepts") == 3
    assert checks["repository policies"]["evidence"].count("allows Lambda to pull") == 3


def test_names_that_are_taken(deployed: Deployed) -> None:
    aws = deployed.aws
    aws.client("logs").create_log_group(logGroupName="fraud-detection-taken")
    aws.client("dynamodb").create_table(
        TableName="transaction-state-taken",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "transaction_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "transaction_id", "KeyType": "HASH"}],
    )
    arn = aws.client("sns").create_topic(Name="fraud-alerts-taken")["TopicArn"]
    outcome = deployed.run("doctor", doctor.doctor, step="doctor: taken", environment="taken")
    checks = by_name(outcome.result)
    assert outcome.exit_code == 1
    assert checks["names"]["status"] == "error"
    assert checks["names"]["evidence"].startswith("the topic fraud-alerts-taken already exists")
    assert "`up` imports it into the stack as StateTable" in checks["names"]["cure"]
    assert checks["log groups"]["status"] == "warning"
    assert "imports it into the stack as FraudDetectionLogGroup" in checks["log groups"]["cure"]
    aws.client("sns").delete_topic(TopicArn=arn)
    assert deployed.run("doctor", doctor.doctor, step="doctor: taken", environment="taken").exit_code == 0


def test_a_missing_image(deployed: Deployed) -> None:
    ecr = deployed.aws.client("ecr")
    function = deployed.aws.client("lambda").get_function(FunctionName="fraud-detection-dev")
    digest = function["Code"]["ImageUri"].partition("@")[2]
    image = {"repositoryName": "fraud-detection-dev", "imageIds": [{"imageDigest": digest}]}
    [kept] = ecr.batch_get_image(**image)["images"]
    ecr.batch_delete_image(**image)
    try:
        checks = by_name(deployed.run("doctor", doctor.doctor, step="doctor: image gone").result)
        assert checks["images"]["status"] == "error"
        assert f"{digest} of fraud-detection is missing from fraud-detection-dev" in checks["images"]["evidence"]
    finally:
        ecr.put_image(
            repositoryName="fraud-detection-dev",
            imageManifest=kept["imageManifest"],
            imageManifestMediaType=kept["imageManifestMediaType"],
            imageTag="image-put-back",
        )


def test_a_repository_that_lambda_cannot_pull_from(deployed: Deployed) -> None:
    ecr = deployed.aws.client("ecr")
    before = ecr.get_repository_policy(repositoryName="fraud-detection-dev")["policyText"]
    ecr.delete_repository_policy(repositoryName="fraud-detection-dev")
    try:
        checks = by_name(deployed.run("doctor", doctor.doctor, step="doctor: no policy").result)
        assert checks["repository policies"]["status"] == "error"
    finally:
        ecr.set_repository_policy(repositoryName="fraud-detection-dev", policyText=before)


def test_a_user_who_lacks_one_action(deployed: Deployed) -> None:
    iam = deployed.aws.client("iam")
    context = Context("nowhere", project=deployed.root)
    templates = synthesise(context.settings, [source.definition for source in context.sources], cache_folder())
    lacking = "lambda:UpdateFunctionCode"
    wanted = permissions_of("up", (templates.registry, templates.pipeline))
    actions = sorted({each.action for each in wanted} - {lacking})
    iam.create_user(UserName="deployer")
    policy = {"Effect": "Allow", "Action": [*actions, "iam:SimulatePrincipalPolicy"], "Resource": "*"}
    iam.put_user_policy(
        UserName="deployer",
        PolicyName="deploy",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [policy]}),
    )
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    session = botocore.session.Session()
    session.set_credentials(key["AccessKeyId"], key["SecretAccessKey"])
    target = Target("local", deployed.local.region, session, deployed.local.endpoint)
    results = {
        each.name: each for each in run_checks(target, context.settings, context.sources, context.names, templates)
    }
    permissions = results["permissions"]
    assert permissions.status is Status.ERROR
    assert permissions.evidence.endswith(f"actions that `up` needs: {lacking}")
    # A check that may not read is unknown, not an error.
    assert results["state machine"].status is Status.UNKNOWN
    assert "AccessDenied" in results["state machine"].evidence


def test_up_on_aws_stops_before_any_change(deployed: Deployed) -> None:
    """AWS_ENDPOINT_URL points the target ``aws`` to the embedded AWS."""
    sns = deployed.aws.client("sns")
    topic = sns.create_topic(Name="fraud-alerts-stopped")["TopicArn"]
    variables = {
        **os.environ,
        "AWS_ENDPOINT_URL": deployed.local.endpoint,
        # The embedded AWS has no quotas, and takes its time to say so.
        "AWS_ENDPOINT_URL_SERVICE_QUOTAS": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": deployed.local.access_key_id,
        "AWS_SECRET_ACCESS_KEY": deployed.local.secret_access_key,
        "HOME": str(deployed.root),
    }
    run = subprocess.run(
        [sys.executable, ROOT / "bootstrap.py", "up", "-e", "stopped", "--target", "aws", "--region", "us-east-1",
         "--json"],
        capture_output=True, text=True, env=variables, timeout=60,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr
    error = json.loads(run.stdout)
    assert error["what"] == "stopped was not released, and nothing was changed"
    assert "the topic fraud-alerts-stopped already exists" in error["why"]
    assert "--skip-doctor" in error["next_step"]
    names = [each["StackName"] for each in deployed.aws.client("cloudformation").describe_stacks()["Stacks"]]
    assert not any("stopped" in name for name in names)
    sns.delete_topic(TopicArn=topic)
