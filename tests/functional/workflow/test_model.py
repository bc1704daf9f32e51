"""Random submissions, repeats, conflicts, failures, lost responses, deaths, leases and redrives, against a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cfn.workflow.limits import PARKED_CUSTOMER
from pipeline.transactions.redrive import Redriver, Result, redrive
from pipeline.transactions.submit import Answer, Parked, Unanswered
from tests.conftest import examples
from tests.functional.workflow_lab import Lab, running_lab

PAYLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "clean": ({"amount": "10.00", "currency": "USD"}, "APPROVED"),
    "other": ({"amount": "11.00", "currency": "USD"}, "APPROVED"),
    "doubtful": ({"amount": "10.00", "currency": "USD", "score": 60}, "REVIEW"),
    "blocked": ({"amount": "10.00", "currency": "USD", "findings": ["BLOCK"]}, "DECLINED"),
    "broken": ({"currency": "USD"}, "REJECTED"),
    "large": ({"amount": "10.00", "currency": "USD", "pad": "x" * 9_000}, "REJECTED"),
}
THROTTLED, LOST = "DynamoDB.ThrottlingException", "DynamoDB.InternalServerErrorException"
# name → (state, when, error, times)…; what they may lead to is the model's to say.
TROUBLES: dict[str, list[tuple[str, str, str, int]]] = {
    "none": [],
    "validation fails": [("Validate", "before", "Boom", 1)],
    "history fails": [("History", "before", "Boom", 1)],
    "history throttled": [("History", "before", "DynamoDb.ThrottlingException", 3)],
    "fraud detection fails": [("FraudDetection", "before", "Boom", 1)],
    "compliance fails late": [("Compliance", "after", "Boom", 1)],
    "claim fails": [("Claim", "before", "Boom", 1)],
    "claim throttled": [("Claim", "before", THROTTLED, 2)],
    "claim throttled for good": [("Claim", "before", THROTTLED, 9)],
    "claim's response lost": [("Claim", "after", LOST, 1)],
    "claim's response lost, no retry": [("Claim", "after", "States.Timeout", 1)],
    "recall fails": [("Recall", "before", "Boom", 1)],
    "record fails": [("Record", "before", "Boom", 1)],
    "record throttled": [("Record", "before", THROTTLED, 3)],
    "record's response lost": [("Record", "after", LOST, 1)],
    "record's response lost, no retry": [("Record", "after", "States.Timeout", 1)],
    "refusal fails": [("RecordRefusal", "before", "Boom", 1)],
    "details fail": [("KeepDetails", "before", "Boom", 1)],
    "alert fails": [("Alert", "before", "Boom", 3)],
    "queue down": [("Validate", "before", "Boom", 1), ("Park", "before", "Boom", 1)],
    "queue's response lost": [("Compliance", "before", "Boom", 1), ("Park", "after", "Boom", 1)],
    "release fails": [("Validate", "before", "Boom", 1), ("Release", "before", "Boom", 1)],
    "dies after the claim": [("Validate", "die", "", 1)],
    "dies in the claim": [("Claim", "die-after", "", 1)],
    "dies before the record": [("Record", "die", "", 1)],
    "dies after the record": [("Record", "die-after", "", 1)],
    "dies before the alert": [("Alert", "die", "", 1)],
}


def fails_after(answer: Answer, trouble: str) -> bool:
    """Whether what follows the answer fails: it is parked, and the answer is given."""
    flagged = answer.outcome in ("REVIEW", "DECLINED")
    return (trouble == "details fail" and flagged) or (
        trouble == "alert fails" and (flagged or answer.outcome == "CONFLICT")
    )


@dataclass
class Entry:
    """What the model knows of an id. ``payload`` is None until a claim may have been made."""

    payload: str | None = None
    sure: bool = False
    answer: Answer | None = None


class Workflow(RuleBasedStateMachine):
    lab: Lab
    troubles: Sequence[str] = sorted(TROUBLES)

    def __init__(self) -> None:
        super().__init__()
        self.lab.clear()
        self.entries: dict[str, Entry] = {}
        self.parked: dict[str, tuple[str, str]] = {}

    @rule(
        transaction_id=st.sampled_from("abcdefgh"),
        payload=st.just("clean") | st.just("doubtful") | st.sampled_from(sorted(PAYLOADS)),
        trouble=st.runner().flatmap(lambda workflow: st.sampled_from(workflow.troubles)),
    )
    def submit(self, transaction_id: str, payload: str, trouble: str) -> None:
        self.lab.faults(*(self.lab.fault(state, when, error, times) for state, when, error, times in TROUBLES[trouble]))
        document = {"transaction_id": transaction_id, **PAYLOADS[payload][0]}
        entry = self.entries.setdefault(transaction_id, Entry())
        try:
            answer = self.lab.submit(document)
            self.check_answer(entry, payload, trouble, answer)
            if fails_after(answer, trouble):
                self.parked[answer.execution] = (transaction_id, payload)
        except Parked as error:
            self.check_parked(trouble, error)
            self.parked[error.execution] = (transaction_id, payload)
            self.may_have_claimed(entry, payload)
        except Unanswered:
            assert trouble.startswith("dies")
            self.may_have_claimed(entry, payload)
        finally:
            self.lab.faults()

    @staticmethod
    def check_parked(trouble: str, error: Parked) -> None:
        """Parked only for a reason: trouble now, or a claim that trouble left behind."""
        assert trouble != "none" or error.error == "TransactionInProgress"

    def may_have_claimed(self, entry: Entry, payload: str) -> None:
        """An id without an answer may now belong to this payload."""
        if entry.payload is None:
            entry.payload = payload
        elif not entry.sure and entry.payload != payload:
            entry.payload = None  # either of them

    def check_answer(self, entry: Entry, payload: str, trouble: str, answer: Answer) -> None:
        if answer.outcome == "CONFLICT":
            assert not entry.sure or entry.payload != payload
            assert not answer.repeat
        elif entry.answer is not None:
            assert (payload, answer.repeat) == (entry.payload, True)
            assert answer == self.repeated(entry.answer)
        else:
            assert answer.outcome == PAYLOADS[payload][1]
            assert not entry.sure or entry.payload == payload
            entry.payload, entry.sure, entry.answer = payload, True, answer

    @staticmethod
    def repeated(answer: Answer) -> Answer:
        document = answer.to_json() | {"repeat": True}
        return Answer(
            document["transaction_id"], document["outcome"], tuple(document["reasons"]), True, document["decided_at"],
            document.get("score"),
        )  # fmt: skip

    @rule()
    def leases_run_out(self) -> None:
        for item in self.lab.client("dynamodb").scan(TableName=self.lab.names.table)["Items"]:
            if "lease_until" in item:
                self.lab.expire_lease(item["transaction_id"]["S"])

    @precondition(lambda self: self.parked)
    @rule()
    def redrive(self) -> None:
        result = redrive(self.redriver())
        assert {each.message.execution for each in result.messages} == set(self.parked)
        for each in result.messages:
            transaction_id, payload = self.parked.pop(each.message.execution)
            if each.answer is None:
                assert each.result is Result.CLAIMED or "TransactionInProgress" in each.why
            else:
                self.check_answer(self.entries[transaction_id], payload, "none", each.answer)
        # What is parked again has the name of the execution that parked it again.
        for message in self.lab.parked() + self.lab.parked_in_table():
            self.parked[message["execution"]] = (
                message["input"]["transaction_id"],
                next(
                    name
                    for name, (fields, _outcome) in PAYLOADS.items()
                    if {"transaction_id": message["input"]["transaction_id"], **fields} == message["input"]
                ),
            )

    def redriver(self) -> Redriver:
        lab = self.lab
        return Redriver(
            lab.client("sqs"), lab.client("dynamodb"), lab.client("stepfunctions"), lab.outputs["QueueUrl"],
            lab.names.table, lab.machine, workers=1, last_poll=0,
        )  # fmt: skip

    @invariant()
    def a_decision_never_changes_and_a_submission_is_parked_once(self) -> None:
        items = self.lab.items()
        for transaction_id, entry in self.entries.items():
            if entry.answer is not None:
                record = items[transaction_id]
                assert (record["status"], record["outcome"]) == ("DECIDED", entry.answer.outcome)
                assert record["decided_at"] == entry.answer.decided_at
        queue = [message["execution"] for message in self.lab.parked()]
        table = [
            json.loads(each["message"])["execution"]
            for each in items.values()
            if each.get("customer_id") == PARKED_CUSTOMER
        ]
        assert len(set(queue)) == len(queue)
        assert set(queue) | set(table) == set(self.parked)

    def teardown(self) -> None:
        self.leases_run_out()
        result = redrive(self.redriver())
        assert result.remaining == 0
        assert self.lab.parked() == self.lab.parked_in_table() == []
        for transaction_id, entry in self.entries.items():
            # Nothing hangs: a new submission is answered.
            name = entry.payload or "clean"
            assert self.lab.submit({"transaction_id": transaction_id, **PAYLOADS[name][0]}).outcome


def run(lab: Lab, count: int, **more: Any) -> None:
    Workflow.lab = lab
    Workflow.TestCase.settings = settings(
        max_examples=count,
        stateful_step_count=15,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    Workflow.TestCase().runTest()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("model lab")) as lab:
        lab.deploy(patience_seconds=0.2)
        yield lab


def test_the_workflow_keeps_its_invariants(lab: Lab) -> None:
    run(lab, count=int(os.environ.get("WORKFLOW_EXAMPLES", examples(0.25))))


def parks_twice(states: dict[str, Any]) -> None:
    states["Park"]["Retry"] = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2, "IntervalSeconds": 1}]


def decides_again(states: dict[str, Any]) -> None:
    claim = states["Claim"]["Arguments"]
    claim["ConditionExpression"] = "fingerprint = :fingerprint OR attribute_not_exists(transaction_id)" + (
        " OR (#status = :claimed AND lease_until < :now AND claim_token = :token)"
    )


# Each with the troubles in which it shows.
@pytest.mark.parametrize(
    ("sabotage", "troubles"), [(parks_twice, ["none", "queue's response lost"]), (decides_again, ["none"])]
)
def test_the_model_sees_a_machine_that_does_not(
    lab: Lab, sabotage: Callable[[dict[str, Any]], None], troubles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workflow, "troubles", troubles)
    stepfunctions = lab.client("stepfunctions")
    right = stepfunctions.describe_state_machine(stateMachineArn=lab.machine)["definition"]
    wrong = json.loads(right)
    sabotage(wrong["States"])
    stepfunctions.update_state_machine(stateMachineArn=lab.machine, definition=json.dumps(wrong))
    try:
        with pytest.raises((AssertionError, Flaky, ExceptionGroup)):
            run(lab, count=40, phases=[Phase.generate], derandomize=True, database=None)
    finally:
        stepfunctions.update_state_machine(stateMachineArn=lab.machine, definition=right)
