"""A function and its alias, changed by hand: named by each command, left alone by ``up``, and put back on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

NAME = "drifting-hello-dev"


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("drifting"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "drifting"\n')
    project.write("images/hello/function.toml", 'handler = "handler.handle"\nmemory = 512\n')
    project.write("images/hello/handler.py", "def handle(event, context):\n    return {}\n")
    project.run("up")
    yield project
    project.run("down", code=(0, 1))


def change_by_hand(aws: EmbeddedAws) -> str:
    """Change the unpublished function, publish that, and let 100 % of the traffic have it. Returns the version."""
    client = aws.client("lambda")
    variables = client.get_function_configuration(FunctionName=NAME)["Environment"]["Variables"]
    client.update_function_configuration(
        FunctionName=NAME,
        MemorySize=1024,
        Environment={"Variables": {**variables, "TOKEN": "hunter2"}},
        LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG", "LogGroup": NAME},
    )
    client.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=7)
    version: str = client.publish_version(FunctionName=NAME)["Version"]
    client.update_alias(FunctionName=NAME, Name="live", FunctionVersion=version)
    return version


def live(aws: EmbeddedAws) -> Any:
    return aws.client("lambda").get_function_configuration(FunctionName=NAME, Qualifier="live")


def changed(document: Any) -> set[tuple[str, str]]:
    return {(each["name"], one["path"]) for each in document for one in each["differences"]}


def test_it_is_named_by_each_command_and_put_back_on_demand(project: Project) -> None:
    aws = project.aws
    assert project.json("status")["drift"] == []
    version = live(aws)["Version"]
    by_hand = change_by_hand(aws)
    expected = {
        (NAME, "MemorySize"), (NAME, "Environment.Variables.TOKEN"), (NAME, "ReservedConcurrentExecutions"),
        (f"{NAME}:live", "MemorySize"), (f"{NAME}:live", "Environment.Variables.TOKEN"),
        (NAME, "LoggingConfig.SystemLogLevel"), (f"{NAME}:live", "LoggingConfig.SystemLogLevel"),
    }  # fmt: skip
    status = project.run("status")
    assert "hunter2" not in status.stdout
    assert changed(project.json("status")["drift"]) == expected
    planned = project.json("plan")
    assert changed(planned["drift"]["resources"]) == expected
    assert planned["drift"]["compared"] == {}
    finding = next(each for each in project.json("doctor")["checks"] if each["name"] == "drift")
    assert finding["status"] == "warning"
    assert "MemorySize is 1024 instead of 512" in finding["evidence"]

    # The image is that of the stack, so a release leaves it, and says so if it has anything to do.
    assert not project.json("up")["changed"]
    assert live(aws)["Version"] == by_hand

    reverted = project.json("up", "--revert-drift")
    assert reverted["changed"]
    assert reverted["reverted"] == [NAME, f"{NAME}:live"]
    assert live(aws)["Version"] == version
    assert live(aws)["MemorySize"] == 512
    unpublished = aws.client("lambda").get_function_configuration(FunctionName=NAME)
    assert unpublished["LoggingConfig"] == {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": NAME}
    assert "Concurrency" not in aws.client("lambda").get_function(FunctionName=NAME)
    assert project.json("status")["drift"] == []
    assert not project.json("up", "--revert-drift")["changed"]


def test_cloudformation_finds_what_is_no_function(project: Project) -> None:
    logs = project.aws.client("logs")
    assert project.json("plan", "--drift")["drift"]["resources"] == []
    logs.put_retention_policy(logGroupName=NAME, retentionInDays=1)
    planned = project.json("plan", "--drift", code=2)
    assert changed(planned["drift"]["resources"]) == {(NAME, "RetentionInDays")}
    assert planned["drift"]["compared"] == {"drifting-registry-dev": "detection", "drifting-pipeline-dev": "detection"}
    # The embedded AWS has no drift-aware change sets, which is said.
    assert "reverts no drift" in project.run("up", "--revert-drift").stderr


def test_a_function_that_was_deleted_is_named(project: Project) -> None:
    project.aws.client("lambda").delete_function(FunctionName=NAME)
    status = project.json("status")
    assert [each["state"] for each in status["functions"]] == ["gone"]
    assert [each["deleted"] for each in status["drift"]] == [True]


@pytest.mark.parametrize(
    "arguments", [("plan", "--drift", "--out", "plan.json"), ("up", "environments.toml", "--revert-drift")]
)
def test_a_plan_in_a_file_reverts_no_drift(project: Project, arguments: tuple[str, ...]) -> None:
    assert "cannot be combined" in project.run(*arguments, code=2).stderr
