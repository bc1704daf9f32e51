"""A proof or its counterexamples as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pipeline.verification.language.durations import EXPRESS_SECONDS
from pipeline.verification.model.steps import Step
from pipeline.verification.model.world import Counterexample, Move
from pipeline.verification.promises import PROMISES
from pipeline.verification.proof import Proof

_SENTENCES = {
    "succeeds": "{state}",
    "enters": "{state}",
    "fails": "{state} fails ({detail})",
    "loses its response": "{state} takes effect, and its response is lost ({detail})",
    "is given up while its request is under way": "{state} times out while its request is under way ({detail})",
    "is carried out twice": "{state}'s request is carried out twice",
    "is tried again": "{state} is tried again ({detail})",
    "ends": "{state}",
}


def text(proof: Proof) -> str:
    """The whole report. Counterexamples come last, each with its trace."""
    return "\n".join(_lines(proof))


def _lines(proof: Proof) -> Iterator[str]:
    machine = proof.machine
    languages = {"JSONata" if name in machine.jsonata else "JSONPath" for name in machine.states}
    language = " and ".join(sorted(languages))
    yield f"{len(machine.states)} states, {language}; the longest way takes {_seconds(proof)}"
    for each in proof.explored:
        yield (
            f"{each.scope}: {each.states:,} states of the world, {each.tables:,} of the table, "
            f"{each.evaluations:,} evaluations, {each.seconds:.1f} s"
        )
    if not proof.promised:
        ends = {end: count for each in proof.explored for end, count in each.ends.items()}
        yield f"ends: {', '.join(ends) or 'none'}"
    for sentence in machine.unmodelled:
        yield f"not modelled: {sentence}"
    for finding in proof.findings:
        yield f"{'refuted' if finding.refutes else 'note'}: {finding.state}: {finding.message}"
    refuted = {each.violation.promise for each in proof.counterexamples}
    if proof.promised:
        for promise in PROMISES:
            if promise not in refuted:
                yield f"holds: {promise}"
    if proof.too_long:
        yield f"refuted: an execution ends within {EXPRESS_SECONDS} s: {' → '.join(proof.longest.states)}"
    for name in proof.unvisited:
        yield f"refuted: no execution enters {name}"
    for example in proof.counterexamples:
        yield f"refuted: {example.violation.promise}: {example.violation.why}"
        yield from (f"  {line}" for line in trace(example))


def _seconds(proof: Proof) -> str:
    if math.isinf(proof.longest.seconds):
        return f"without limit: {proof.longest.unbounded}"
    return f"{proof.longest.seconds:g} s"


def trace(example: Counterexample) -> list[str]:
    """One line for each move, in order."""
    return [f"{number + 1}. {_move(move)}" for number, move in enumerate(example.moves)]


def _move(move: Move) -> str:
    if move.execution < 0:
        return move.note
    who = chr(ord("A") + move.execution)
    steps = ", ".join(_step(step) for step in move.steps)
    return f"{who} {move.note + ': ' if move.note else ''}{steps}"


def _step(step: Step) -> str:
    sentence = _SENTENCES[step.how].format(state=step.state, detail=step.detail)
    return f"{sentence} ({step.detail})" if step.how == "succeeds" and step.detail else sentence


def way(example: Counterexample) -> list[str]:
    """The states that the execution of the last move entered, in order, for a picture."""
    last = next((move.execution for move in reversed(example.moves) if move.execution >= 0), 0)
    names = [step.state for move in example.moves if move.execution == last for step in move.steps]
    return [name for number, name in enumerate(names) if number == 0 or name != names[number - 1]]


def document(proof: Proof) -> dict[str, Any]:
    """The report as JSON; ``proved`` says whether nothing was refuted."""
    return {
        "proved": not proof.refuted,
        "states": len(proof.machine.states),
        "longest_seconds": None if math.isinf(proof.longest.seconds) else proof.longest.seconds,
        "unbounded": proof.longest.unbounded or None,
        "explored": [
            {
                "scope": each.scope,
                "states": each.states,
                "tables": each.tables,
                "evaluations": each.evaluations,
                "seconds": round(each.seconds, 2),
                "complete": each.complete,
                "ends": dict(each.ends),
            }
            for each in proof.explored
        ],
        "not_modelled": list(proof.machine.unmodelled),
        "findings": [
            {"rule": each.rule, "state": each.state, "message": each.message, "refutes": each.refutes}
            for each in proof.findings
        ],
        "unreachable": proof.unvisited,
        "refuted": proof.refuted,
        "counterexamples": [
            {"promise": each.violation.promise, "why": each.violation.why, "trace": trace(each)}
            for each in proof.counterexamples
        ],
    }
