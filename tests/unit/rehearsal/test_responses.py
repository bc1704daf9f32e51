"""Recorded events of functions without the transaction pipeline, and their responses compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ReleaseError
from pipeline.rehearsal.comparison import Difference, Failure
from pipeline.rehearsal.replay import TaskFailed
from pipeline.rehearsal.responses import ResponseRehearser, functions_of, read_responses

FUNCTIONS = {"bill", "ship"}
RESPONSE = {"total": 12, "lines": [{"a/b": 1}, "x"], "none": None}


@dataclass
class Answering:
    """A stage whose functions all give one response, or fail."""

    response: Any

    def invoke(self, function: str, event: Any) -> Any:
        assert (function, event) == ("bill", {"order": 1})
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def judged(folder: Path, response: Any) -> Difference | Failure | None:
    path = folder / "recorded.jsonl"
    path.write_text(json.dumps({"function": "bill", "event": {"order": 1}, "response": RESPONSE}))
    [recording] = read_responses(path, FUNCTIONS)
    rehearser = ResponseRehearser(Answering(response))  # type: ignore[arg-type]
    return rehearser.judge(recording, recording.stored, recorded=True)


def test_an_equal_response_is_no_difference(tmp_path: Path) -> None:
    assert judged(tmp_path, dict(reversed(RESPONSE.items()))) is None


@pytest.mark.parametrize(
    ("response", "rules"),
    [
        ({**RESPONSE, "total": 13}, ("bill//total",)),
        ({**RESPONSE, "total": "12"}, ("bill//total",)),
        ({**RESPONSE, "lines": [{"a/b": 2}, "x"]}, ("bill//lines/0/a~1b",)),
        ({**RESPONSE, "lines": [{"a/b": 1}, "y", "x"]}, ("bill//lines/1", "bill//lines/2")),
        ({**RESPONSE, "more": {}}, ("bill//more",)),
        ({"total": 12, "lines": RESPONSE["lines"]}, ("bill//none",)),
        (None, ("bill//lines/0/a~1b", "bill//lines/1", "bill//none", "bill//total", "bill/response")),
    ],
)  # fmt: skip
def test_a_difference_names_each_value_that_differs(tmp_path: Path, response: Any, rules: tuple[str, ...]) -> None:
    found = judged(tmp_path, response)
    assert isinstance(found, Difference)
    assert found.outcome_changed
    assert found.kind == "bill: recorded to another response"
    assert found.rules == rules


def test_an_error_is_a_failure_of_its_function(tmp_path: Path) -> None:
    assert judged(tmp_path, TaskFailed("ValueError", "why")) == Failure("line 1", 1, "bill: ValueError")


def test_a_response_of_any_depth_is_compared(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    assert isinstance(judged(tmp_path, deep), Difference)


def test_a_folder_has_responses_beside_their_events(tmp_path: Path) -> None:
    events = tmp_path / "bill" / "events"
    events.mkdir(parents=True)
    for name, document in (("smoke", {"order": 1}), ("smoke.response", RESPONSE), ("alone", {}), ("lost.response", 1)):
        (events / f"{name}.json").write_text(json.dumps(document))
    lost, smoke = read_responses(tmp_path, FUNCTIONS)
    assert "bill/events/lost.json" in lost.why
    assert smoke.transaction == {"function": "bill", "event": {"order": 1}}
    assert functions_of(tmp_path, FUNCTIONS) == {"bill"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "JSON"),
        ('{"function": "bill", "event": {}}', "an object with event, function, response"),
        ('{"function": "bill", "event": {}, "response": {}, "more": 1}', "an object with"),
        ('{"function": "other", "event": {}, "response": {}}', "no function 'other'"),
        ('{"function": ["bill"], "event": {}, "response": {}}', "no function"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "recorded.jsonl"
    path.write_text(line)
    [recording] = read_responses(path, FUNCTIONS)
    assert why in recording.why


def test_a_folder_or_a_file_without_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    for path in (tmp_path, tmp_path / "empty.jsonl", tmp_path / "gone.jsonl"):
        with pytest.raises(ReleaseError, match="was not rehearsed"):
            list(read_responses(path, FUNCTIONS))
