"""Draw a state machine definition as SVG, optionally with one path highlighted and a note at each state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from pipeline.transactions.ways import TURNS, follow, followers

_WIDTH, _HEIGHT, _ROW, _COLUMN, _MARGIN = 132, 36, 64, 208, 28
# Columns from left to right: these states, other states off the main path, the main path, states that can only fail.
# Two columns on the left keep lines from crossing.
_FAR_LEFT = ("Recall", "Known", "Wait")
STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2933;text-anchor:middle}
.small,.note{font-size:11px;fill:#52606d;text-anchor:start}
rect,polygon,ellipse{fill:#fff;stroke:#7b8794;stroke-width:1.2}
.fail{stroke:#c0392b}.group{fill:#f5f7fa;stroke-dasharray:4 3}
.way{fill:#d8f3dc;stroke:#2d6a4f;stroke-width:2.2}
path{fill:none;stroke:#9aa5b1;stroke-width:1.2}
path.on{stroke:#2d6a4f;stroke-width:2.6}
.ground{stroke:none}.tip{fill:#9aa5b1;stroke:none}.tip-on{fill:#2d6a4f;stroke:none}
.parks{fill:#c0392b;stroke:none}
"""


@dataclass(frozen=True, slots=True)
class Box:
    """The box of a state in pixels; x and y are its centre."""

    x: float
    y: float
    width: float = _WIDTH
    height: float = _HEIGHT


def draw(
    definition: Mapping[str, Any],
    way: Sequence[str] = (),
    title: str = "",
    *,
    notes: Mapping[str, str] | None = None,
    styled: bool = True,
) -> str:
    """An SVG document of all states and transitions, with ``way`` highlighted.

    notes   a short text at the box of a state
    styled  with colours of its own; without, the page that it is part of styles its classes

    A red dot marks a state that may park the submission. The output is deterministic.
    """
    notes = notes or {}
    boxes, inner = _place(definition)
    width = max(box.x + box.width / 2 for box in boxes.values()) + _MARGIN
    height = max(box.y + box.height / 2 for box in boxes.values()) + 2 * _MARGIN + 10
    marked = set(way)
    steps = set(_steps(definition, way))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img">',
        f"<title>{escape(title or 'The state machine')}</title>",
        *([f"<style>{STYLE}</style>"] if styled else []),
        "<defs>" + tip("tip") + tip("tip-on") + "</defs>",
        f'<rect class="ground" x="0" y="0" width="{width:.0f}" height="{height:.0f}"/>',
    ]
    edges = _edges(definition)
    parts += [_line(boxes, start, end, False) for start, end in edges if (start, end) not in steps]
    parts += [_line(boxes, start, end, True) for start, end in sorted(steps)]
    for name, state in definition["States"].items():
        parts.append(_drawn(name, state, boxes[name], name in marked))
        if state["Type"] == "Parallel":
            for branch in state["Branches"]:
                task = branch["StartAt"]
                parts.append(_drawn(task, branch["States"][task], inner[task], task in marked))
    parts += [_note(boxes[name], text) for name, text in notes.items() if name in boxes]
    parts += [_note(inner[name], text, within=boxes) for name, text in notes.items() if name in inner]
    parts.append(f'<circle class="parks" cx="{_MARGIN}" cy="{height - _MARGIN + 6}" r="4"/>')
    parts.append(
        f'<text class="small" x="{_MARGIN + 10}" y="{height - _MARGIN + 10}">parks the submission on error</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _place(definition: Mapping[str, Any]) -> tuple[dict[str, Box], dict[str, Box]]:
    """Boxes of the states, and of the tasks inside Parallel states."""
    states = definition["States"]
    straight = [name for name in follow(definition, TURNS["flagged"]) if name in states]
    failing = [name for name in states if name not in straight and not _can_end_well(states, name)]
    others = [name for name in states if name not in straight and name not in failing]
    far = [name for name in others if name in _FAR_LEFT]
    near = [name for name in others if name not in far]
    columns = [column for column in (far, near, straight, failing) if column]
    rows = max(len(column) for column in columns)
    boxes: dict[str, Box] = {}
    inner: dict[str, Box] = {}
    x: float = _MARGIN + 24
    for column in columns:
        groups = [len(states[name].get("Branches", [])) for name in column]
        wide = max(_WIDTH, *(count * (_WIDTH + 12) + 12 for count in groups), 0)
        x += wide / 2
        gap = _ROW * (rows - 1) / max(len(column) - 1, 1) if column is not failing else _ROW
        first = _MARGIN + _HEIGHT + (_ROW if column is not straight else 0) * (len(column) < rows)
        gap = min(gap, _ROW * (rows - 1 - (len(column) < rows)) / max(len(column) - 1, 1))
        for row, name in enumerate(column):
            y = first + row * gap
            count = len(states[name].get("Branches", []))
            boxes[name] = Box(x, y, count * (_WIDTH + 12) + 12, _HEIGHT + 14) if count else Box(x, y)
            for index, branch in enumerate(states[name].get("Branches", [])):
                offset = (index - (count - 1) / 2) * (_WIDTH + 12)
                inner[branch["StartAt"]] = Box(x + offset, y)
        x += wide / 2 + _COLUMN - _WIDTH
    return boxes, inner


def _can_end_well(states: Mapping[str, Any], name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a Succeed state is reachable."""
    if states[name]["Type"] == "Succeed":
        return True
    return any(
        after not in seen and _can_end_well(states, after, seen | {name}) for _kind, after in followers(states[name])
    )


def _edges(definition: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All transitions except those to Park, which the dots show."""
    found: dict[tuple[str, str], None] = {}
    for name, state in definition["States"].items():
        for _kind, after in followers(state):
            if after != "Park":
                found[name, after] = None
    return list(found)


def _steps(definition: Mapping[str, Any], way: Sequence[str]) -> list[tuple[str, str]]:
    top = [name for name in way if name in definition["States"]]
    return list(pairwise(top))


def _parks(state: Mapping[str, Any]) -> bool:
    return any(after == "Park" for _kind, after in followers(state))


def shape(name: str, state: Mapping[str, Any], box: Box, marked: bool) -> str:
    """The box of a state with its name."""
    left, top = box.x - box.width / 2, box.y - box.height / 2
    right, bottom = left + box.width, top + box.height
    kinds = [kind for kind, on in (("way", marked), ("fail", state["Type"] == "Fail")) if on]
    label = f'<text x="{box.x:.0f}" y="{box.y + 4:.0f}">{escape(name)}</text>'
    size = f'x="{left:.0f}" y="{top:.0f}" width="{box.width:.0f}" height="{box.height:.0f}"'
    match state["Type"]:
        case "Parallel" | "Map" if box.height > _HEIGHT:
            kinds.insert(0, "group")
            outline = f'rect {size} rx="8"'
            label = f'<text class="small" x="{left + 6:.0f}" y="{top - 4:.0f}">{escape(name)}</text>'
        case "Choice":
            corners = [(left, box.y), (left + 16, top), (right - 16, top), (right, box.y)]
            corners += [(right - 16, bottom), (left + 16, bottom)]
            outline = f'polygon points="{" ".join(f"{x:.0f},{y:.0f}" for x, y in corners)}"'
        case "Succeed" | "Fail":
            outline = f'ellipse cx="{box.x:.0f}" cy="{box.y:.0f}" rx="{box.width / 2:.0f}" ry="{box.height / 2:.0f}"'
        case _:
            outline = f'rect {size} rx="6"'
    classes = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{outline}{classes}/>{label}"


def _drawn(name: str, state: Mapping[str, Any], box: Box, marked: bool) -> str:
    """The box of a state, with a dot if it may park the submission."""
    right, top = box.x + box.width / 2, box.y - box.height / 2
    dot = f'<circle class="parks" cx="{right:.0f}" cy="{top:.0f}" r="4"/>' if _parks(state) else ""
    return shape(name, state, box, marked) + dot


def _line(boxes: Mapping[str, Box], start: str, end: str, on: bool) -> str:
    """A line between two boxes: straight down within a column; curved between columns or upwards."""
    first, last = boxes[start], boxes[end]
    if first.x == last.x and last.y > first.y and not _between(boxes, first, last):
        path = f"M{first.x:.0f} {first.y + first.height / 2:.0f}L{last.x:.0f} {last.y - last.height / 2 - 2:.0f}"
    elif first.x == last.x:
        x = first.x - first.width / 2
        to = last.x - last.width / 2
        path = f"M{x:.0f} {first.y:.0f}C{x - 44:.0f} {first.y:.0f} {to - 44:.0f} {last.y:.0f} {to - 2:.0f} {last.y:.0f}"
    else:
        side = 1 if last.x > first.x else -1
        x, to = first.x + side * first.width / 2, last.x - side * last.width / 2
        bend = abs(to - x) / 2
        path = (
            f"M{x:.0f} {first.y:.0f}C{x + side * bend:.0f} {first.y:.0f} {to - side * bend:.0f} {last.y:.0f}"
            f" {to - side * 2:.0f} {last.y:.0f}"
        )
    marks = 'class="on" marker-end="url(#tip-on)"' if on else 'marker-end="url(#tip)"'
    return f'<path {marks} d="{path}"/>'


def _note(box: Box, text: str, within: Mapping[str, Box] | None = None) -> str:
    """A text below the box, out of the way of the line that leaves it, or that leaves the Parallel around it."""
    # A branch to the left of that line ends its text before it.
    x = box.x + 6
    if within is not None and any(each.y == box.y and 0 < each.x - box.x < each.width / 2 for each in within.values()):
        x = box.x - box.width / 2
    return f'<text class="note" x="{x:.0f}" y="{box.y + box.height / 2 + 13:.0f}">{escape(text)}</text>'


def _between(boxes: Mapping[str, Box], first: Box, last: Box) -> bool:
    return any(box.x == first.x and first.y < box.y < last.y for box in boxes.values())


def tip(name: str) -> str:
    """The definition of an arrow's tip of the class ``name``."""
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        f' markerUnits="userSpaceOnUse"><path class="{name}" d="M0 0L8 4L0 8z"/></marker>'
    )
