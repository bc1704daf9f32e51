"""Where an environment is: the account, role and region of the settings, by STS of the embedded AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.proxies.faults import FaultProxy

COMMANDS = [
    ["up", "--yes"], ["plan"], ["infra"], ["status"], ["releases"], ["rollback"], ["prune"], ["down", "--yes"],
    ["doctor"], ["submit", "{}"], ["promote", "other", "dev"], ["promote", "dev", "other"],
]  # fmt: skip


def run(
    aws: EmbeddedAws, folder: Path, settings: str, *arguments: str, endpoint: str, code: int
) -> subprocess.CompletedProcess[str]:
    """A command with ``--target aws`` and the root's credentials, whose requests go to ``endpoint``."""
    (folder / "environments.toml").write_text(f'[project]\nworkflow = "transactions"\n[environments.dev]\n{settings}\n')
    if not (folder / "images").exists():
        (folder / "images").symlink_to(ROOT / "images")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": aws.access_key_id,
        "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
        "HOME": str(folder),
        "TRANSACTION_PIPELINE_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, ROOT / "bootstrap.py", *arguments, "--target", "aws", "--json"],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_another_account_is_refused_before_anything_is_asked(
    embedded_aws: EmbeddedAws, tmp_path: Path, command: list[str]
) -> None:
    with FaultProxy(embedded_aws.endpoint) as proxy:
        done = run(embedded_aws, tmp_path, 'account = "444444444444"', *command, endpoint=proxy.endpoint, code=1)
        calls = list(proxy.calls)
    error = json.loads(done.stdout)
    assert error["why"].startswith(
        "the settings name the account 444444444444, and these credentials are arn:aws:iam::"
    )
    asked = [call for call in calls if "GetCallerIdentity" not in call]
    assert asked == [], asked


def test_a_role_is_assumed_by_botocore_in_the_region_of_the_settings(embedded_aws: EmbeddedAws, tmp_path: Path) -> None:
    iam = embedded_aws.client("iam")
    principal = {"AWS": f"arn:aws:iam::{embedded_aws.account}:root"}
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:*"}]}
    role = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    settings = f'role = "{role}"\nregion = "eu-west-1"\naccount = "{embedded_aws.account}"'

    def status(code: int) -> Any:
        return json.loads(
            run(embedded_aws, tmp_path, settings, "status", endpoint=embedded_aws.endpoint, code=code).stdout
        )

    denied = status(1)
    assert "assumed-role/deployer" in denied["why"]
    assert "cloudformation:DescribeStacks" in denied["why"]
    allow = {"Effect": "Allow", "Action": ["cloudformation:*", "lambda:*"], "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [allow]}
    iam.put_role_policy(RoleName="deployer", PolicyName="read", PolicyDocument=json.dumps(policy))
    assert {each["status"] for each in status(0)["stacks"]} == {"ABSENT"}


def test_a_role_that_cannot_be_assumed_is_explained(embedded_aws: EmbeddedAws, tmp_path: Path) -> None:
    settings = f'role = "arn:aws:iam::{embedded_aws.account}:role/absent"'
    done = run(embedded_aws, tmp_path, settings, "status", endpoint=embedded_aws.endpoint, code=1)
    error = json.loads(done.stdout)
    assert "AssumeRole" in error["why"]
    assert error["next_step"] == "Let the caller assume the role, or correct its ARN."
