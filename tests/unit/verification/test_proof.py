"""The transaction workflow keeps its promises in every interleaving, and what breaks them is refuted."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cfn.workflow.composition import definition
from pipeline.core.errors import VerificationError
from pipeline.transactions.drawing import draw
from pipeline.verification import mutations, report
from pipeline.verification.language.machine import read_machine
from pipeline.verification.language.structure import clock_steps
from pipeline.verification.mutations import MUTATIONS, Mutation, Verdict, judge
from pipeline.verification.proof import Proof, verify

DEFINITION = definition()
GOLDEN = Path(__file__).parents[2] / "golden" / "mutations.md"


@pytest.fixture(scope="module")
def proof() -> Proof:
    return verify(DEFINITION, executions=2, faults=2)


def test_the_workflow_keeps_its_promises(proof: Proof) -> None:
    assert proof.refuted == [], report.text(proof)
    assert [each.scope for each in proof.explored] == [
        "two executions",
        "two runs of one execution",
        "two executions, payloads with card numbers",
        "two executions and redrive --lost",
        "one execution, every input and answer",
    ]


def test_every_end_is_met(proof: Proof) -> None:
    ends = {end for each in proof.explored for end in each.ends}
    outcomes = {f"answers {outcome}" for outcome in ("APPROVED", "REVIEW", "DECLINED", "REJECTED", "CONFLICT")}
    assert ends == {*outcomes, "fails with Parked", "fails with NotParked"}


def test_the_clock_moves_past_the_patience_and_the_lease() -> None:
    assert clock_steps(read_machine(DEFINITION)) == (15_001, 300_001)
    assert clock_steps(read_machine(definition(lease_seconds=7, patience_seconds=2))) == (2_001, 7_001)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return {verdict.mutation.name: verdict for verdict in judge(DEFINITION)}


def test_there_are_mutations_of_every_kind() -> None:
    assert len(MUTATIONS) >= 40
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.at_length
@pytest.mark.parametrize("name", [mutation.name for mutation in MUTATIONS])
def test_a_mutation_is_refuted(verdicts: dict[str, Verdict], name: str) -> None:
    assert verdicts[name].refuted_by
    # The exploration that it names is the one that shows it, or its structure shows it before any.
    assert len(verdicts[name].proof.explored) <= 1
    for example in verdicts[name].proof.counterexamples:
        assert report.trace(example)


@pytest.mark.at_length
def test_the_table_of_mutations_is_current(verdicts: dict[str, Verdict]) -> None:
    rows = [f"| {name} | {verdict.refuted_by} |" for name, verdict in verdicts.items()]
    table = GOLDEN.read_text().partition("| mutation | refuted by |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows, "verify-workflow --mutations"


def refuse_then_answer(states: dict[str, Any]) -> None:
    catcher = states["RecordRefusal"]["Catch"][-1]
    catcher["Next"] = "Refused"


@pytest.mark.at_length
def test_an_approved_id_that_an_oversize_payload_would_turn_into_rejected() -> None:
    """A refusal that could not be recorded was answered once, although its id may have another answer."""
    mutant = copy.deepcopy(DEFINITION)
    refuse_then_answer(mutant["States"])
    found = verify(mutant, executions=2, faults=1, ticks=0)
    broken = {each.violation.promise: each for each in found.counterexamples}
    assert {"an answer is on record", "one id, one answer"} <= broken.keys()
    assert any(
        "RecordRefusal fails (States.Timeout), Refused, Answered" in line
        for line in report.trace(broken["one id, one answer"])
    )


def test_a_counterexample_is_shortest_drawn_and_told() -> None:
    mutant = copy.deepcopy(DEFINITION)
    del mutant["States"]["Validate"]["Catch"]
    found = verify(mutant, executions=2, faults=1, stop_at_first=True)
    (example,) = found.counterexamples
    assert report.trace(example) == [
        "1. A begins with a payload: Read, Sensitive, Claim, Validate fails (States.Timeout)"
    ]
    picture = draw(mutant, report.way(example), example.violation.promise)
    assert "<title>no submission is lost</title>" in picture
    assert 'class="way"' in picture
    assert "refuted: no submission is lost" in report.text(found)
    document = json.loads(json.dumps(report.document(found)))
    assert (document["proved"], document["refuted"]) == (False, ["no submission is lost"])


def test_a_mutation_that_changes_nothing_is_an_error() -> None:
    for change in (lambda _states: None, mutations._replace("Claim", "nothing of the kind", "")):
        with pytest.raises(VerificationError, match="does not fit"):
            list(judge(DEFINITION, [Mutation("none", change)]))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ([], "no JSON object"),
        ({}, "has no States"),
        ({"States": {"A": {"Type": "Succeed"}}}, "StartAt"),
        ({"StartAt": "A", "States": {"A": {"Type": "Other"}}}, "Type"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "Next or End"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}, "not in its machine"),
    ],
)
def test_what_is_no_definition_is_an_error(broken: Any, why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        verify(broken)


def test_a_circle_is_found() -> None:
    circle = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}}
    found = verify(circle)
    assert found.refuted == ["endless: A", "endless: B"]
    assert found.longest.unbounded == "nothing ends the circle A → B → A"
