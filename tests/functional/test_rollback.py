"""What a rollback takes back, and what it says of the rest: configuration and functions that came later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.command_line import CommandLine, copy_project


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    place = tmp_path_factory.mktemp("rollback")
    line = CommandLine(place / "local", place / "cache", copy_project(place / "project"))
    # CodeDeploy's, which the embedded AWS does not have: there the alias moves at once.
    (line.project / "environments.toml").write_text('[defaults]\nrelease = "LambdaCanary10Percent5Minutes"\n')
    yield line
    line.run("down")


def functions(line: CommandLine) -> dict[str, Any]:
    return {each["name"]: each["digest"] for each in line.json("releases")["releases"][0]["functions"]}


@pytest.fixture(scope="module")
def first(line: CommandLine) -> dict[str, Any]:
    assert line.json("up")["release"] == 1
    return functions(line)


def test_configuration_stays_and_is_told(line: CommandLine, first: dict[str, Any]) -> None:
    definition = line.project / "images" / "fraud-detection" / "function.toml"
    before = definition.read_text()
    definition.write_text(before.replace("memory = 3072", "memory = 1024"))
    assert line.json("up")["release"] == 2
    assert functions(line) == first
    memory = line.client("lambda").get_function_configuration(FunctionName="fraud-detection-dev")["MemorySize"]
    assert memory == 1024
    back = line.json("rollback")
    assert (back["to"], back["changed"], back["not_taken_back"]) == (1, False, ["template"])
    told = line.run("rollback").stdout
    assert "dev runs the images of release 1 already\n" in told
    assert "switches images alone: template\nNext: check out what it was made from, then ./bootstrap.py up\n" in told
    listed = line.run("releases").stdout.splitlines()
    assert [number.split()[0] for number in listed] == ["2", "1"]
    assert [each.endswith("  changed: template") for each in listed] == [True, False]
    definition.write_text(before)
    assert line.json("up")["release"] == 3


def test_a_function_that_came_later_stays_and_is_part_of_the_release(line: CommandLine, first: dict[str, Any]) -> None:
    images = line.project / "images"
    shutil.copytree(images / "fraud-detection", images / "velocity-check")
    handler = images / "fraud-detection" / "handler.py"
    handler.write_text(handler.read_text() + "\n# later\n")
    added = line.json("up")["release"]
    later = functions(line)
    assert set(later) == {*first, "velocity-check"}
    told = line.run("rollback", "--to", "1").stdout
    assert told.startswith(f"dev runs the images of release 1 again, recorded as release {added + 1}\n")
    assert f"  {'velocity-check-dev':<40} stays as it is: release 1 did not have it\n" in told
    assert functions(line) == {**first, "velocity-check": later["velocity-check"]}
    again = line.json("rollback", "--to", "1")
    assert (again["changed"], again["unaffected"]) == (False, ["velocity-check-dev"])
    assert again["not_taken_back"] == ["template"]
    # All four, so the way forth is whole.
    assert line.json("rollback", "--to", str(added))["unaffected"] == []
    assert functions(line) == later
