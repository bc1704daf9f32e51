"""When tables and queues are saved with their content, and what a start reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.local.emulator.durable import durable_state
from pipeline.local.emulator.durable.durable_state import DurableState, _describe


@pytest.mark.parametrize(("service", "journal"), [("dynamodb", "items"), ("sqs", "messages")])
def test_content_is_saved_when_its_service_changed_or_its_journal_is_full(
    service: str, journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = DurableState(tmp_path, "identity")
    segments = {"items": 0, "messages": 0}
    assert state._needs_saving(service, segments)
    assert segments[journal] == 1
    assert not state._needs_saving(service, segments)
    state._items.write(["put"])
    state._messages.write(["message"])
    monkeypatch.setattr(durable_state, "JOURNAL_MAX", 10)
    assert state._needs_saving(service, segments)
    assert segments[journal] == 2


def test_a_service_without_a_journal_is_always_saved(tmp_path: Path) -> None:
    assert DurableState(tmp_path, "identity")._needs_saving("ecr", {})


def test_a_regular_start_reports_nothing() -> None:
    assert _describe({"item": (0, 0), "message": (0, 0)}, {}, []) == []


def test_a_start_after_a_kill_reports_what_it_restored_and_what_is_missing() -> None:
    found = _describe({"item": (1200, 0), "message": (0, 3)}, {"ecr": "10:00:01"}, ["items.1.journal is damaged"])
    assert found == [
        "Its journal restored 1,200 item changes.",
        "Lost: changes to ecr since 10:00:01 UTC; 3 message changes without their table or queue;"
        " items.1.journal is damaged.",
    ]
