"""One environment in two regions of one embedded AWS: neither knows of the other."""

from __future__ import annotations

from pathlib import Path

from tests.functional.command_line import CommandLine


def test_two_regions_are_released_side_by_side(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "local")
    there = ("--region", "eu-west-1")
    try:
        here = line.json("up")
        abroad = line.json("up", *there)
        for region, released in (("us-east-1", here), ("eu-west-1", abroad)):
            assert released["sample"]["outcome"] == "APPROVED"
            assert all(f".{region}." in function["image"] for function in released["functions"])
        assert [line.json("up")["changed"], line.json("up", *there)["changed"]] == [False, False]
        done = line.json("down", *there)
        assert (len(done["deleted"]), done["stopped"]) == (2, False)
        assert {stack["status"] for stack in line.json("status")["stacks"]} == {"CREATE_COMPLETE"}
    finally:
        done = line.json("down")
    assert (len(done["deleted"]), done["stopped"]) == (2, True)
