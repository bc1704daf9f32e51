"""Environments that expire are deleted by whoever looks, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.events import ignore
from pipeline.core.locks import exclusively
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

SETTINGS = """
[project]
name = "brief"
[environments.short]
expires_after = "1s"
[environments.long]
expires_after = "3d"
[environments.odd.tags]
"transaction-pipeline:expires-after" = "never"
"""


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("brief"), embedded_aws)
    project.write("environments.toml", SETTINGS)
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    project.write("images/hello/handler.py", "def handle(event, context):\n    return 1\n")
    for environment in ("dev", "short", "long"):
        project.run("up", "-e", environment)
    yield project
    for environment in ("dev", "short", "long", "odd"):
        project.run("down", "-e", environment, code=(0, 1))


def environments(project: Project) -> set[str]:
    stacks = project.aws.client("cloudformation").describe_stacks()["Stacks"]
    names = {each["StackName"] for each in stacks if each["StackName"].startswith("brief-")}
    return {name.rpartition("-")[2] for name in names}


def test_an_environment_that_is_used_again_stays(project: Project) -> None:
    """It is released between the first look and the lock, as when its owner comes back."""
    lock = project.folder / ".local" / "locks" / "short"
    time.sleep(1.5)
    with exclusively(lock, "a test", ignore):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bootstrap.py"), "down", "--expired", "--json"],
            cwd=project.folder, env=project.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "a test" in process.stderr.readline()  # it waits for the lock
        cloudformation = project.aws.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName="brief-registry-short")["Stacks"][0]
        tags = [each | {"Value": "1d"} if "expires" in each["Key"] else each for each in stack["Tags"]]
        cloudformation.update_stack(
            StackName="brief-registry-short", UsePreviousTemplate=True, Tags=tags, Capabilities=["CAPABILITY_IAM"]
        )
        cloudformation.get_waiter("stack_update_complete").wait(StackName="brief-registry-short")
    output, _errors = process.communicate(timeout=60)
    assert json.loads(output)["changed"] == ["short"]
    assert environments(project) == {"dev", "short", "long"}


def test_what_is_over_is_deleted_and_nothing_else(project: Project) -> None:
    project.run("up", "-e", "odd")
    project.run("up", "-e", "short")
    assert "expires 20" in project.run("status", "-e", "long").stdout
    assert "expires_at" not in project.json("status")
    time.sleep(1.5)
    found = project.json("down", "--expired", code=1)
    assert (found["deleted"], found["changed"], found["failed"]) == (["short"], [], [])
    assert list(found["living"]) == ["long"]
    assert [each["environment"] for each in found["unreadable"]] == ["odd"]
    assert environments(project) == {"dev", "long", "odd"}
    project.run("down", "-e", "odd")
    assert project.json("down", "--expired")["deleted"] == []


def test_a_project_of_its_own_sees_only_its_own(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path, project.aws)
    other.write("environments.toml", '[project]\nname = "other"\n')
    other.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    other.write("images/hello/handler.py", "def handle(event, context):\n    return 1\n")
    assert "no environment on local expires" in other.run("down", "--expired").stdout
