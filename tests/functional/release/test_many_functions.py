"""A project of more functions than a request to CloudFormation holds: the same road, through a bucket."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import CommandLine, copy_project

FUNCTIONS = 15
BUCKET = "transaction-pipeline-templates-000000000000-us-east-1"


def add_function(images: Path, name: str) -> None:
    """A minimal function folder."""
    folder = images / name
    folder.mkdir()
    (folder / "function.toml").write_text(
        textwrap.dedent(
            f"""
            description = "Looks at {name} of a transaction"
            handler = "handler.handle"
            memory = 256
            timeout = 5
            [[calls]]
            service = "dynamodb"
            actions = ["Query"]
            resource = "state-table/index/customer"
            """
        )
    )
    (folder / "handler.py").write_text(f"def handle(event, context):\n    return {{'signal': '{name}'}}\n")
    for requirements in ("requirements.in", "requirements.txt"):
        (folder / requirements).write_text("")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("many functions")
    project = copy_project(folder / "project")
    for number in range(FUNCTIONS - 3):
        add_function(project / "images", f"risk-signal-{number:02}")
    line = CommandLine(folder / "local", project=project)
    yield line
    line.run("down")


@pytest.fixture(scope="module")
def released(line: CommandLine) -> Any:
    return line.json("up")


def test_every_function_is_released(line: CommandLine, released: Any) -> None:
    assert released["sample"]["outcome"] == "APPROVED"
    assert len(released["functions"]) == FUNCTIONS
    answer = line.client("lambda").invoke(FunctionName="risk-signal-07-dev", Payload=b"{}")
    assert json.load(answer["Payload"]) == {"signal": "risk-signal-07"}


def test_nothing_changed_sends_nothing(line: CommandLine, released: Any) -> None:
    def uploads() -> list[tuple[str, Any]]:
        return [(each["Key"], each["LastModified"]) for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]

    s3 = line.client("s3")
    before = uploads()
    again = line.json("up")
    assert again["changed"] is False
    assert again["release"] == released["release"]
    assert [stack["changed"] for stack in again["stacks"]] == [False, False]
    assert uploads() == before


def test_the_template_came_through_a_bucket_that_is_closed_and_empties_itself(line: CommandLine, released: Any) -> None:
    s3, cloudformation = line.client("s3"), line.client("cloudformation")
    objects = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    templates = [json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in objects]
    assert cloudformation.get_template(StackName="transaction-pipeline-dev")["TemplateBody"] in templates
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert (rule["Status"], rule["Expiration"]) == ("Enabled", {"Days": 7})
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    (encryption,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_synth_says_which_file_needs_a_bucket(line: CommandLine, tmp_path: Path) -> None:
    said = line.run("synth", "--out", str(tmp_path)).stdout
    assert "Larger than the 51,200 bytes that a request may have: pipeline.json.\n" in said
    assert "--s3-bucket" in said
    sizes = {path.stem: path.stat().st_size for path in tmp_path.glob("*.json")}
    assert sizes["registry"] <= 51_200 < sizes["pipeline"]
    assert line.json("synth", "--out", str(tmp_path))["bytes"] == sizes


def test_another_function_more_is_planned_and_updated(line: CommandLine, released: Any) -> None:
    add_function(line.project / "images", "risk-signal-99")
    try:
        plan = line.json("plan", code=2)
        (pipeline,) = (each for each in plan["stacks"] if each["name"] == "transaction-pipeline-dev")
        added = {each["logical_id"] for each in pipeline["resources"] if each["action"] == "Add"}
        assert "RiskSignal99Function" in added
        assert len(line.json("up")["functions"]) == FUNCTIONS + 1
    finally:
        shutil.rmtree(line.project / "images" / "risk-signal-99")


def test_down_says_that_the_bucket_stays(line: CommandLine, released: Any) -> None:
    line.json("infra", "--environment", "other")
    done = line.json("down", "--environment", "other")
    assert sorted(done["deleted"]) == ["transaction-pipeline-other", "transaction-registry-other"]
    (kept,) = done["kept"]
    assert (kept["type"], kept["name"]) == ("AWS::S3::Bucket", BUCKET)
    assert kept["command"].endswith(f"s3 rb --force s3://{BUCKET}")
