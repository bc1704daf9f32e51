"""Progress as plain lines, one for each step that ended. Works in a log file as well as in a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.events import BytesMoved, Event, Note, ResourceChanged, StepFinished, StepStarted


def seconds_text(seconds: float) -> str:
    """Seconds for people: 0.04 s, 3.2 s, 2 min 05 s."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


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
                case StepStarted() | BytesMoved() | ResourceChanged():
                    pass
