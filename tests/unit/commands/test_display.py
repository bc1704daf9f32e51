"""How progress looks: plain lines, JSON lines, and the picture that is drawn in place."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest
from rich.console import Console

from commands.display import JsonLines, LateView, PlainLines
from commands.live import draw
from commands.progress import Picture, seconds_text, size_text
from pipeline.core.events import (
    BytesMoved,
    Event,
    Note,
    ResourceChanged,
    StepFailed,
    StepFinished,
    StepStarted,
    Submitted,
    ignore,
    step,
)

STORY: list[Event] = [
    StepStarted("stack", "transaction-registry-dev"),
    ResourceChanged("transaction-registry-dev", "FraudDetectionRepository", "AWS::ECR::Repository", "CREATE_COMPLETE"),
    ResourceChanged("transaction-registry-dev", "PlaceholderRole", "AWS::IAM::Role", "CREATE_IN_PROGRESS"),
    StepStarted("build", "fraud-detection"),
    StepFinished("build", "fraud-detection", 0.64, "sha256:7cb421f326b4"),
    BytesMoved("push", "fraud-detection", 500_000, 1_400_000),
    StepStarted("stack", "transaction-pipeline-dev"),
    ResourceChanged(
        "transaction-pipeline-dev", "Vpc", "AWS::EC2::VPC", "CREATE_FAILED", "The maximum number is reached"
    ),
    StepFailed("stack", "transaction-pipeline-dev", 3.0),
    Submitted("submit", 3, 10, 0.5, {"APPROVED": 2, "REJECTED": 1}),
    Note("the embedded AWS starts empty"),
]


def picture(events: list[Event]) -> Picture:
    shown = Picture()
    for second, event in enumerate(events):
        shown.apply(event, float(second))
    return shown


def text(width: int, events: list[Event] = STORY) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(draw(picture(events), "up dev on local", 4.2, 6.0, 11.0))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 79, 120])
def test_the_picture_fits_into_any_width(width: int) -> None:
    assert all(len(line) <= width for line in text(width).splitlines() if "reached" not in line)


def test_the_picture_tells_what_stands_in_the_order_of_the_phases() -> None:
    shown = text(100)
    places = [shown.index(part) for part in ("Phase 1", "Images", "Phase 2")]
    assert places == sorted(places)
    assert "4.2 s of about 6.0 s" in shown
    assert "1 of 2 resources" in shown
    assert "500.0 kB/1.4 MB" in shown
    assert "Vpc: The maximum number is reached" in shown


def test_a_step_that_moved_all_its_bytes_is_done() -> None:
    rows = picture([BytesMoved("push", "f", 5, 10), BytesMoved("push", "f", 10, 10)]).rows
    assert rows["push", "f"].state == "done"


def test_plain_lines_tell_ends_and_failures_only() -> None:
    lines: list[str] = []
    report = PlainLines(lines.append)
    for event in STORY:
        report(event)
    assert len(lines) == 4
    assert "sha256:7cb421f326b4" in lines[0]
    assert "CREATE_FAILED: The maximum number is reached" in lines[1]
    assert "failed" in lines[2]


def test_every_event_is_one_line_of_json() -> None:
    lines: list[str] = []
    report = JsonLines(lines.append)
    for event in STORY:
        report(event)
    documents = [json.loads(line) for line in lines]
    assert [each["event"] for each in documents] == [type(event).__name__ for event in STORY]
    assert documents[-2]["outcomes"] == {"APPROVED": 2, "REJECTED": 1}


def test_a_command_that_ends_at_once_is_not_drawn_and_remembered(tmp_path: Path) -> None:
    lines: list[str] = []
    with LateView("status dev", lines.append, tmp_path / "a" / "timings.json") as view:
        view(StepFinished("build", "x", 0.1, "done"))
    assert len(lines) == 1
    assert json.loads((tmp_path / "a" / "timings.json").read_text())["status dev"] >= 0


def test_a_step_tells_how_it_ended() -> None:
    told: list[Event] = []

    def fails() -> None:
        with step(told.append, "push", "f"):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    with step(told.append, "push", "f") as running:
        running.detail = "sent"
    assert [type(event) for event in told] == [StepStarted, StepFailed, StepStarted, StepFinished]
    assert isinstance(told[-1], StepFinished)
    assert told[-1].detail == "sent"
    assert ignore(told[-1]) is None


def test_lines_of_several_threads_do_not_mix() -> None:
    lines: list[str] = []
    report = PlainLines(lines.append)
    threads = [threading.Thread(target=report, args=(StepFinished("s", str(n), 1.0),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines) == 20


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.04 s"), (3.24, "3.2 s"), (59.99, "60.0 s"), (125, "2 min 05 s")]
)
def test_seconds_for_people(seconds: float, shown: str) -> None:
    assert seconds_text(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (12_180, "12.2 kB"), (1_486_241, "1.5 MB")])
def test_bytes_for_people(count: int, shown: str) -> None:
    assert size_text(count) == shown
