"""The progress of a command as a value that events change: rows of steps, in groups."""

from __future__ import annotations

from dataclasses import dataclass, field

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

_IMAGE_STEPS = ("base", "install", "build", "docker build", "fetch", "push")
GROUPS = ("Start", "Phase 1 · registry", "Images", "Phase 2 · pipeline", "Submissions")


@dataclass
class Row:
    """One step. state: running, done or failed; resources: logical id → last status, for a stack."""

    step: str
    subject: str
    state: str = "running"
    detail: str = ""
    seconds: float = 0.0
    started: float = 0.0
    done: int = 0
    total: int = 0
    resources: dict[str, str] = field(default_factory=dict)
    last: str = ""

    @property
    def group(self) -> str:
        if self.step == "emulator":
            return GROUPS[0]
        if self.step == "stack" and "-registry-" in self.subject:
            return GROUPS[1]
        if self.step in _IMAGE_STEPS:
            return GROUPS[2]
        return GROUPS[4] if self.step in ("submit", "redrive") else GROUPS[3]

    @property
    def name(self) -> str:
        return self.subject if self.step == "stack" else f"{self.step} {self.subject}".strip()


class Picture:
    """All reported steps as rows, in the order of their start."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.notes: list[str] = []

    def apply(self, event: Event, now: float) -> None:
        """Apply one event; ``now`` in seconds of a monotonic clock."""
        match event:
            case StepStarted():
                self.rows[event.step, event.subject] = Row(event.step, event.subject, started=now)
            case StepFinished():
                row = self._row(event.step, event.subject, now)
                row.state, row.detail, row.seconds = "done", event.detail, event.seconds
            case StepFailed():
                row = self._row(event.step, event.subject, now)
                row.state, row.seconds = "failed", event.seconds
            case BytesMoved():
                row = self._row(event.step, event.subject, now)
                row.done, row.total = event.done, event.total
                if event.total and event.done >= event.total:
                    row.state, row.seconds = "done", now - row.started
                    # Of a push, only what the registry lacked was sent.
                    row.detail = f"image of {size_text(event.total)}" if row.step == "push" else size_text(event.total)
            case ResourceChanged():
                row = self._stack_row(event.stack, now)
                row.resources[event.logical_id] = event.status
                row.last = f"{event.logical_id} {event.status.lower().replace('_', ' ')}"
                if event.status.endswith("FAILED") and event.reason:
                    self.notes.append(f"{event.logical_id}: {event.reason}")
            case Submitted():
                row = self._row(event.step, "", now)
                row.done, row.total = event.done, event.total
                row.last = "  ".join(f"{name} {count}" for name, count in sorted(event.outcomes.items()))
            case Note():
                self.notes.append(event.text)

    def _row(self, step: str, subject: str, now: float) -> Row:
        return self.rows.setdefault((step, subject), Row(step, subject, started=now))

    def _stack_row(self, stack: str, now: float) -> Row:
        for row in reversed(self.rows.values()):
            if row.subject == stack and row.state == "running":
                return row
        return self._row("stack", stack, now)


def seconds_text(seconds: float) -> str:
    """Seconds for people: 0.04 s, 3.2 s, 2 min 05 s."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


def size_text(count: int) -> str:
    """Bytes for people: 873 B, 12.2 kB, 1.4 MB."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
