"""Projects whose functions have a Dockerfile of their own: a package of the distribution, and another language."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project
from tests.functional.projects.test_kinds import PROJECTS

PRICES = {"items": [{"price": 2}, {"price": 3.5}]}


@pytest.mark.any_engine
@pytest.mark.parametrize(
    ("kind", "function", "event", "change", "answers"),
    [
        ("apt-package", "query", PRICES, ("handler.py", "| add", "| max"), (5.5, 3.5)),
        (
            "node", "greet", {"name": "you"}, ("greet.mjs", "Hello", "Welcome"),
            ({"greeting": "Hello, you!", "node": 18}, {"greeting": "Welcome, you!", "node": 18}),
        ),
    ],
    ids=["apt-package", "node"],
)  # fmt: skip
def test_a_kind_of_project(
    kind: str, function: str, event: Any, change: tuple[str, str, str], answers: tuple[Any, Any],
    base: str, container_aws: EmbeddedAws, docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    # An image that an earlier run left in the cache would not be built.
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(PROJECTS / kind, tmp_path / kind)
    project = Project(tmp_path / kind, container_aws)
    dockerfile = project.folder / "images" / function / "Dockerfile"
    # No image can be pulled here: the base of these tests stands for the one that the Dockerfile names.
    dockerfile.write_text(re.sub(r"^FROM .*", f"FROM {base}", dockerfile.read_text()))
    before, after = answers
    try:
        assert len(project.json("up")["smoked"]) == 1
        assert project.invoke(function, event) == before
        assert not project.json("up")["changed"]
        name, old, new = change
        path = project.folder / "images" / function / name
        path.write_text(path.read_text().replace(old, new))
        (planned,) = project.json("plan", code=2)["functions"]
        assert planned["why"] == f"1 file ({name})"
        assert project.json("up")["changed"]
        assert project.invoke(function, event) == after
        assert project.json("rollback")["changed"]
        assert project.invoke(function, event) == before
    finally:
        project.run("down", "--yes", code=(0, 1))
