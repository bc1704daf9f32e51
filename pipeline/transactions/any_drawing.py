"""Draw any definition in the Amazon States Language as SVG: a row for each step from the start, branches in boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from pipeline.transactions.drawing import STYLE, Box, shape, tip
from pipeline.transactions.ways import followers

_WIDTH, _HEIGHT, _GAP, _ROW, _MARGIN, _HEADER = 160, 36, 40, 28, 28, 22
# Characters of a state's name that fit into its box.
_LABEL_MAX = 22


@dataclass(frozen=True, slots=True)
class _Group:
    """A machine with its boxes, whose places are relative to its upper left corner.

    states  every state in it, with those of branches
    edges   every transition in it
    """

    states: Mapping[str, Mapping[str, Any]]
    boxes: Mapping[str, Box]
    edges: Sequence[tuple[str, str]]
    width: float
    height: float


def draw_any(definition: Mapping[str, Any], way: Sequence[str] = (), title: str = "", *, styled: bool = True) -> str:
    """An SVG document of all states and transitions, with the states of ``way`` highlighted. Deterministic.

    styled  as for ``drawing.draw``
    """
    whole = _arrange(definition)
    marked, steps = set(way), set(pairwise(way))
    width, height = whole.width + 2 * _MARGIN, whole.height + 2 * _MARGIN
    boxes = {name: _moved(box, _MARGIN, _MARGIN) for name, box in whole.boxes.items()}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img">',
        f"<title>{escape(title or 'The state machine')}</title>",
        *([f"<style>{STYLE}</style>"] if styled else []),
        "<defs>" + tip("tip") + tip("tip-on") + "</defs>",
        f'<rect class="ground" x="0" y="0" width="{width:.0f}" height="{height:.0f}"/>',
    ]
    groups = [name for name in whole.states if boxes[name].height > _HEIGHT]
    shapes = {name: shape(_short(name), state, boxes[name], name in marked) for name, state in whole.states.items()}
    # Boxes hide the lines behind them, and groups hide nothing.
    parts += [shapes.pop(name) for name in groups]
    parts += [_line(*(boxes[name] for name in edge), on=edge in steps) for edge in whole.edges]
    parts += shapes.values()
    return "\n".join([*parts, "</svg>", ""])


def _arrange(machine: Mapping[str, Any]) -> _Group:
    """Each state in the row of its distance from the start; a Parallel or a Map is as large as what is in it."""
    states: dict[str, Mapping[str, Any]] = {}
    boxes: dict[str, Box] = {}
    edges: list[tuple[str, str]] = []
    groups_of: dict[str, list[_Group]] = {}
    rows: list[tuple[list[str], float]] = []
    top = width = 0.0
    for row in _rows(machine):
        groups_of |= {name: [_arrange(inner) for inner in _inner(machine["States"][name])] for name in row}
        sizes = {name: _size(groups_of[name]) for name in row}
        height = max(tall for _wide, tall in sizes.values())
        left = 0.0
        for name in row:
            wide, tall = sizes[name]
            states[name] = machine["States"][name]
            boxes[name] = Box(left + wide / 2, top + height / 2, wide, tall)
            x = left + _GAP / 2
            for group in groups_of[name]:
                states |= group.states
                y = top + (height - tall) / 2 + _HEADER
                boxes |= {each: _moved(box, x, y) for each, box in group.boxes.items()}
                edges += group.edges
                x += group.width + _GAP / 2
            edges += dict.fromkeys((name, after) for _kind, after in followers(machine["States"][name]))
            left += wide + _GAP
        rows.append((row, left - _GAP))
        width = max(width, left - _GAP)
        top += height + _ROW
    centred: dict[str, Box] = {}
    for row, wide in rows:
        for name in row:
            inside = [name, *(each for group in groups_of[name] for each in group.states)]
            centred |= {each: _moved(boxes[each], (width - wide) / 2, 0) for each in inside}
    return _Group(states, centred, edges, width, top - _ROW)


def _rows(machine: Mapping[str, Any]) -> Iterator[list[str]]:
    """The states by their distance from the start; those that nothing leads to come last."""
    seen: dict[str, None] = {}
    row = [machine["StartAt"]]
    while row:
        seen |= dict.fromkeys(row)
        yield row
        after = dict.fromkeys(after for name in row for _kind, after in followers(machine["States"][name]))
        row = [name for name in after if name not in seen]
    if rest := [name for name in machine["States"] if name not in seen]:
        yield rest


def _inner(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*state.get("Branches", []), *(state[field] for field in ("ItemProcessor", "Iterator") if field in state)]


def _size(groups: Sequence[_Group]) -> tuple[float, float]:
    if not groups:
        return _WIDTH, _HEIGHT
    wide = sum(group.width + _GAP / 2 for group in groups) + _GAP / 2
    return wide, max(group.height for group in groups) + _HEADER + _GAP / 2


def _moved(box: Box, x: float, y: float) -> Box:
    return Box(box.x + x, box.y + y, box.width, box.height)


def _line(first: Box, last: Box, *, on: bool) -> str:
    """From the bottom of a box to the top of one further down, else around the right of both."""
    x, y, to = first.x, first.y + first.height / 2, last.y - last.height / 2 - 2
    if to > y:
        bend = (to - y) / 2
        path = f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {last.x:.0f} {to - bend:.0f} {last.x:.0f} {to:.0f}"
    else:
        x, to = first.x + first.width / 2, last.x + last.width / 2 + 2
        side = max(x, to) + _GAP / 2
        path = f"M{x:.0f} {first.y:.0f}C{side:.0f} {first.y:.0f} {side:.0f} {last.y:.0f} {to:.0f} {last.y:.0f}"
    marks = 'class="on" marker-end="url(#tip-on)"' if on else 'marker-end="url(#tip)"'
    return f'<path {marks} d="{path}"/>'


def _short(name: str) -> str:
    return name if len(name) <= _LABEL_MAX else f"{name[: _LABEL_MAX - 1]}…"
