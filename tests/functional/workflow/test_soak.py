"""A small soak: everything is killed once, DynamoDB throttles, and every submission still has one answer.

The checks are those of the large one (``python -m benchmarks.soak``), and each is shown to see what it is there for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak import Fire, Soak, soak
from benchmarks.soak_check import Given, check
from benchmarks.soak_model import Kind

FIRE = Fire(program_kills=(0.3,), host_kills=(0.6,), storms=(0.45,), worker_kills=5, storm_length=0.1)
COUNT = 200


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    folder = tmp_path_factory.mktemp("small soak")
    return soak(folder, count=COUNT, seed=7, workers=16, fire=FIRE, expire_leases=True)


def test_every_promise_is_kept(done: Soak) -> None:
    assert list(done.broken) == []


def test_everything_was_killed_and_something_was_parked(done: Soak) -> None:
    story = done.story
    assert story.worker_kills > 0
    assert (story.program_kills, story.host_kills, story.storms) == (1, 1, 1)
    assert story.starts >= 2
    assert sum(done.parked.values()) > 0


def test_the_file_has_every_kind_of_line(done: Soak) -> None:
    assert {line.kind for line in done.given.lines} == set(Kind)


def test_approved_amounts_are_the_models(done: Soak) -> None:
    assert done.sums
    assert all(table == model for table, model in done.sums.values())


def with_result(given: Given, number: int, **changes: Any) -> Given:
    """The same with another last word about a line."""
    told = [json.loads(text) for text in given.results.read_text().splitlines()]
    last = next(each for each in reversed(told) if each["line"] == number)
    path = given.results.with_name("changed.jsonl")
    path.write_text("".join(f"{json.dumps(each)}\n" for each in [*told, last | changes]))
    return replace(given, results=path)


def last_words(given: Given) -> dict[int, dict[str, Any]]:
    return {each["line"]: each for each in map(json.loads, given.results.read_text().splitlines())}


def answered(given: Given, kind: Kind) -> tuple[int, str, dict[str, Any]]:
    """Number, id and answer of a line of that kind that was approved and whose id has no parked message."""
    told, parked = last_words(given), {message["transaction_id"] for message in given.parked}
    for line in given.lines:
        answer = told[line.number].get("answer")
        if line.kind is kind and answer and answer["outcome"] == "APPROVED" and line.transaction_id not in parked:
            return line.number, line.transaction_id or "", answer
    raise AssertionError(f"nothing of the kind {kind} was approved")


def lost(given: Given) -> Given:
    _, key, _ = answered(given, Kind.NEW)
    return replace(given, records={name: record for name, record in given.records.items() if name != key})


def left_alone(given: Given) -> Given:
    _, key, _ = answered(given, Kind.NEW)
    return replace(given, before={name: record for name, record in given.before.items() if name != key})


def judged_otherwise(given: Given) -> Given:
    _, key, _ = answered(given, Kind.NEW)
    return replace(given, records={**given.records, key: {**given.records[key], "outcome": "DECLINED"}})


def changed_later(given: Given) -> Given:
    _, key, _ = answered(given, Kind.NEW)
    return replace(given, records={**given.records, key: {**given.records[key], "answer": "{}"}})


def parked_twice(given: Given) -> Given:
    return replace(given, parked=[*given.parked, given.parked[0]])


def parked_and_gone(given: Given) -> Given:
    told = last_words(given)
    gone = next(line.transaction_id for line in given.lines if told[line.number]["outcome"] == "parked")
    return replace(given, parked=[message for message in given.parked if message["transaction_id"] != gone])


def never_redriven(given: Given) -> Given:
    return replace(given, left=[given.parked[0]])


def parked_by_nobody(given: Given) -> Given:
    return replace(given, redriven=[*given.redriven, {"transaction_id": "nobody"}])


def decided_twice(given: Given) -> Given:
    number, _, answer = answered(given, Kind.REPEAT)
    return with_result(given, number, answer=answer | {"decided_at": "2026-11-23T14:00:00.000Z"})


def first_answered_twice(given: Given) -> Given:
    first, key, answer = answered(given, Kind.REPEAT)
    changed = with_result(given, first, answer=answer | {"repeat": False})
    number = next(line.number for line in given.lines if line.kind is Kind.NEW and line.transaction_id == key)
    return with_result(changed, number, answer=answer | {"repeat": False})


def conflict_approved(given: Given) -> Given:
    number, _, _ = answered(given, Kind.REPEAT)
    return replace(
        given,
        lines=[
            replace(line, payload={**(line.payload or {}), "merchant_id": "another"}) if line.number == number else line
            for line in given.lines
        ],
    )


def unanswered(given: Given) -> Given:
    return with_result(given, answered(given, Kind.NEW)[0], outcome="unanswered", answer=None)


def malformed_approved(given: Given) -> Given:
    number = next(line.number for line in given.lines if line.kind is Kind.MALFORMED)
    return with_result(given, number, outcome="APPROVED")


@pytest.mark.parametrize(
    "wrong",
    [
        lost, left_alone, judged_otherwise, changed_later, parked_twice, parked_and_gone, never_redriven,
        parked_by_nobody, decided_twice, first_answered_twice, conflict_approved, unanswered, malformed_approved,
    ],
)  # fmt: skip
def test_a_broken_promise_is_seen(done: Soak, wrong: Callable[[Given], Given]) -> None:
    assert check(wrong(done.given), None).broken


def test_what_is_right_is_not_complained_about(done: Soak) -> None:
    assert check(done.given, None).broken == []
