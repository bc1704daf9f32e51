"""One syntax tree per expression, shared by all threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jsonata.jexception import JException
from jsonata.jsonata import Jsonata
from jsonata.parser import Parser

from cfn.workflow.composition import definition
from pipeline.local.emulator import expressions
from pipeline.local.emulator.expressions import parse_expressions_once

TRANSACTION = {"transaction_id": "t-1", "amount": "10.00", "currency": "USD", "tags": [{"b": 1, "a": [2, 3]}]}


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jsonata, "get_parser", staticmethod(Jsonata.get_parser))
    assert parse_expressions_once()


def all_expressions(value: Any) -> Iterator[str]:
    match value:
        case str() if value.startswith("{%"):
            yield value[2:-2].strip()
        case dict():
            for each in value.values():
                yield from all_expressions(each)
        case list():
            for each in value:
                yield from all_expressions(each)


def evaluate(expression: str, number: int = 0) -> Any:
    engine = Jsonata.jsonata(expression, timeout=1000)
    for name, function in (("parse", json.loads), ("hash", lambda text, _kind: f"hash of {text}")):
        engine.register_lambda(name, function)
    execution = {"Input": TRANSACTION | {"number": number}, "Name": "e", "StartTime": "2026-11-23T14:00:00.000Z"}
    states = {
        "input": {"valid": True, "answer": {"outcome": "REVIEW"}, "faults": [], "outcome": "REVIEW", "Error": "E",
                  "transaction_id": "t-1", "Cause": "c"},
        "result": {"Payload": {"valid": True, "transaction": TRANSACTION, "score": 60, "reasons": [], "findings": []},
                   "Attributes": {"claim_token": {"S": "t"}, "received_at": {"S": "r"}}, "Item": {}},
        "errorOutput": {"Error": "E", "Cause": "FraudDetection: c"},
        "context": {"Execution": execution, "State": {"EnteredTime": "2026-11-23T14:00:00.000Z"}},
    }  # fmt: skip
    try:
        return engine.evaluate(None, {"states": states, "token": "t", "received_at": "r", "judges": {}})
    except JException as error:
        return f"{error.error}: {error}"


def drawn(tree: Any, seen: dict[int, int]) -> Any:
    """A syntax tree as plain values, each node once."""
    if isinstance(tree, Parser.Symbol):
        if id(tree) in seen:
            return f"node {seen[id(tree)]}"
        seen[id(tree)] = len(seen)
        fields = vars(tree).items()
        return {name: drawn(value, seen) for name, value in fields if name not in ("_outer_instance", "signature")}
    if isinstance(tree, list | tuple):
        return [drawn(each, seen) for each in tree]
    return repr(tree)


EXPRESSIONS = sorted(set(all_expressions(definition())) - {"$states.input"})


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_evaluation_leaves_the_tree_as_it_is(expression: str, hooked: None) -> None:
    tree = Jsonata.jsonata(expression).ast
    before = drawn(tree, {})
    first = evaluate(expression)
    assert drawn(tree, {}) == before
    assert Jsonata.jsonata(expression).ast is tree
    if "$millis" not in expression:
        assert evaluate(expression) == first


def test_a_kept_tree_gives_what_a_new_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [each for each in EXPRESSIONS if "$millis" not in each]
    fresh = [evaluate(each) for each in steady]
    monkeypatch.setattr(Jsonata, "get_parser", staticmethod(Jsonata.get_parser))
    assert parse_expressions_once()
    assert [evaluate(each) for each in (*steady, *steady)] == fresh * 2


def test_threads_share_a_tree_without_sharing_values(hooked: None) -> None:
    expression = (
        "($walk := function($v, $d) { $d = 0 ? [$v] : $append($walk($v + 1, $d - 1), $v) };"
        " $map($walk($states.context.Execution.Input.number, 20), function($i) { $i * 2 }))"
    )
    threads = 8
    begin = threading.Barrier(threads)

    def work(number: int) -> bool:
        begin.wait()
        wanted = [2 * (number * 1000 + step) for step in range(20, -1, -1)]
        return all(evaluate(expression, number * 1000) == wanted for _ in range(30))

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(work, range(threads)))


def test_what_is_no_expression_says_so_every_time(hooked: None) -> None:
    for _ in range(2):
        with pytest.raises(JException):
            Jsonata.jsonata("(1 +")
    assert Jsonata.jsonata("1 + 1").evaluate(None) == 2


def test_beyond_the_bound_expressions_still_work(hooked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "KEPT_MAX", 2)
    assert [Jsonata.jsonata(f"{number} + 1").evaluate(None) for number in (*range(5), *range(5))] == [1, 2, 3, 4, 5] * 2


def test_another_engine_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = staticmethod(lambda thread: thread)
    monkeypatch.setattr(Jsonata, "get_parser", before)
    assert not parse_expressions_once()
    assert Jsonata.__dict__["get_parser"] is before
