"""The recording at the top of the README: the first commands of the tutorial, typed into a terminal.

    python -m tests.functional.recording [FILE]

The commands run for real, in an empty folder and on an embedded AWS of their own; times are those of this machine, so
record on an idle one. The result is an SVG that plays in a loop, without scripts.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from pathlib import Path

import pexpect
import pyte

from pipeline.core.files import write_atomically
from tests.functional.command_line import ROOT

FILE = ROOT / "docs" / "pictures" / "terminal.svg"
COMMANDS = (
    "mkdir shop && cd shop",
    "transaction-pipeline init",
    "transaction-pipeline up",
    "transaction-pipeline invoke hello images/hello/events/smoke.json",
    "sed -i 's/Hello, /Good morning, /' images/hello/handler.py",
    "transaction-pipeline up",
    "transaction-pipeline invoke hello images/hello/events/smoke.json",
)
ROWS, COLUMNS = 26, 100
PROMPT = "$ "
# Seconds: between two keys, after a command's answer, at the end, and of a command before the recording gives up.
KEY, READ, END, LIMIT = 0.03, 1.2, 5.0, 120.0
# Frames that are shown more shortly are left out: no eye sees them.
SHORTEST = 0.15

Run = tuple[str, str, bool]  # text, colour, bold
Line = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen, and the second at which it appeared."""

    at: float
    lines: tuple[Line, ...]


def record(commands: Sequence[str], variables: dict[str, str], folder: Path) -> list[Frame]:
    """Type the commands into a shell in ``folder``. The last frame is empty, and marks the end."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream, frames, started = pyte.Stream(screen), [Frame(0.0, ())], time.monotonic()
    shell = pexpect.spawn(
        "bash", ["--norc", "--noprofile"], cwd=folder, env=variables | {"PS1": PROMPT, "TERM": "xterm-256color"},
        dimensions=(ROWS, COLUMNS), encoding="utf-8", echo=True,
    )  # fmt: skip

    def follow(seconds: float, until_prompt: bool = False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                stream.feed(shell.read_nonblocking(65536, timeout=SHORTEST / 2))
            except pexpect.TIMEOUT:
                if until_prompt and screen.display[screen.cursor.y].rstrip() == PROMPT.rstrip():
                    return
            lines = tuple(_lines(screen))
            if lines != frames[-1].lines:
                frames.append(Frame(time.monotonic() - started, lines))
        if until_prompt:
            raise RuntimeError(f"no prompt after {seconds:g} s:\n" + "\n".join(screen.display))

    try:
        follow(LIMIT, until_prompt=True)
        for command in commands:
            for key in command:
                shell.send(key)
                follow(KEY)
            shell.send("\r")
            follow(READ / 4)
            follow(LIMIT, until_prompt=True)
            follow(READ)
    finally:
        shell.close(force=True)
    return [*_visible(frames), Frame(time.monotonic() - started + END, ())]


def _visible(frames: Sequence[Frame]) -> Iterator[Frame]:
    for frame, following in pairwise(frames):
        if following.at - frame.at >= SHORTEST:
            yield frame
    yield frames[-1]


def _lines(screen: pyte.Screen) -> Iterator[Line]:
    for row in range(ROWS):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        runs = (
            (style, "".join(cell.data for cell in group)) for style, group in groupby(cells, lambda c: (c.fg, c.bold))
        )
        line = tuple((text, colour, bold) for (colour, bold), text in runs)
        yield () if not "".join(text for text, _, _ in line).strip() else line


_COLOURS = {"default": "#d8dee9", "black": "#6b7280", "red": "#f07178", "green": "#a3d977", "brown": "#f0c674",
            "blue": "#82aaff", "magenta": "#c792ea", "cyan": "#7fdbca", "white": "#d8dee9"}  # fmt: skip
_WIDTH, _HEIGHT, _MARGIN = 8.4, 19, 16


def draw(frames: Sequence[Frame]) -> str:
    """The frames as an SVG: one below the other, in a window that CSS moves. Each different line is in it once."""
    shown, total = frames[:-1], frames[-1].at
    width, height = round(COLUMNS * _WIDTH) + 2 * _MARGIN, ROWS * _HEIGHT + 2 * _MARGIN
    names: dict[Line, str] = {}
    uses = [
        f'<use href="#{names.setdefault(line, f"l{len(names)}")}" y="{number * height + (row + 1) * _HEIGHT}"/>'
        for number, frame in enumerate(shown)
        for row, line in enumerate(frame.lines)
        if line
    ]
    moves = [f"{100 * frame.at / total:.2f}%{{transform:translateY({-n * height}px)}}" for n, frame in enumerate(shown)]
    last = -(len(shown) - 1) * height
    lines = "\n".join(f'<text id="{name}" xml:space="preserve">{_spans(line)}</text>' for line, name in names.items())
    label = "A terminal: " + "; ".join(COMMANDS)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">
<style>text{{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:{_COLOURS["default"]}}}
.b{{font-weight:bold}}#film{{transform:translateY({last}px);animation:play {total:.2f}s steps(1,end) infinite}}
@keyframes play{{{"".join(moves)}100%{{transform:translateY({last}px)}}}}
@media (prefers-reduced-motion:reduce){{#film{{animation:none}}}}</style>
<defs>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#1b1f27"/>
<svg x="{_MARGIN}" y="{_MARGIN - 4}" width="{width - 2 * _MARGIN}" height="{height - _MARGIN}"><g id="film">
{chr(10).join(uses)}
</g></svg>
</svg>
"""


def _spans(line: Line) -> str:
    spans, column = [], 0
    for text, colour, bold in line:
        if text.strip():
            fill = "" if colour == "default" else f' fill="{_COLOURS.get(colour, f"#{colour}")}"'
            at = f' x="{column * _WIDTH:.1f}" textLength="{len(text.rstrip()) * _WIDTH:.1f}"'
            weight = ' class="b"' if bold else ""
            spans.append(f"<tspan{at}{fill}{weight}>{escape(text.rstrip())}</tspan>")
        column += len(text)
    return "".join(spans)


def main(file: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="recording-") as temporary:
        folder = Path(temporary)
        program = folder / "bin" / "transaction-pipeline"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(ROOT / "bootstrap.py")])} "$@"\n')
        program.chmod(0o755)
        own = ("AWS_", "TRANSACTION_PIPELINE_")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(own)} | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "TRANSACTION_PIPELINE_PROGRAM": program.name,
            "HISTFILE": "",
            "INPUTRC": os.devnull,
        }
        try:
            frames = record(COMMANDS, variables, folder)
        finally:
            if (folder / "shop").is_dir():
                pexpect.run(f"{program} down --yes", cwd=folder / "shop", env=variables, timeout=LIMIT)
    write_atomically(file, draw(frames).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
