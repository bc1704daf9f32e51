"""A project without a workflow: deployed, tried, changed, taken back, rolled back and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

HANDLER = "def handle(event, context):\n    return {'greeting': f\"Hello, {event['name']}!\"}\n"


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("alone"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "alone"\n')
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    project.write("images/hello/handler.py", HANDLER)
    project.write("images/hello/events/smoke.json", '{"name": "smoke"}')
    yield project
    project.run("down", code=(0, 1))


def test_it_is_deployed_and_tried_by_its_smoke_event(project: Project) -> None:
    released = project.json("up")
    assert released["smoked"] == ["alone-hello-dev"]
    assert [stack["name"] for stack in released["stacks"]] == ["alone-registry-dev", "alone-pipeline-dev"]
    assert not project.json("up")["changed"]
    assert project.invoke("hello", {"name": "world"}) == {"greeting": "Hello, world!"}


def test_a_change_is_rehearsed_on_recorded_events(project: Project) -> None:
    project.write("recorded/hello/events/one.json", '{"name": "one"}')
    project.write("recorded/hello/events/one.response.json", '{"greeting": "Hello, one!"}')
    assert project.json("rehearse", "recorded")["summary"].endswith("no difference; 0 errors")
    project.write("images/hello/handler.py", HANDLER.replace("Hello", "Welcome"))
    found = project.json("rehearse", "recorded", "--max-changed", "0", code=1)
    assert found["kinds"] == {"hello: recorded to another response": 1}
    assert found["differences"][0]["rules"] == ["hello//greeting"]
    project.write("images/hello/handler.py", "def handle(event, context):\n    raise ValueError('broken')\n")
    assert project.json("rehearse", "recorded", code=1)["errors"][0]["why"] == "hello: ValueError"
    project.write("images/hello/handler.py", HANDLER)
    assert project.invoke("hello", {"name": "world"}) == {"greeting": "Hello, world!"}


def test_a_plan_forecasts_cost_and_time_and_no_load(project: Project) -> None:
    planned = project.json("plan")
    assert planned["changes"] is False
    assert "load" not in planned
    unknown = {"per_month": 1.2, "per_million_invocations": {"alone-hello-dev": None}}
    assert planned["cost"] == {**unknown, "before": unknown}
    assert project.json("cost")["per_million_invocations"] == [{"name": "alone-hello-dev", "usd": None}]
    assert planned["expected"]["work"] == "nothing"
    assert 0 < planned["expected"]["seconds"] < 60
    project.write("images/hello/function.toml", 'handler = "handler.handle"\nmemory = 512\nmilliseconds = 200\n')
    planned = project.json("plan", code=2)
    assert planned["expected"] is None  # no update was recorded
    usd = planned["cost"]["before"]["per_million_invocations"]["alone-hello-dev"]
    assert planned["cost"]["per_million_invocations"]["alone-hello-dev"] < usd
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')


def test_a_release_that_fails_its_smoke_event_is_taken_back(project: Project) -> None:
    project.write("images/hello/handler.py", "def handle(event, context):\n    raise ValueError('broken')\n")
    error = project.json("up", code=1)
    assert error["what"].startswith("the release of dev was taken back")
    assert "ValueError: broken" in error["why"]
    assert project.invoke("hello", {"name": "again"}) == {"greeting": "Hello, again!"}


def test_it_is_changed_and_rolled_back(project: Project) -> None:
    project.write("images/hello/handler.py", HANDLER.replace("Hello", "Goodbye"))
    project.run("up")
    assert project.invoke("hello", {"name": "you"}) == {"greeting": "Goodbye, you!"}
    assert project.json("rollback")["changed"]
    assert project.invoke("hello", {"name": "you"}) == {"greeting": "Hello, you!"}
    assert [release["number"] for release in project.json("releases")["releases"]] == [3, 2, 1]


@pytest.mark.parametrize("arguments", [("submit", "{}"), ("redrive",), ("explain", "x"), ("verify-workflow",)])
def test_commands_of_the_workflow_say_that_there_is_none(project: Project, arguments: tuple[str, ...]) -> None:
    assert project.json(*arguments, code=1)["why"] == "the project alone has functions only, and no workflow"


def test_everything_else_is_read(project: Project) -> None:
    assert [each["name"] for each in project.json("status")["functions"]] == ["alone-hello-dev"]
    assert {check["status"] for check in project.json("doctor", code=0)["checks"]} <= {"ok", "unknown"}
    policy = project.json("doctor", "--policy", "up")
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert "lambda:InvokeFunction" in actions
    assert not {action for action in actions if action.startswith(("states:", "dynamodb:", "sqs:"))}
    assert project.json("prune", "--dry-run")["delete"] == []
    assert {event["source"] for event in project.json("logs")["events"]} <= {"hello"}


def test_it_is_deleted(project: Project) -> None:
    assert project.json("down")["deleted"] == ["alone-pipeline-dev", "alone-registry-dev"]


def test_a_smoke_event_that_is_not_json_is_found_before_anything_starts(tmp_path: Path, project: Project) -> None:
    broken = Project(tmp_path, project.aws)
    broken.write("environments.toml", '[project]\nname = "broken"\n')
    broken.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    broken.write("images/hello/handler.py", HANDLER)
    broken.write("images/hello/events/smoke.json", "{")
    assert "hello/events/smoke.json: it is not a JSON event" in broken.json("up", code=1)["why"]
