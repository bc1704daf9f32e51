"""State machines that were recorded on AWS: each is accepted, and the model ends them as AWS did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pipeline.verification import report
from pipeline.verification.language.integrations import Integration
from pipeline.verification.language.interned import Values
from pipeline.verification.language.machine import read_machine
from pipeline.verification.model.exploration import Explorer
from pipeline.verification.model.semantics import Semantics
from pipeline.verification.model.steps import Answer
from pipeline.verification.model.world import Abstraction, Bounds, Move, Violation, World
from pipeline.verification.proof import verify
from tests.recorded.recordings import MACHINES, machines

RECORDED = machines() if MACHINES.exists() else {}
# What is refuted of the others' definitions, and what AWS showed of it.
REFUTED = {
    "undefined-output": "the expressions of State0 are defined",
    "undefined-output-field": "the expressions of State0 are defined",
    "undefined-output-later": "the expressions of State2 are defined",
    "undefined-assign": "the expressions of State0 are defined",
    "undefined-arguments": "the expressions of State0 are defined",
    "undefined-arguments-field": "the expressions of State0 are defined",
    # A variable that a branch assigns is not there after the Parallel.
    "parallel-catch-variables": "the expressions of Finish are defined",
    "choice-literal": "unreachable state: Fail",
    "choice-constant": "unreachable state: DefaultState",
    "parallel-catch": "unreachable state: Final",
    "parallel-retry": "unreachable state: Final",
    # AWS does not let States.Runtime be caught, even by its name.
    "catch-runtime": "unreachable state: CaughtRuntime",
}
PARSED = {name: read_machine(each["definition"]) for name, each in RECORDED.items()}
IN_JSONATA = [name for name, machine in PARSED.items() if len(machine.jsonata) == len(machine.states)]


@pytest.mark.parametrize("name", RECORDED)
def test_a_definition_is_accepted(name: str) -> None:
    proof = verify(RECORDED[name]["definition"])
    assert proof.refuted == ([REFUTED[name]] if name in REFUTED else [])
    assert report.text(proof)
    assert json.dumps(report.document(proof))


def ends(definition: Any, given: Any, faults: int) -> list[tuple[str, Any]]:
    """(status, output or error) of every end of an execution."""

    def answers(_state: str, _call: Integration, arguments: Any) -> Sequence[Answer]:
        return [Answer("echo", {"Payload": arguments.get("Payload", {}), "StatusCode": 200})]

    found: list[tuple[str, Any]] = []

    def ended(explorer: Explorer, _before: World, move: Move, _after: World) -> Iterator[Violation]:
        became = move.became
        if became is not None and became.ended:
            succeeded = became.local[0] == "done"
            found.append(("SUCCEEDED", explorer.values[became.local[1]]) if succeeded else ("FAILED", became.local[1]))
        yield from ()

    semantics = Semantics(read_machine(definition), Values(), answers, lambda _call, _arguments: False)
    explorer = Explorer(semantics, Bounds(1, faults, {"input": given}), Abstraction(("",), lambda *_given: None))
    explorer.explore(ended, stop_at_first=False)
    return found


@pytest.mark.parametrize("name", IN_JSONATA)
def test_an_execution_ends_as_on_aws(name: str) -> None:
    recorded = RECORDED[name]
    calls = any(state["Type"] == "Task" for state in PARSED[name].states.values())
    found = ends(recorded["definition"], recorded["input"], faults=1 if calls else 0)
    if not calls:
        expected = recorded["output"] if recorded["status"] == "SUCCEEDED" else recorded.get("error") or ""
        assert found == [(recorded["status"], expected)]
    else:
        statuses = [(status, error if status == "FAILED" else None) for status, error in found]
        assert (recorded["status"], recorded.get("error") if recorded["status"] == "FAILED" else None) in statuses
