"""Functions without the transaction pipeline: recorded events, handled again, and the responses compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import interruption
from pipeline.core.documents import parse_json
from pipeline.core.errors import ReleaseError
from pipeline.core.files import read_regular
from pipeline.core.shown import shown
from pipeline.rehearsal.comparison import Difference, Failure, compare
from pipeline.rehearsal.recordings import Recording, Stored, recorded_lines
from pipeline.rehearsal.replay import TaskFailed
from pipeline.rehearsal.stage import Stage

# A synchronous invocation's event and response (Lambda quotas).
_EVENT_MAX = 6 * 1024 * 1024
_RESPONSE = ".response.json"
# Levels of a response that are compared value by value.
_DEEPEST = 64
_KEYS = {"function", "event", "response"}


def read_responses(path: Path, functions: Collection[str]) -> Iterator[Recording]:
    """Yield recorded events with their responses, as ``{"function", "event"}`` and its answer.

    path       a ``.jsonl`` file with lines ``{"function": "bill", "event": …, "response": …}``, or a folder with
               ``<function>/events/<name>.json`` and ``<name>.response.json`` beside it, as ``images/`` may have
    functions  that there are; a line of another one is malformed

    Raises ReleaseError if the file or the folder cannot be read.
    """
    found = _of_folder(path) if path.is_dir() else recorded_lines(path)
    for number, document, why in found:
        if why:
            yield Recording(number, why=why)
        elif not isinstance(document, dict) or document.keys() != _KEYS:
            yield Recording(number, why=f"a line is an object with {', '.join(sorted(_KEYS))}")
        elif not isinstance(name := document["function"], str) or name not in functions:
            yield Recording(number, why=f"there is no function {str(name)[:80]!a}")
        else:
            yield Recording(
                number,
                {"function": name, "event": document["event"]},
                Stored(_answer(name, document["response"], f"{name}: recorded"), "", "", history=()),
            )


def functions_of(path: Path, functions: Collection[str]) -> set[str]:
    """The functions that have a recorded event."""
    return {each.transaction["function"] for each in read_responses(path, functions) if not each.why}


def _of_folder(folder: Path) -> Iterator[tuple[int, Any, str]]:
    number = 0
    for number, response in enumerate(sorted(folder.glob(f"*/events/*{_RESPONSE}")), 1):
        event = response.with_name(f"{response.name.removesuffix(_RESPONSE)}.json")
        try:
            documents = [parse_json(read_regular(each, _EVENT_MAX)) for each in (event, response)]
        except (OSError, ValueError) as problem:
            yield number, None, f"{event.relative_to(folder)}: {problem}"
        else:
            function = response.parent.parent.name
            yield number, dict(zip(("function", "event", "response"), (function, *documents), strict=True)), ""
    if not number:
        raise ReleaseError(
            "the release was not rehearsed",
            f"{folder} has no file <function>/events/<name>{_RESPONSE}",
            "Put the response beside the event that it answers, or name a .jsonl file.",
        )


@dataclass(frozen=True, slots=True)
class ResponseRehearser:
    """Handles recorded events again on a stage."""

    stage: Stage

    def answers(self, _transaction_ids: Sequence[str]) -> Mapping[str, Stored | None]:
        return {}

    def judge(self, recording: Recording, stored: Stored | None, *, recorded: bool) -> Difference | Failure | None:
        """The difference of one response, None without one. Every recording has its response."""
        assert stored is not None, recorded  # noqa: S101  (see read_responses)
        interruption.check()
        function = recording.transaction["function"]
        name = f"line {recording.number}"
        try:
            response = self.stage.invoke(function, recording.transaction["event"])
        except TaskFailed as failed:
            return Failure(name, recording.number, shown(f"{function}: {failed.error}"))
        after = _answer(function, response, str(stored.answer["outcome"]))
        if compare(name, recording.number, stored.answer, after) is None:
            return None
        return compare(name, recording.number, stored.answer, {**after, "outcome": "another response"})


def _answer(function: str, response: Any, outcome: str) -> dict[str, Any]:
    """A response as an answer: each of its values is a reason, under its JSON Pointer (RFC 6901)."""
    return {
        "outcome": outcome,
        "reasons": [
            {"source": function, "rule": pointer or "response", "message": json.dumps(value)}
            for pointer, value in _values(response, "")
        ],
    }


def _values(value: Any, pointer: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value and depth < _DEEPEST:
            for key, each in value.items():
                yield from _values(each, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
        case list() if value and depth < _DEEPEST:
            for number, each in enumerate(value):
                yield from _values(each, f"{pointer}/{number}", depth + 1)
        case _:
            yield pointer, value
