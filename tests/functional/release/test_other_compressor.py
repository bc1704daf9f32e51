"""A machine whose zlib compresses differently releases nothing: an image is recognised by its config digest.

The other zlib is a ``sitecustomize`` in the child process, so the program under test is unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.functional.command_line import CommandLine, copy_project

OTHER_ZLIB = """
import zlib
_usual = zlib.compressobj
def compressobj(level=-1, *others, **settings):
    return _usual(9, *others, **settings)
zlib.compressobj = compressobj
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("compressor")
    line = CommandLine(folder / "local", project=copy_project(folder / "project"))
    yield line
    line.run("down")


@pytest.fixture(scope="module")
def released(line: CommandLine) -> Any:
    return line.json("up")


@pytest.fixture(scope="module")
def other(line: CommandLine, released: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``line`` with a cache of its own and another zlib: arguments in, JSON out."""
    folder = tmp_path_factory.mktemp("another machine")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(OTHER_ZLIB)
    machine = replace(line, cache=folder / "cache")

    def run(*arguments: str, code: int = 0) -> Any:
        return machine.json(*arguments, code=code, PYTHONPATH=str(folder / "site"))

    return run


def test_the_other_machine_builds_other_manifests(released: Any, other: Any) -> None:
    ours = {each["name"].removesuffix("-dev"): each["digest"] for each in released["functions"]}
    theirs = {each["name"]: each["digest"] for each in other("build")["functions"]}
    assert ours.keys() == theirs.keys()
    assert not set(ours.values()) & set(theirs.values())


def test_plan_finds_nothing_to_do(other: Any) -> None:
    plan = other("plan")  # exit code 0: nothing would change
    assert not any(each["changes"] for each in plan["functions"])


def test_up_changes_nothing_and_keeps_the_deployed_digests(released: Any, other: Any) -> None:
    again = other("up")
    assert again["changed"] is False
    assert again["functions"] == released["functions"]
    assert "sample" not in again


def test_a_change_of_one_function_releases_that_function_alone(line: CommandLine, released: Any, other: Any) -> None:
    handler = line.project / "images" / "fraud-detection" / "handler.py"
    kept = handler.read_text()
    handler.write_text(kept + "\n# another line\n")
    try:
        changed = other("up")
    finally:
        handler.write_text(kept)
    before = {each["name"]: each["digest"] for each in released["functions"]}
    after = {each["name"]: each["digest"] for each in changed["functions"]}
    assert [name for name in before if before[name] != after[name]] == ["fraud-detection-dev"]
    assert line.json("up")["changed"] is True  # the first machine puts its own line back
