"""The transaction workflow keeps its promises in every interleaving, and what breaks them is refuted."""

from __future__ import annotations

import pytest

from cfn.workflow.composition import definition
from pipeline.verification import report
from pipeline.verification.proof import Proof, verify

DEFINITION = definition()


@pytest.fixture(scope="module")
def proof() -> Proof:
    return verify(DEFINITION, executions=2, faults=2)


def test_what_is_not_kept_is_known(proof: Proof) -> None:
    assert set(proof.refuted) == {
        "a failure says whether it is parked",
        "a repeat is marked",
        "a submission is parked only for a reason",
        "an answer is on record",
        "no submission is lost",
        "one id, one answer",
    }


def test_a_refusal_that_cannot_be_recorded_is_answered_all_the_same(proof: Proof) -> None:
    (example,) = (each for each in proof.counterexamples if each.violation.promise == "one id, one answer")
    assert "RecordRefusal fails (States.Timeout), Refused, Answered" in report.trace(example)[-1]
