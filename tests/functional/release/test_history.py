"""Releases one after the other: planned, recorded, rolled back, and taken back when nothing answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import CommandLine, copy_project


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("history")
    line = CommandLine(folder / "local", project=copy_project(folder / "project"))
    yield line
    line.run("down")


def edit(line: CommandLine, text: str, function: str = "fraud-detection") -> None:
    """Change the code of one function."""
    handler = line.project / "images" / function / "handler.py"
    handler.write_text(handler.read_text() + text)


def digests(line: CommandLine) -> dict[str, Any]:
    return {each["name"]: each["digest"] for each in line.json("status")["functions"]}


@pytest.fixture(scope="module")
def two_releases(line: CommandLine) -> list[dict[str, Any]]:
    """What ran after the first and after the second release; the second changed one line of one function."""
    line.json("up")
    first = digests(line)
    edit(line, "\n# a second release\n")
    planned = line.json("plan", code=2)
    assert [each["name"] for each in planned["functions"] if each["changes"]] == ["fraud-detection-dev"]
    assert [stack["decision"] for stack in planned["stacks"]] == ["nothing", "update"]
    released = line.json("up")
    assert released["release"] == 2
    # The plan showed what was done.
    assert {each["name"]: each["to"] for each in planned["functions"]} == {
        each["name"]: each["image"] for each in released["functions"]
    }
    return [first, digests(line)]


def test_a_plan_says_that_a_deleted_image_is_pushed_again(
    line: CommandLine, two_releases: list[dict[str, Any]]
) -> None:
    ran = two_releases[1]["fraud-detection-dev"]
    ecr = line.client("ecr")
    ecr.batch_delete_image(repositoryName="fraud-detection-dev", imageIds=[{"imageDigest": ran}])
    planned = line.json("plan", code=2)
    assert [each["name"] for each in planned["functions"] if each["missing"]] == ["fraud-detection-dev"]
    assert "is missing from its repository and is pushed again" in line.run("plan", code=2).stdout
    line.json("up")
    assert not line.json("plan", code=0)["changes"]


def test_one_changed_line_switches_one_function(two_releases: list[dict[str, Any]]) -> None:
    first, second = two_releases
    assert [name for name in first if first[name] != second[name]] == ["fraud-detection-dev"]


def test_releases_are_kept_with_what_ran(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    kept = {each["number"]: each for each in line.json("releases")["releases"]}
    for number, ran in ((1, two_releases[0]), (2, two_releases[1])):
        assert {f"{each['name']}-dev": each["digest"] for each in kept[number]["functions"]} == ran


def test_a_rollback_switches_back_and_is_a_release_itself(
    line: CommandLine, two_releases: list[dict[str, Any]]
) -> None:
    back = line.json("rollback")
    assert (back["to"], back["changed"]) == (1, True)
    assert digests(line) == two_releases[0]
    forth = line.json("rollback", "--to", "2")
    assert digests(line) == two_releases[1]
    assert forth["release"] > back["release"] > 2


def test_a_rollback_to_nowhere_is_refused(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    assert "no such number" in line.json("rollback", "--to", "99", code=1)["why"]
    assert digests(line) == two_releases[1]


def test_prune_keeps_what_runs_and_what_is_young(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    pruned = line.json("prune", "--keep", "1")
    assert pruned["delete"] == []
    kept = {each["digest"] for each in pruned["kept"]}
    assert set(two_releases[1].values()) <= kept


def test_nothing_to_do_is_exit_code_0(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    planned = line.json("plan")
    assert planned["changes"] is False


def test_a_release_that_does_not_answer_is_taken_back(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    handler = line.project / "images" / "fraud-detection" / "handler.py"
    good = handler.read_text()
    edit(line, "\nraise RuntimeError('broken at import')\n")
    error = line.json("up", code=1)
    assert "taken back" in error["what"]
    assert digests(line) == two_releases[1]
    handler.write_text(good)
    assert line.json("up")["functions"]
    assert digests(line) == two_releases[1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "function.toml").write_text("handler = 3"), "handler"),
        (lambda folder: (folder / "function.toml").write_text("not toml"), "function.toml"),
        (lambda folder: folder.rename(folder.with_name("Bad_Name")), "Bad_Name"),
    ],
)
def test_a_broken_function_is_named_before_anything_starts(tmp_path: Path, damage: Any, said: str) -> None:
    line = CommandLine(tmp_path / "local", project=copy_project(tmp_path / "project"))
    damage(line.project / "images" / "fraud-detection")
    error = line.json("up", code=1)
    assert said in error["what"] + error["why"]
    assert not line.local.exists()


def test_a_missing_handler_is_found_in_the_build(tmp_path: Path) -> None:
    """Not before, since a dependency could have it."""
    line = CommandLine(tmp_path / "local", project=copy_project(tmp_path / "project"))
    (line.project / "images" / "fraud-detection" / "handler.py").unlink()
    error = line.json("up", code=1)
    assert "handler" in error["what"] + error["why"]
    line.run("down")


def test_status_tells_of_a_function_whose_folder_is_gone(
    line: CommandLine, two_releases: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = line.project / "images" / "fraud-detection"
    folder.rename(tmp_path / "kept")
    try:
        functions = {each["name"]: each["has_folder"] for each in line.json("status")["functions"]}
        told = line.run("status").stdout
    finally:
        (tmp_path / "kept").rename(folder)
    assert functions["fraud-detection-dev"] is False
    assert sum(functions.values()) == 2
    assert re.search(r"fraud-detection-dev .* its folder is gone, so it is deleted by \./bootstrap\.py up", told)


def test_what_was_not_done_is_what_was_asked_for(line: CommandLine, two_releases: list[dict[str, Any]]) -> None:
    assert line.json("explain", "t-1", "--environment", "other", code=1)["what"] == "t-1 was not explained"
