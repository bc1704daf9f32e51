"""The drawing of the state machine is complete, well-formed and equal to the one in docs/."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cfn.workflow.composition import definition
from commands.pictures import pictures
from pipeline.transactions.drawing import draw
from pipeline.transactions.ways import TURNS, follow, tasks

DEFINITION = definition()
SVG = "{http://www.w3.org/2000/svg}"


def labels(text: str) -> set[str]:
    return {element.text or "" for element in ET.fromstring(text).iter(f"{SVG}text")}


def test_every_state_is_in_the_picture() -> None:
    shown = {name for name in tasks(DEFINITION) if not (name.endswith("Failed"))}
    assert shown <= labels(draw(DEFINITION))


@pytest.mark.parametrize("kind", TURNS)
def test_every_state_of_a_path_is_highlighted(kind: str) -> None:
    way = follow(DEFINITION, TURNS[kind])
    root = ET.fromstring(draw(DEFINITION, way))
    marked = [element for element in root.iter() if "way" in (element.get("class") or "").split()]
    assert len(marked) == len([name for name in way if not name.endswith("Failed")])
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "on"]) == (
        len([name for name in way if name in DEFINITION["States"]]) - 1
    )


def test_nothing_is_highlighted_without_a_path() -> None:
    root = ET.fromstring(draw(DEFINITION))
    assert not [element for element in root.iter() if "way" in (element.get("class") or "").split()]


def test_everything_is_inside_the_picture() -> None:
    root = ET.fromstring(draw(DEFINITION))
    _left, _top, width, height = (float(number) for number in (root.get("viewBox") or "").split())
    for element in root.iter(f"{SVG}text"):
        assert 0 < float(element.get("x") or 0) < width
        assert 0 < float(element.get("y") or 0) < height


def test_no_two_boxes_overlap() -> None:
    root = ET.fromstring(draw(DEFINITION))
    boxes = [
        tuple(float(element.get(key) or 0) for key in ("x", "y", "width", "height"))
        for element in root.iter(f"{SVG}rect")
        if element.get("rx") == "6"
    ]
    for index, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[index + 1 :]:
            apart = (
                x + width <= other_x
                or other_x + other_width <= x
                or y + height <= other_y
                or other_y + other_height <= y
            )
            assert apart


def test_a_new_state_is_drawn() -> None:
    more = copy.deepcopy(DEFINITION)
    more["States"]["Wait"]["Next"] = "Another <one>"
    more["States"]["Another <one>"] = {"Type": "Pass", "Next": "Recall"}
    assert "Another <one>" in labels(draw(more))


@pytest.mark.parametrize("path", pictures(), ids=lambda path: path.name)
def test_the_documentation_shows_what_is_deployed(path: Path) -> None:
    assert path.read_text() == pictures()[path], "run make docs"
