"""The recording of a terminal that the README shows."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from tests.functional.recording import Frame, draw, record

SVG = "{http://www.w3.org/2000/svg}"


def test_what_a_shell_shows_is_recorded(tmp_path: Path) -> None:
    frames = record(["echo $((6 * 7))", r"printf '\033[1;32m<&>\033[0m\n'"], {"PATH": os.environ["PATH"]}, tmp_path)
    last = frames[-2].lines
    assert ["".join(run[0] for run in line).rstrip() for line in last[:4]] == [
        "$ echo $((6 * 7))",
        "42",
        r"$ printf '\033[1;32m<&>\033[0m\n'",
        "<&>",
    ]
    assert last[3][0] == ("<&>", "green", True)
    assert all(earlier.at < later.at for earlier, later in pairwise(frames))


def test_a_drawing_holds_each_line_once_and_shows_the_last_screen_without_animation() -> None:
    prompt, answer = (("$ a<b", "default", False),), (("done", "green", True), (" &c", "default", False))
    drawing = draw([Frame(0.0, (prompt,)), Frame(1.0, (prompt, answer)), Frame(4.0, ())])
    tree = ElementTree.fromstring(drawing)
    assert ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")] == ["$ a<b", "done &c"]
    assert len([*tree.iter(f"{SVG}use")]) == 3
    assert re.findall(r"([\d.]+)%\{transform:translateY\((-?\d+)px\)", drawing) == [
        ("0.00", "0"),
        ("25.00", "-526"),
        ("100", "-526"),
    ]
    assert "#film{transform:translateY(-526px)" in drawing
