"""``plan --out`` and ``up PLAN``: exactly what was planned is deployed, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

HANDLER = "def handle(event, context):\n    return {}\n"


@pytest.fixture(scope="module")
def shop(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("exact"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "exact"\n')
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    project.write("images/hello/handler.py", HANDLER.format("1"))
    yield project
    project.run("down", code=(0, 1))


def refused(shop: Project, *arguments: str) -> str:
    error = shop.json("up", "plan.json", *arguments, code=1)
    assert error["what"].startswith("nothing was deployed: ")
    return str(error["why"])


def test_a_new_environment_is_deployed_as_planned(shop: Project) -> None:
    planned = shop.json("plan", "--out", "plan.json", code=2)
    assert planned["out"] == "plan.json"
    assert shop.json("up", "plan.json")["changed"]
    assert shop.invoke("hello", {}) == 1
    assert not shop.json("up", "plan.json")["changed"]


def test_sources_that_changed_after_the_plan_are_not_deployed(shop: Project) -> None:
    shop.write("images/hello/handler.py", HANDLER.format("2"))
    shop.run("plan", "--out", "plan.json", code=2)
    shop.write("images/hello/handler.py", HANDLER.format("3"))
    shop.write("images/hello/function.toml", 'handler = "handler.handle"\nmemory = 512\n')
    why = refused(shop)
    assert "the image of hello is another one: its sources changed" in why
    assert "the template of exact-pipeline-dev is another one" in why
    assert shop.invoke("hello", {}) == 1


def test_a_stack_that_changed_after_the_plan_is_not_updated(shop: Project) -> None:
    shop.run("plan", "--out", "plan.json", code=2)
    planned = (shop.folder / "images/hello/handler.py").read_text()
    shop.write("images/hello/handler.py", HANDLER.format("4"))
    shop.run("up")
    shop.write("images/hello/handler.py", planned)
    assert "the stack exact-pipeline-dev was changed after the plan was made" in refused(shop)
    assert shop.invoke("hello", {}) == 4


def test_the_plan_of_another_environment_or_a_changed_one_is_refused(shop: Project) -> None:
    shop.run("plan", "--out", "plan.json", code=2)
    assert "it is a plan for exact/dev, and this is exact/other" in refused(shop, "--environment", "other")
    assert "/eu-west-1" in refused(shop, "--region", "eu-west-1")
    plan = json.loads((shop.folder / "plan.json").read_text())
    plan["plan"]["environment"] = "exact/other"
    shop.write("plan.json", json.dumps(plan))
    assert "it was changed after it was written" in refused(shop, "--environment", "other")
    shop.run("up", "gone.json", code=2)
