"""Counterexamples of the model checker happen on the embedded AWS too: the same faults, the same broken promise."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cfn.workflow.composition import definition
from pipeline.transactions.submit import Answer, Parked, Unanswered
from pipeline.verification import report, samples
from pipeline.verification.model.world import Counterexample
from pipeline.verification.mutations import MUTATIONS
from pipeline.verification.proof import verify
from tests.functional.workflow_lab import Lab, running_lab

# What the model's functions answer, as the lab's functions are asked for it.
FIELDS = {"invalid": {"amount": True}, "score 60": {"score": 60}}
# Errors that are the model's own injection; every other error comes by itself.
BY_ITSELF = ("ConditionalCheckFailedException", "QueryEvaluationError")


@dataclass(frozen=True)
class Ended:
    answer: Answer | None
    error: Exception | None


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("counterexamples")) as lab:
        lab.deploy(patience_seconds=0.2)
        yield lab


@pytest.fixture
def lab(started: Lab) -> Iterator[Lab]:
    started.clear()
    client = started.client("stepfunctions")
    right = client.describe_state_machine(stateMachineArn=started.machine)["definition"]
    yield started
    client.update_state_machine(stateMachineArn=started.machine, definition=right)


def replay(lab: Lab, example: Counterexample) -> list[Ended]:
    """Carry out the moves of executions that follow each other, with their faults."""
    order = [move.execution for move in example.moves]
    assert min(order) >= 0, report.trace(example)
    executions = list(dict.fromkeys(order))
    assert order == sorted(order), "the executions interleave"
    ended = []
    for number in executions:
        moves = [move for move in example.moves if move.execution == number]
        payload = copy.deepcopy(samples.PAYLOADS[moves[0].note.removeprefix("begins with ")])
        faults = []
        for step in (step for move in moves for step in move.steps):
            payload |= FIELDS.get(step.detail, {})
            injected = step.detail and not step.detail.endswith(BY_ITSELF)
            if injected and step.how in ("fails", "loses its response"):
                faults.append(lab.fault(step.state, "after" if "loses" in step.how else "before", step.detail, times=9))
            elif step.detail.endswith("was tried again"):
                faults.append(lab.fault(step.state, "after", step.detail.split()[1], times=1))
        became = moves[-1].became
        if became is not None and not became.ended:
            faults.append(lab.fault(moves[-1].steps[-1].state, "die-after"))
        lab.faults(*faults)
        try:
            ended.append(Ended(lab.submit(payload), None))
        except (Parked, Unanswered) as error:
            ended.append(Ended(None, error))
        lab.faults()
    return ended


def lost(lab: Lab, ended: list[Ended]) -> bool:
    return ended[-1].answer is None and lab.parked() == lab.parked_in_table() == []


def answers_differ(lab: Lab, ended: list[Ended]) -> bool:
    given = [each.answer for each in ended if each.answer and each.answer.outcome != "CONFLICT"]
    recorded = (lab.record("t-1") or {}).get("outcome")
    return any(answer.outcome != recorded for answer in given)


def parked_twice(lab: Lab, ended: list[Ended]) -> bool:
    bodies = [message["execution"] for message in lab.parked()]
    return len(bodies) > len(set(bodies))


def repeats_are_fresh(_lab: Lab, ended: list[Ended]) -> bool:
    return sum(each.answer is not None and not each.answer.repeat for each in ended) > 1


def claim_is_kept(lab: Lab, _ended: list[Ended]) -> bool:
    return bool(lab.parked()) and int((lab.record("t-1") or {}).get("lease_until", "0")) > 0


def input_is_missing(lab: Lab, _ended: list[Ended]) -> bool:
    return any("input" not in message for message in lab.parked())


@pytest.mark.parametrize(
    ("mutation", "promise", "broken"),
    [
        ("Validate catches nothing", "no submission is lost", lost),
        ("Assess catches nothing", "no submission is lost", lost),
        ("Claim catches nothing else", "no submission is lost", lost),
        ("RecordRefusal answers although it could not record", "an answer is on record", answers_differ),
        ("RecordRefusal answers although it could not record", "one id, one answer", repeats_are_fresh),
        ("Known does not mark a repeat", "a repeat is marked", repeats_are_fresh),
        ("Park is tried again", "a submission is parked at most once", parked_twice),
        ("Park does not give the claim back", "what is parked holds no claim", claim_is_kept),
        ("Park sends no input", "a parked message can be redriven", input_is_missing),
    ],
)
def test_a_counterexample_happens(
    lab: Lab, mutation: str, promise: str, broken: Callable[[Lab, list[Ended]], bool]
) -> None:
    change = next(each for each in MUTATIONS if each.name == mutation)
    mutant = definition()
    change.change(mutant["States"])
    # Looking on after the first promise that is broken is for one that needs no time to pass.
    first = promise != "one id, one answer"
    proof = verify(mutant, executions=2, faults=change.faults, ticks=2 if first else 0, stop_at_first=first)
    (example,) = (each for each in proof.counterexamples if each.violation.promise == promise)

    assert not broken(lab, replay(lab, example)), "the workflow as it is breaks the promise"
    lab.clear()
    client = lab.client("stepfunctions")
    deployed = json.loads(client.describe_state_machine(stateMachineArn=lab.machine)["definition"])
    change.change(deployed["States"])
    client.update_state_machine(stateMachineArn=lab.machine, definition=json.dumps(deployed))
    assert broken(lab, replay(lab, example)), report.trace(example)
