"""A release is promoted to another account and region: the same bytes, or refused by name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger.releases import list_releases, parameter_name
from pipeline.ledger.stored_images import read_images
from pipeline.oci.values import Digest
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

ACCOUNT, REGION = "222222222222", "eu-west-1"
SETTINGS = f"""
[project]
name = "moved"
[environments.dev]
signing_key = "signing.pem"
[environments.prod]
account = "{ACCOUNT}"
region = "{REGION}"
verification_key = "signing.pub"
require_signature = true
log_retention_days = 7
"""


class Moved(Project):
    """The project, with clients of the account and region of each environment."""

    def client(self, service: str, environment: str = "dev") -> Any:
        there = {"region_name": REGION, "aws_access_key_id": ACCOUNT} if environment == "prod" else {}
        return self.aws.client(service, **there)

    def stored(self, environment: str) -> set[Digest]:
        """Every manifest that belongs to the last image of dev, apart from the environment's template."""
        image = list_releases(self.client("ssm"), "moved/dev")[-1].images["hello"]
        found = read_images(self.client("ecr", environment), f"moved-hello-{environment}")
        return {each.digest for each in found if image in (each.digest, each.subject) and each.template is None}


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    project = Moved(tmp_path_factory.mktemp("moved"), embedded_aws)
    make = "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out signing.pem"
    subprocess.run(["bash", "-c", make], check=True, cwd=project.folder)
    subprocess.run(
        ["openssl", "pkey", "-in", "signing.pem", "-pubout", "-out", "signing.pub"], check=True, cwd=project.folder
    )
    project.write("environments.toml", SETTINGS)
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    project.write("images/hello/handler.py", "def handle(event, context):\n    return {'version': 1}\n")
    project.write("images/hello/events/smoke.json", "{}")
    assert project.json("up")["release"] == 1
    yield project
    project.run("down", "--environment", "prod")
    project.run("down")


def test_a_plan_says_what_would_be_copied_and_copies_nothing(project: Moved) -> None:
    planned = project.json("promote", "dev", "prod", "--plan", code=2)
    assert [each["decision"] for each in planned["stacks"]] == ["create", "create"]
    assert planned["copies"][0]["blobs"] > 0
    assert planned["copies"][0]["bytes"] > 0
    assert project.client("ecr", "prod").describe_repositories()["repositories"] == []


def test_the_same_bytes_run_in_another_account_and_region(project: Moved) -> None:
    promoted = project.json("promote", "dev", "prod")
    assert promoted["release"] == 1
    assert promoted["smoked"] == ["moved-hello-prod"]
    (function,) = promoted["functions"]
    (released,) = project.json("releases")["releases"]
    assert function["image"].startswith(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/moved-hello-prod@sha256:")
    assert function["digest"] == released["functions"][0]["digest"]
    # Image, signature, bill of materials and provenance.
    assert project.stored("prod") == project.stored("dev")
    assert len(project.stored("dev")) == 4
    (recorded,) = project.json("releases", "--environment", "prod")["releases"]
    assert recorded["origin"] == "dev release 1 in 000000000000/us-east-1"
    # The settings are those of the environment itself.
    groups = project.client("logs", "prod").describe_log_groups(logGroupNamePrefix="/aws/lambda/moved-hello")[
        "logGroups"
    ]
    assert [each.get("retentionInDays") for each in groups] in ([7], [])
    assert not project.json("promote", "dev", "prod")["changed"]
    assert project.json("promote", "dev", "prod", "--plan")["changes"] is False


def test_an_environment_is_not_promoted_to_itself(project: Moved) -> None:
    assert "are both dev" in project.json("promote", "dev", "dev", code=1)["why"]


def test_neither_account_sees_the_other(project: Moved) -> None:
    assert "prod" not in project.run("status").stdout
    mine = {each["StackName"] for each in project.client("cloudformation", "prod").describe_stacks()["Stacks"]}
    assert mine == {"moved-registry-prod", "moved-pipeline-prod"}


def test_what_was_never_released_is_refused(project: Moved) -> None:
    assert "there is no environment nowhere" in project.json("promote", "nowhere", "prod", code=1)["why"]
    assert "no such number" in project.json("promote", "dev", "prod", "--release", "99", code=1)["why"]


def test_an_entry_of_the_ledger_that_was_forged_is_refused(project: Moved) -> None:
    """Release 2 names the images of release 1, and was written to SSM by someone who cannot write to ECR."""
    ssm, name = project.client("ssm"), parameter_name("moved/dev")
    entry = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    ssm.put_parameter(Name=name, Value=json.dumps(entry | {"by": "someone else"}), Type="String", Overwrite=True)
    error = project.json("promote", "dev", "prod", code=1)
    assert "has no tag release-2-" in error["why"]
    assert "the ledger's entry was changed" in error["why"]
    assert not project.json("promote", "dev", "prod", "--release", "1")["changed"]


def test_an_image_without_its_signature_is_refused_before_anything_is_copied(project: Moved) -> None:
    handler = project.folder / "images" / "hello" / "handler.py"
    handler.write_text("def handle(event, context):\n    return {'version': 2}\n")
    number = project.json("up")["release"]
    image = list_releases(project.client("ssm"), "moved/dev")[-1].images["hello"]
    project.client("ecr").batch_delete_image(
        repositoryName="moved-hello-dev", imageIds=[{"imageTag": f"sha256-{image.hex}.sig"}]
    )
    before = len(read_images(project.client("ecr", "prod"), "moved-hello-prod"))
    error = project.json("promote", "dev", "prod", "--release", str(number), code=1)
    assert "it has no signature" in error["why"]
    assert error["commands"][-1][-5:] == ["promote", "dev", "prod", "--release", str(number)]
    assert len(read_images(project.client("ecr", "prod"), "moved-hello-prod")) == before


def test_an_image_that_is_gone_is_refused(project: Moved) -> None:
    release = list_releases(project.client("ssm"), "moved/dev")[-1]
    project.client("ecr").batch_delete_image(
        repositoryName="moved-hello-dev", imageIds=[{"imageDigest": str(release.images["hello"])}]
    )
    error = project.json("promote", "dev", "prod", "--release", str(release.number), code=1)
    assert f"the image of hello, {release.images['hello']}, is gone from its repository" in error["why"]


def test_a_function_that_the_release_does_not_have_is_refused(project: Moved, tmp_path: Path) -> None:
    later = project.folder / "images" / "later"
    later.mkdir()
    (later / "function.toml").write_text('handler = "handler.handle"\n')
    (later / "handler.py").write_text("def handle(event, context):\n    return {}\n")
    assert "it has no later" in project.json("promote", "dev", "prod", "--release", "1", code=1)["why"]
    later.rename(tmp_path / "later")


def test_a_release_whose_rehearsal_changes_too_much_is_not_promoted(project: Moved) -> None:
    """The gate is that of prod, on what prod answers; the images are there by then, and nothing runs them."""
    handler = "def handle(event, context):\n    return {'version': VERSION, 'of': event.get('of')}\n"
    project.write("recorded/hello/events/one.json", '{"of": "one"}')
    project.write("recorded/hello/events/one.response.json", '{"version": 1, "of": "one"}')
    project.write("environments.toml", SETTINGS + 'rehearsal = {file = "recorded", max_changed = 0}\n')
    before = project.json("status", "--environment", "prod")["functions"]
    for version, code in (("2", 1), ("1", 0)):
        project.write("images/hello/handler.py", handler.replace("VERSION", version))
        project.run("up")
        result = project.json("promote", "dev", "prod", code=code)
        if code:
            assert "the rehearsal shows changes that its settings forbid" in result["what"]
            assert "1 have another outcome, and at most 0 may" in result["why"]
            assert project.json("status", "--environment", "prod")["functions"] == before
            table = project.run("rehearse", "recorded", "--environment", "prod", code=1).stdout
            assert "hello" in table
            assert project.json("promote", "dev", "prod", "--skip-rehearsal")["changed"]
            assert project.json("rollback", "--environment", "prod", "--skip-rehearsal")["changed"]
    assert project.json("status", "--environment", "prod")["functions"] != before
    project.write("environments.toml", SETTINGS)
