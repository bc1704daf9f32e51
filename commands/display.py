"""Progress as plain lines, one per finished step, for terminals and log files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from commands.progress import seconds_text
from pipeline.core.events import (
    BytesMoved,
    Event,
    Note,
    ResourceChanged,
    StepFailed,
    StepFinished,
    StepStarted,
    Submitted,
)


class PlainLines:
    """A report that writes a line when a step ends, and every failed resource as soon as it fails."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case StepFinished():
                    name = f"{event.step} {event.subject}".strip()
                    self._write(f"  {name:<44} {event.detail:<36} {seconds_text(event.seconds):>8}".rstrip())
                case ResourceChanged() if event.status.endswith("FAILED"):
                    self._write(f"  {event.logical_id} {event.status}: {event.reason}")
                case Note():
                    self._write(f"  {event.text}")
                case StepFailed():
                    name = f"{event.step} {event.subject}".strip()
                    self._write(f"  {name:<44} {'failed':<36} {seconds_text(event.seconds):>8}")
                case StepStarted() | BytesMoved() | ResourceChanged() | Submitted():
                    pass


class JsonLines:
    """A report that writes each event as one line of JSON: its kind, and the fields of the event."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}, default=dict)
        with self._lock:
            self._write(line)


# Seconds before drawing starts. A shorter command prints plain lines at its end and does not load the library.
DRAWN_AFTER = 0.4


class LateView:
    """A report for terminals: draws after DRAWN_AFTER seconds; a shorter command writes plain lines at its end.

    timings  a file with the duration of each command's last run, shown as the expected time
    """

    def __init__(self, title: str, write: Callable[[str], None], timings: Path) -> None:
        self._title = title
        self._write = write
        self._timings = timings
        self._lock = threading.Lock()
        self._early: list[tuple[float, Event]] = []
        self._view: Any = None
        self._ended = False

    def __enter__(self) -> LateView:
        self._started = time.monotonic()
        self._timer = threading.Timer(DRAWN_AFTER, self._begin)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
        if self._view is not None:
            self._view.__exit__(kind, *rest)
        else:
            lines = PlainLines(self._write)
            for _, event in self._early:
                lines(event)
        if kind is None:
            self._remember(time.monotonic() - self._started)

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._view is None:
                self._early.append((time.monotonic(), event))
                return
        self._view(event)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing inside the block, such as during a question."""
        self._timer.cancel()
        with self._lock:
            view = self._view
        if view is not None:
            view.pause()
        yield
        if view is not None:
            view.resume()
        else:
            self._begin()

    def _begin(self) -> None:
        from rich.console import Console

        from commands.live import LiveView

        expected = self._read().get(self._title)
        view = LiveView(Console(stderr=True), self._title, self._started, expected)
        with self._lock:
            if self._ended:
                return
            for at, event in self._early:
                view(event, at)
            self._view = view.__enter__()

    def _read(self) -> dict[str, float]:
        try:
            return dict(json.loads(self._timings.read_bytes()))
        except (OSError, ValueError):
            return {}

    def _remember(self, seconds: float) -> None:
        from pipeline.core.files import write_atomically

        # If it cannot be written, the next run shows no expected time.
        with contextlib.suppress(OSError):
            write_atomically(self._timings, json.dumps(self._read() | {self._title: round(seconds, 2)}).encode())
