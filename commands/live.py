"""Progress on a terminal, redrawn in place: phases, images and stacks.

``LiveView`` draws a ``Picture``, the state that events change. Without a terminal plain lines are used.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from commands.progress import GROUPS, Picture, Row, seconds_text, size_text
from pipeline.core.events import Event


class LiveView:
    """A report that draws; a context manager.

    started   when the command began (time.monotonic)
    expected  duration of the command's last run in seconds, or None
    """

    def __init__(self, console: Console, title: str, started: float, expected: float | None = None) -> None:
        self._picture = Picture()
        self._title = title
        self._expected = expected
        self._started = started
        self._lock = threading.Lock()
        self._console = console
        self._live = self._new_live()

    def _new_live(self) -> Live:
        return Live(get_renderable=self._draw, console=self._console, refresh_per_second=8, transient=False)

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def pause(self) -> None:
        """Stop drawing until ``resume``."""
        self._live.stop()

    def resume(self) -> None:
        # A new one, because the old one would draw over text written meanwhile.
        self._live = self._new_live()
        self._live.start()

    def __exit__(self, *exception: Any) -> None:
        self._live.__exit__(*exception)

    def __call__(self, event: Event, at: float | None = None) -> None:
        with self._lock:
            self._picture.apply(event, time.monotonic() if at is None else at)

    def _draw(self) -> RenderableType:
        with self._lock:
            return draw(self._picture, self._title, time.monotonic() - self._started, self._expected, time.monotonic())


def draw(picture: Picture, title: str, elapsed: float, expected: float | None, now: float) -> RenderableType:
    """Render the picture with rich, for any width."""
    head = Table.grid(expand=True)
    head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    head.add_column(justify="right", no_wrap=True)
    clock = seconds_text(elapsed) + (f" of about {seconds_text(expected)}" if expected else "")
    head.add_row(Text(title, style="bold"), Text(clock, style="dim"))
    parts: list[RenderableType] = [head]
    for group in GROUPS:
        rows = [row for row in picture.rows.values() if row.group == group]
        if not rows:
            continue
        parts.append(Text(group, style="bold cyan"))
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(width=2, justify="right")
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, min_width=7)
        for row in rows:
            seconds = row.seconds if row.state != "running" else now - row.started
            table.add_row(_mark(row), Text(row.name), _detail(row), Text(seconds_text(seconds), style="dim"))
        parts.append(table)
    parts += [Text(f"  {note}", style="yellow") for note in picture.notes[-5:]]
    return Group(*parts)


def _mark(row: Row) -> RenderableType:
    if row.state == "running":
        return Spinner("dots", style="cyan")
    return Text("✓", style="green") if row.state == "done" else Text("✗", style="bold red")


def _detail(row: Row) -> RenderableType:
    if row.state != "running":
        return Text(row.detail or ("failed" if row.state == "failed" else ""), style="dim")
    if row.resources:
        done = sum(status.endswith("_COMPLETE") for status in row.resources.values())
        return Text(f"{done} of {len(row.resources)} resources · {row.last}", style="dim")
    if row.total:
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        count = f"{row.done:,}/{row.total:,}" if row.last else f"{size_text(row.done)}/{size_text(row.total)}"
        bar.add_row(ProgressBar(row.total, min(row.done, row.total)), Text(f"{count} {row.last}".strip(), style="dim"))
        return bar
    return Text(row.last, style="dim")
