"""Credentials that cannot be used are one explained error, whatever source they come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT

SSO = """
sso_session = work
sso_account_id = 123456789012
sso_role_name = admin
[sso-session work]
sso_region = us-east-1
sso_start_url = https://example.awsapps.com/start
"""
LEGACY_SSO = """
sso_account_id = 123456789012
sso_role_name = admin
sso_region = us-east-1
sso_start_url = https://example.awsapps.com/start
"""
PROCESS = "the credential_process of the profile work did not print credentials as JSON"
ROLE = "role_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = /no/such/token"
RENEW = "Renew the credentials of the profile work, or use another with AWS_PROFILE."
EXPIRED = '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"2020-01-01T00:00:00Z"}'
NO_TEXT = '{"Version":1,"AccessKeyId":"A","SecretAccessKey":null}'
KEYS = "aws_access_key_id = A\naws_secret_access_key = S"
MFA = """
role_arn = arn:aws:iam::123456789012:role/x
mfa_serial = arn:aws:iam::123456789012:mfa/x
source_profile = base
[profile base]
aws_access_key_id = A
aws_secret_access_key = S
"""
SOURCES = [
    (SSO, "token", "Sign in: aws sso login --profile work"),
    (LEGACY_SSO, "token", "Sign in: aws sso login --profile work"),
    ("credential_process = echo hello", PROCESS, "Correct credential_process"),
    ("credential_process = echo '[]'", PROCESS, "Correct credential_process"),
    ("credential_process = printf '\\\\377'", PROCESS, "Correct credential_process"),
    ("credential_process = echo {}", "Unsupported version", RENEW),
    ("credential_process = sh -c 'echo locked >&2; exit 3'", "locked", RENEW),
    ("credential_process = /no/such/program", "No such file or directory", "Correct the path"),
    (ROLE, "No such file or directory (/no/such/token)", "Correct the path"),
    ("role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = work", "infinite loop", RENEW),
    ("role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = none", "none", RENEW),
    (f"credential_process = echo '{EXPIRED}'", "gives credentials that are expired", "Renew them where they come from"),
    (f"credential_process = echo '{NO_TEXT}'", "the secret key from custom-process", "Correct it at its source"),
    ("role_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = /bin/sh", "not read", "has to be text"),
    ("aws_access_key_id = A", "missing: aws_secret_access_key", "Set both keys"),
    ("= broken", "Unable to parse config file", "Correct the AWS configuration"),
]


def bootstrap(
    tmp_path: Path, settings: str, *arguments: str, region: str = "us-east-1", **more: str
) -> subprocess.CompletedProcess[str]:
    """The command line with a profile of these settings, and no other source of credentials."""
    config = tmp_path / "config"
    config.write_text(f"[profile work]\n{settings}\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables |= {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "work",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "HOME": str(tmp_path),
        "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "cache"),
        "AWS_REGION": region,
        **more,
    }
    return subprocess.run(
        [sys.executable, ROOT / "bootstrap.py", *arguments, "--target", "aws", "--json"],
        capture_output=True, text=True, env=variables, timeout=60, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(("settings", "why", "next_step"), SOURCES)
def test_credentials_that_cannot_be_used_are_explained(tmp_path: Path, settings: str, why: str, next_step: str) -> None:
    done = bootstrap(tmp_path, settings, "status")
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    error = json.loads(done.stdout)
    assert error["what"] == "AWS was not contacted"
    assert why.lower() in error["why"].lower()
    assert next_step in error["next_step"]


@pytest.mark.parametrize("command", ["doctor", "plan", "down --yes", "prune", "logs"])
def test_an_sso_session_that_ended_stops_every_command(tmp_path: Path, command: str) -> None:
    done = bootstrap(tmp_path, SSO, *command.split())
    assert (done.returncode, json.loads(done.stdout)["next_step"]) == (1, "Sign in: aws sso login --profile work")


def test_an_expired_sso_token_is_not_used(tmp_path: Path) -> None:
    from hashlib import sha1

    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z", "region": "us-east-1",
             "startUrl": "https://example.awsapps.com/start"}  # fmt: skip
    for key in ("work", "https://example.awsapps.com/start"):
        (cache / f"{sha1(key.encode()).hexdigest()}.json").write_text(json.dumps(token))
    for settings in (SSO, LEGACY_SSO):
        done = bootstrap(tmp_path, settings, "status")
        assert (done.returncode, json.loads(done.stdout)["next_step"]) == (1, "Sign in: aws sso login --profile work")


def test_a_code_that_nobody_can_type_is_not_waited_for(tmp_path: Path) -> None:
    done = bootstrap(tmp_path, MFA, "status")
    assert done.returncode == 1
    assert "asks for an MFA code, and there is no terminal" in json.loads(done.stdout)["why"]


@pytest.mark.parametrize(
    ("region", "variables", "why"),
    [
        ("", {"AWS_DEFAULT_REGION": ""}, "no region is set"),
        ("us-east-1", {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense"),
        ("us-east-1", {"AWS_SESSION_TOKEN": "a\nb", "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"},
         "the session token from env"),
    ],
)  # fmt: skip
def test_settings_that_no_request_can_be_made_with_are_explained(
    tmp_path: Path, region: str, variables: dict[str, str], why: str
) -> None:
    done = bootstrap(tmp_path, KEYS, "releases", region=region, **variables)
    assert (done.returncode, done.stderr) == (1, "")
    error = json.loads(done.stdout)
    assert error["what"] == "AWS was not contacted"
    assert why in error["why"]
