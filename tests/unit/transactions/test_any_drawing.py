"""Any definition is drawn: every state once, nothing outside, boxes apart, the way highlighted."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from cfn.workflow.composition import definition, every_state
from pipeline.transactions.any_drawing import draw_any

SVG = "{http://www.w3.org/2000/svg}"
PASS: dict[str, Any] = {"Type": "Pass", "End": True}
NESTED: dict[str, Any] = {
    "StartAt": "Try <it>",
    "States": {
        "Try <it>": {"Type": "Task", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Park"}], "Next": "Both"},
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "One", "States": {"One": {"Type": "Pass", "Next": "Two"}, "Two": PASS}},
                {"StartAt": "Each", "States": {"Each": {
                    "Type": "Map", "End": True,
                    "ItemProcessor": {"StartAt": "Valid", "States": {"Valid": {"Type": "Choice", "Choices": [
                        {"Next": "Valid"}], "Default": "Kept"}, "Kept": PASS}},
                }}},
            ],
            "Next": "Again",
        },
        "Again": {"Type": "Choice", "Choices": [{"Next": "Try <it>"}], "Default": "Park"},
        "Park": {"Type": "Fail"},
        "Unreachable": {"Type": "Succeed"},
    },
}  # fmt: skip


def boxes(root: ET.Element) -> list[tuple[float, ...]]:
    return [
        tuple(float(each.get(key) or 0) for key in ("x", "y", "width", "height"))
        for each in root.iter(f"{SVG}rect")
        if each.get("rx") == "6"
    ]


@pytest.mark.parametrize("machine", [NESTED, definition()], ids=["nested", "shipped"])
def test_every_state_is_drawn_once_and_inside(machine: dict[str, Any]) -> None:
    root = ET.fromstring(draw_any(machine))
    labels = [each.text for each in root.iter(f"{SVG}text")]
    assert sorted(map(str, labels)) == sorted(name for name, _state in every_state(machine))
    _left, _top, width, height = (float(number) for number in (root.get("viewBox") or "").split())
    for each in root.iter(f"{SVG}text"):
        assert 0 < float(each.get("x") or 0) < width
        assert 0 < float(each.get("y") or 0) < height
    found = boxes(root)
    for index, (x, y, wide, tall) in enumerate(found):
        for other_x, other_y, other_wide, other_tall in found[index + 1 :]:
            assert x + wide <= other_x or other_x + other_wide <= x or y + tall <= other_y or other_y + other_tall <= y


def test_a_way_is_highlighted_also_into_branches() -> None:
    root = ET.fromstring(draw_any(NESTED, ["Try <it>", "Both", "One", "Two"], "a title"))
    assert len([each for each in root.iter() if "way" in (each.get("class") or "").split()]) == 4
    assert len([each for each in root.iter(f"{SVG}path") if each.get("class") == "on"]) == 2
    assert root.findtext(f"{SVG}title") == "a title"


def test_a_long_name_fits_its_box() -> None:
    machine = {"StartAt": "x" * 80, "States": {"x" * 80: PASS}}
    (label,) = ET.fromstring(draw_any(machine)).iter(f"{SVG}text")
    assert label.text == "x" * 21 + "…"


def test_it_is_deterministic() -> None:
    assert draw_any(NESTED) == draw_any(json.loads(json.dumps(NESTED)))
