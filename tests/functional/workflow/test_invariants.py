"""One answer per transaction, or one parked message: on real state machines whose tasks fail on command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cfn.workflow.limits import DETAILS_DAYS, TRANSACTION_MAX_CHARACTERS
from pipeline.transactions.submit import INPUT_MAX_BYTES, Answer, Parked, Unanswered
from tests.functional.workflow_lab import Lab, running_lab

THROTTLED = "DynamoDB.ThrottlingException"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("workflow lab")) as lab:
        lab.deploy(patience_seconds=1)
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def transaction(transaction_id: str = "t-1", **more: Any) -> dict[str, Any]:
    return {"transaction_id": transaction_id, "amount": "10.00", "currency": "USD", "customer_id": "c-1", **more}


def park(lab: Lab, document: Any) -> Parked:
    with pytest.raises(Parked) as caught:
        lab.submit(document)
    return caught.value


def answered(lab: Lab, document: Any) -> Answer:
    """The answer, also on a machine so slow that another execution holds the claim for longer than the patience."""
    for _attempt in range(20):
        try:
            return lab.submit(document)
        except Parked as parked:
            if parked.error != "TransactionInProgress":
                raise
    raise AssertionError("never answered")


class TestAnswers:
    @pytest.mark.parametrize(
        ("more", "outcome"),
        [
            ({}, "APPROVED"),
            ({"score": 49}, "APPROVED"),
            ({"score": 50}, "REVIEW"),
            ({"score": 79.5}, "REVIEW"),
            ({"score": 80}, "DECLINED"),
            ({"findings": ["REPORT"]}, "APPROVED"),
            ({"findings": ["REVIEW"]}, "REVIEW"),
            ({"findings": ["REVIEW", "BLOCK"]}, "DECLINED"),
            ({"findings": ["BLOCK"], "score": 60}, "DECLINED"),
        ],
    )
    def test_the_judges_decide(self, lab: Lab, more: dict[str, Any], outcome: str) -> None:
        answer = lab.submit(transaction(**more))
        assert (answer.outcome, answer.repeat, answer.transaction_id) == (outcome, False, "t-1")
        assert answer.score == more.get("score", 0)
        assert len(answer.reasons) == len(more.get("findings", [])) + ("score" in more)

    def test_reasons_name_their_source_and_rule(self, lab: Lab) -> None:
        answer = lab.submit(transaction(score=60, findings=["REPORT"]))
        assert [(reason["source"], reason["rule"]) for reason in answer.reasons] == [
            ("fraud-detection", "told"),
            ("compliance-checking", "told"),
        ]

    def test_invalid_input_is_rejected_with_all_its_faults_and_recorded(self, lab: Lab) -> None:
        answer = lab.submit({"transaction_id": "t-1"})
        assert answer.outcome == "REJECTED"
        assert [(reason["field"], reason["rule"]) for reason in answer.reasons] == [
            ("amount", "missing"),
            ("currency", "missing"),
        ]
        assert (lab.record("t-1") or {})["outcome"] == "REJECTED"
        assert lab.submit({"transaction_id": "t-1"}).repeat

    @pytest.mark.parametrize(
        "unusable",
        ["", "x" * 65, "a b", "a#b", "ä", "a\n", "\u0000", "🙂", 7, None, True, ["a"], {"a": 1}],
        ids=repr,
    )
    def test_an_unusable_id_is_rejected_with_all_faults_and_not_recorded(self, lab: Lab, unusable: Any) -> None:
        answer = lab.submit({"transaction_id": unusable, "amount": "1"})
        assert (answer.outcome, answer.transaction_id) == ("REJECTED", None)
        assert "currency" in [reason.get("field") for reason in answer.reasons]
        assert lab.client("dynamodb").scan(TableName=lab.names.table)["Count"] == 0
        assert lab.parked() == []

    @pytest.mark.parametrize("document", [[], [1], "text", 7, None, True], ids=repr)
    def test_what_is_no_object_is_rejected(self, lab: Lab, document: Any) -> None:
        answer = lab.submit(json.dumps(document))
        assert (answer.outcome, [reason["rule"] for reason in answer.reasons]) == ("REJECTED", ["not_an_object"])

    @pytest.mark.parametrize("number", ["1.7e308", "9" * 308, "1e-400"], ids=["largest", "longest", "smallest"])
    def test_a_number_at_the_end_of_a_double_is_answered(self, lab: Lab, number: str) -> None:
        text = json.dumps(transaction(amount=0)).replace('"amount": 0', f'"amount": {number}')
        assert number in text
        assert lab.submit(text).outcome == "APPROVED"
        assert lab.parked() == []

    def test_an_object_without_id_is_rejected_with_all_faults(self, lab: Lab) -> None:
        assert [reason["field"] for reason in lab.submit({}).reasons] == ["transaction_id", "amount", "currency"]

    def test_the_record_tells_the_story(self, lab: Lab) -> None:
        answer = lab.submit(transaction())
        record = lab.record("t-1") or {}
        assert record["received_at"] <= record["decided_at"] == answer.decided_at
        assert (record["execution"], record["attempts"], record["status"]) == (answer.execution, "1", "DECIDED")
        assert json.loads(record["judges"]) == {
            judge: {"image": f"sha256:{name}", "rules": "2026-11-01"}
            for judge, name in (
                ("validation", "transaction-validation"),
                ("fraud", "fraud-detection"),
                ("compliance", "compliance-checking"),
            )
        }
        assert record["customer_id"] == "c-1"

    def test_the_role_is_enough_and_enforced(self, lab: Lab) -> None:
        lab.submit(transaction(score=60))
        lab.submit(transaction(score=60))
        lab.faults(lab.fault("Park"), lab.fault("Claim"))
        park(lab, transaction("t-2"))
        trace = lab.trace()
        assert all(call["allowed"] for call in trace)
        assert {call["action"] for call in trace} == {
            "dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "lambda:InvokeFunction",
            "sns:Publish", "sqs:SendMessage",
        }  # fmt: skip

    def test_only_a_valid_transaction_counts_for_its_customer(self, lab: Lab) -> None:
        lab.submit(transaction(customer_id=7))
        lab.submit(transaction("t-2", amount=True))
        lab.submit(transaction("t-3"))
        records = [lab.record(f"t-{number}") or {} for number in (1, 2, 3)]
        assert ["customer_id" in record for record in records] == [False, False, True]
        assert records[2]["occurred_at"] == records[2]["received_at"]


class TestOnce:
    def test_a_repeat_gets_the_same_answer_and_is_marked(self, lab: Lab) -> None:
        first = lab.submit(transaction(score=60))
        record = lab.record("t-1")
        second = lab.submit(transaction(score=60))
        assert second.repeat
        assert (second.outcome, second.reasons, second.decided_at, second.score) == (
            first.outcome, first.reasons, first.decided_at, first.score,
        )  # fmt: skip
        assert lab.record("t-1") == record

    def test_the_order_of_keys_does_not_matter(self, lab: Lab) -> None:
        nested = transaction(device={"os": "x", "ids": [{"a": 1, "b": 2}, None, True, 1.5]})
        turned = dict(reversed(nested.items())) | {"device": {"ids": [{"b": 2, "a": 1}, None, True, 1.5], "os": "x"}}
        lab.submit(nested)
        assert lab.submit(turned).repeat

    @pytest.mark.parametrize(
        "other",
        [
            {"amount": "10.01"},
            {"amount": 10},
            {"extra": None},
            {"device": {"ids": [1, 2]}},
            {"device": {"ids": [2, 1, 3]}},
            {"device": {"ids": [[1], 2, 3]}},
            {"device": {}},
            {"device": []},
            {"device": "[1,2,3]"},
        ],
        ids=repr,
    )
    def test_another_payload_is_a_conflict_and_the_first_stays(self, lab: Lab, other: dict[str, Any]) -> None:
        first = transaction(device={"ids": [1, 2, 3]})
        lab.submit(first)
        record = lab.record("t-1")
        answer = lab.submit(first | other)
        assert (answer.outcome, answer.repeat) == ("CONFLICT", False)
        assert lab.record("t-1") == record
        assert lab.submit(first).outcome == "APPROVED"

    def test_a_corrected_payload_under_a_rejected_id_is_a_conflict(self, lab: Lab) -> None:
        lab.submit({"transaction_id": "t-1"})
        answer = lab.submit(transaction())
        assert answer.outcome == "CONFLICT"
        assert answer.reasons[0]["message"].endswith("and rejected: submit a corrected one under a new id")
        lab.submit(transaction("t-2"))
        assert "rejected" not in lab.submit(transaction("t-2", amount="11")).reasons[0]["message"]

    def test_many_at_once_get_one_decision(self, lab: Lab) -> None:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _number: answered(lab, transaction(score=60)), range(12)))
        assert [answer.repeat for answer in answers].count(False) == 1
        assert len({(answer.outcome, answer.decided_at) for answer in answers}) == 1
        assert (lab.record("t-1") or {})["attempts"] == "1"

    def test_many_different_at_once_get_one_decision_and_conflicts(self, lab: Lab) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda amount: lab.submit(transaction(amount=str(amount))), range(1, 9)))
        outcomes = [answer.outcome for answer in answers]
        assert (outcomes.count("APPROVED"), outcomes.count("CONFLICT")) == (1, 7)


class TestSizes:
    def padded(self, characters: int) -> dict[str, Any]:
        empty = transaction(pad="")
        return transaction(pad="x" * (characters - len(json.dumps(empty, separators=(",", ":")))))

    def test_the_largest_transaction_is_decided(self, lab: Lab) -> None:
        largest = self.padded(TRANSACTION_MAX_CHARACTERS)
        assert lab.submit(largest).outcome == "APPROVED"
        assert lab.submit(largest).repeat

    @pytest.mark.parametrize("characters", [TRANSACTION_MAX_CHARACTERS + 1, 100_000, INPUT_MAX_BYTES])
    def test_what_is_larger_is_rejected_and_recorded(self, lab: Lab, characters: int) -> None:
        text = json.dumps(self.padded(characters), separators=(",", ":"))
        assert len(text) == characters
        answer = lab.submit(text)
        assert (answer.outcome, answer.reasons[0]["rule"], answer.transaction_id) == ("REJECTED", "too_large", "t-1")
        assert lab.submit(text).repeat
        assert lab.submit(transaction()).outcome == "CONFLICT"
        assert lab.submit(json.dumps(self.padded(characters) | {"amount": "99.00"})).outcome in ("CONFLICT", "REJECTED")

    def test_just_over_what_step_functions_takes_is_rejected_without_a_call(self, lab: Lab) -> None:
        answer = lab.submit(json.dumps(self.padded(INPUT_MAX_BYTES + 1), separators=(",", ":")))
        assert (answer.outcome, answer.reasons[0]["rule"]) == ("REJECTED", "too_large")
        assert answer.execution == ""
        assert lab.record("t-1") is None

    def test_characters_of_four_bytes_count_as_bytes(self, lab: Lab) -> None:
        answer = lab.submit(json.dumps(transaction(pad="🙂" * 65_600), ensure_ascii=False))
        assert (answer.outcome, answer.execution) == ("REJECTED", "")

    def test_a_large_input_whose_refusal_cannot_be_recorded_is_parked(self, lab: Lab) -> None:
        lab.faults(lab.fault("RecordRefusal", times=9))
        large = self.padded(50_000)
        park(lab, large)
        (message,) = lab.parked()
        assert (message["state"], message["input"]) == ("RecordRefusal", large)
        assert lab.record("t-1") is None

    def test_a_large_input_under_a_decided_id_is_never_answered_otherwise(self, lab: Lab) -> None:
        assert lab.submit(transaction()).outcome == "APPROVED"
        lab.faults(lab.fault("RecordRefusal"))
        park(lab, self.padded(9_000))
        assert lab.submit(self.padded(9_000)).outcome == "CONFLICT"
        assert lab.submit(transaction()).outcome == "APPROVED"

    @pytest.mark.parametrize(
        "strange",
        [
            {f"k{number}": number for number in range(700)},
            {"a": [{}] * 2_000},
            {"a": [1] * 3_000},
            {"a": [[[["x"] * 900]]]},
        ],
        ids=["keys", "objects", "numbers", "nested"],
    )
    def test_no_shape_takes_longer_than_an_expression_may(self, lab: Lab, strange: dict[str, Any]) -> None:
        assert lab.submit(transaction(**strange)).outcome == "APPROVED"
        assert lab.submit(transaction(**strange)).repeat


class TestParking:
    @pytest.mark.parametrize("state", ["Claim", "Validate", "History", "FraudDetection", "Compliance", "Record"])
    def test_every_failure_parks_exactly_one_message(self, lab: Lab, state: str) -> None:
        lab.faults(lab.fault(state, error="Boom"))
        error = park(lab, transaction())
        assert (error.state, error.error) == (state, "Boom")
        [message] = lab.parked()
        assert message["input"] == transaction()
        assert (message["state"], message["error"], message["execution"]) == (state, "Boom", error.execution)
        assert message["parked_at"]
        assert lab.parked_in_table() == []
        # The claim was released, so there is no lease to wait for.
        assert lab.submit(transaction()).outcome == "APPROVED"

    @pytest.mark.parametrize("state", ["KeepDetails", "Alert"])
    def test_a_failure_after_the_decision_withholds_no_answer_and_parks_the_rest(self, lab: Lab, state: str) -> None:
        lab.faults(lab.fault(state, times=9))
        first = lab.submit(transaction(score=60))
        assert (first.outcome, first.repeat) == ("REVIEW", False)
        [message] = lab.parked()
        assert (message["state"], message["input"], message["execution"]) == (
            state, transaction(score=60), first.execution,
        )  # fmt: skip
        lab.faults()
        lab.trace()
        answer = lab.submit(transaction(score=60))
        assert (answer.repeat, answer.decided_at) == (True, first.decided_at)
        # What was not done before is done now.
        assert {"KeepDetails", "Alert"} <= {call["state"] for call in lab.trace()}

    def test_an_alert_about_a_conflict_that_fails_withholds_no_answer(self, lab: Lab) -> None:
        lab.submit(transaction())
        lab.faults(lab.fault("Alert", times=9))
        assert lab.submit(transaction(amount="11")).outcome == "CONFLICT"
        assert [message["state"] for message in lab.parked()] == ["Alert"]

    def test_an_alert_that_neither_topic_nor_queue_take_is_kept_in_the_table(self, lab: Lab) -> None:
        lab.faults(lab.fault("Alert", times=9), lab.fault("ParkAlert"))
        assert park(lab, transaction(score=60)).state == "Alert"
        assert [message["state"] for message in lab.parked_in_table()] == ["Alert"]
        assert (lab.record("t-1") or {})["outcome"] == "REVIEW"

    def test_a_failure_to_recall_parks(self, lab: Lab) -> None:
        lab.submit(transaction())
        lab.faults(lab.fault("Recall"))
        assert park(lab, transaction()).state == "Recall"

    @pytest.mark.parametrize(
        ("function", "state"),
        [
            ("transaction-validation", "Validate"),
            ("fraud-detection", "FraudDetection"),
            ("compliance-checking", "Compliance"),
        ],
    )
    def test_an_answer_without_a_verdict_parks(self, lab: Lab, function: str, state: str) -> None:
        assert park(lab, transaction(garbage=function)).state == state
        assert park(lab, transaction("t-2", huge=function)).error == "States.DataLimitExceeded"

    @pytest.mark.parametrize("score", [-1, 101, "90", None])
    def test_a_score_that_is_none_approves_nothing(self, lab: Lab, score: Any) -> None:
        assert park(lab, transaction(score=score)).state == "FraudDetection"

    def test_an_unknown_action_approves_nothing(self, lab: Lab) -> None:
        assert park(lab, transaction(findings=["FORBID"])).state == "Compliance"

    def test_input_without_an_id_is_parked_too(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate", error="PlaceholderImage"))
        error = park(lab, {"amount": 1})
        assert ("up",) in error.next_step.commands
        assert [message["input"] for message in lab.parked()] == [{"amount": 1}]

    def test_a_queue_that_is_down_leaves_the_message_in_the_table(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate"), lab.fault("Park", error="SQS.QueueDoesNotExist"))
        error = park(lab, transaction())
        assert lab.parked() == []
        [message] = lab.parked_in_table()
        assert (message["input"], message["state"], message["execution"]) == (
            transaction(),
            "Validate",
            error.execution,
        )
        assert lab.submit(transaction()).outcome == "APPROVED"

    def test_a_lost_response_of_the_queue_parks_one_message_under_one_name(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate"), lab.fault("Park", when="after", error="SQS.SdkClientException"))
        park(lab, transaction())
        assert len(lab.parked()) == 1
        assert [message["execution"] for message in lab.parked_in_table()] == [lab.parked()[0]["execution"]]

    def test_when_queue_and_table_are_down_the_submitter_is_told(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate"), lab.fault("Park"), lab.fault("ParkInTable", times=9))
        with pytest.raises(Unanswered, match="NotParked") as caught:
            lab.submit(transaction())
        assert not isinstance(caught.value, Parked)
        assert "Submit it again" in str(caught.value.next_step)

    def test_a_claim_that_cannot_be_given_back_is_parked_all_the_same(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate"), lab.fault("Release"))
        park(lab, transaction())
        assert len(lab.parked()) == 1
        assert park(lab, transaction()).error == "TransactionInProgress"
        lab.expire_lease("t-1")
        assert lab.submit(transaction()).outcome == "APPROVED"

    def test_the_record_tells_that_it_was_parked(self, lab: Lab) -> None:
        lab.faults(lab.fault("Compliance", error="Boom"))
        park(lab, transaction())
        lab.submit(transaction())
        record = lab.record("t-1") or {}
        assert (record["parked_error"], record["attempts"]) == ("Compliance: Boom", "2")

    def test_a_permission_that_is_missing_parks_what_needs_it(self, lab: Lab) -> None:
        machine = lab.client("stepfunctions").describe_state_machine(stateMachineArn=lab.machine)
        name = machine["roleArn"].rpartition("/")[2]
        iam = lab.client("iam")
        policy = iam.get_role_policy(RoleName=name, PolicyName="workflow")["PolicyDocument"]
        less = [statement for statement in policy["Statement"] if statement["Action"] != ["sns:Publish"]]
        assert len(less) == len(policy["Statement"]) - 1
        try:
            iam.put_role_policy(
                RoleName=name, PolicyName="workflow", PolicyDocument=json.dumps({**policy, "Statement": less})
            )
            assert lab.submit(transaction(score=90)).outcome == "DECLINED"
            assert [message["error"] for message in lab.parked()] == ["SNS.AuthorizationErrorException"]
        finally:
            iam.put_role_policy(RoleName=name, PolicyName="workflow", PolicyDocument=json.dumps(policy))
        assert lab.submit(transaction(score=90)).repeat


class TestRetries:
    @pytest.mark.parametrize(
        ("state", "error"),
        [
            ("Claim", THROTTLED),
            ("History", "DynamoDb.ProvisionedThroughputExceededException"),
            ("Record", "DynamoDB.ProvisionedThroughputExceededException"),
            ("Validate", "Lambda.TooManyRequestsException"),
            ("Compliance", "Lambda.ServiceException"),
        ],
    )
    def test_three_refusals_are_survived_and_four_are_parked(self, lab: Lab, state: str, error: str) -> None:
        lab.faults(lab.fault(state, error=error, times=3))
        assert lab.submit(transaction()).outcome == "APPROVED"
        lab.faults(lab.fault(state, error=error, times=4))
        assert park(lab, transaction("t-2")).error == error

    def test_an_error_of_a_function_is_not_tried_again(self, lab: Lab) -> None:
        lab.faults(lab.fault("FraudDetection", error="ValueError"))
        park(lab, transaction())
        assert [call["state"] for call in lab.trace()].count("FraudDetection") == 1

    @pytest.mark.parametrize("state", ["Claim", "Record"])
    @pytest.mark.parametrize("spelling", ["DynamoDB", "DynamoDb"])
    def test_both_spellings_of_a_failed_condition_lead_to_the_record(self, lab: Lab, state: str, spelling: str) -> None:
        lab.submit(transaction())
        lab.faults(lab.fault(state, error=f"{spelling}.ConditionalCheckFailedException"))
        assert lab.submit(transaction()).repeat

    @pytest.mark.parametrize("state", ["Claim", "Record"])
    def test_a_lost_response_of_the_table_does_no_harm(self, lab: Lab, state: str) -> None:
        lab.faults(lab.fault(state, when="after", error="DynamoDB.InternalServerErrorException"))
        answer = lab.submit(transaction())
        assert (answer.outcome, answer.repeat) == ("APPROVED", False)
        assert (lab.record("t-1") or {})["decided_at"] == answer.decided_at
        assert lab.submit(transaction()).decided_at == answer.decided_at

    def test_a_lost_response_of_the_claim_that_is_not_tried_again_gives_the_claim_back(self, lab: Lab) -> None:
        lab.faults(lab.fault("Claim", when="after", error="States.Timeout"))
        assert park(lab, transaction()).state == "Claim"
        assert lab.submit(transaction()).outcome == "APPROVED"

    def test_a_task_that_hangs_is_given_up(self, lab: Lab) -> None:
        lab.faults(lab.fault("Claim", when="hang", seconds=20))
        started = time.monotonic()
        assert park(lab, transaction()).error == "States.Timeout"
        assert time.monotonic() - started < 20


def claimed(lab: Lab, key: str) -> None:
    """Return once it is claimed."""
    until = time.monotonic() + 10
    while lab.record(key) is None and time.monotonic() < until:
        time.sleep(0.02)


class TestLeases:
    @pytest.mark.parametrize("state", ["Validate", "Record"])
    def test_a_dead_execution_is_taken_over_after_its_lease(self, lab: Lab, state: str) -> None:
        lab.faults(lab.fault(state, when="die"))
        with pytest.raises(Unanswered, match=r"States\.Runtime"):
            lab.submit(transaction())
        assert park(lab, transaction()).error == "TransactionInProgress"
        lab.expire_lease("t-1")
        answer = lab.submit(transaction())
        assert (answer.outcome, answer.repeat) == ("APPROVED", False)
        assert (lab.record("t-1") or {})["attempts"] == "2"

    def test_an_execution_that_died_after_its_answer_was_recorded_has_answered(self, lab: Lab) -> None:
        lab.faults(lab.fault("Record", when="die-after"))
        with pytest.raises(Unanswered):
            lab.submit(transaction())
        assert lab.submit(transaction()).repeat

    def test_a_taken_over_claim_keeps_when_it_was_received(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate", when="die"))
        with pytest.raises(Unanswered):
            lab.submit(transaction())
        received = (lab.record("t-1") or {})["received_at"]
        lab.expire_lease("t-1")
        lab.submit(transaction())
        assert (lab.record("t-1") or {})["received_at"] == received

    def test_another_payload_does_not_take_over_a_dead_claim(self, lab: Lab) -> None:
        lab.faults(lab.fault("Validate", when="die"))
        with pytest.raises(Unanswered):
            lab.submit(transaction())
        lab.expire_lease("t-1")
        assert lab.submit(transaction(amount="11.00")).outcome == "CONFLICT"

    def test_a_slow_execution_cannot_overwrite_who_took_over(self, lab: Lab) -> None:
        lab.faults(lab.fault("FraudDetection", when="slow", seconds=3, execution="slow"))
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(lab.submit, transaction(), execution="slow")
            claimed(lab, "t-1")
            lab.expire_lease("t-1")
            fast = lab.submit(transaction(), execution="fast")
            late = slow.result(timeout=20)
        assert (fast.repeat, late.repeat) == (False, True)
        assert late.decided_at == fast.decided_at
        record = lab.record("t-1") or {}
        assert (record["execution"], record["attempts"]) == (fast.execution, "2")

    def test_who_waits_gets_the_answer_of_the_one_that_works(self, lab: Lab) -> None:
        lab.faults(lab.fault("FraudDetection", when="slow", seconds=0.4, execution="slow"))
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(lab.submit, transaction(), execution="slow")
            claimed(lab, "t-1")
            waiting = lab.submit(transaction(), execution="waiting")
        assert (slow.result().repeat, waiting.repeat) == (False, True)
        assert waiting.decided_at == slow.result().decided_at


class TestDetails:
    def test_details_expire_and_decisions_do_not(self, lab: Lab) -> None:
        lab.submit(transaction(score=60))
        assert "expires_at" not in (lab.record("t-1") or {})
        details = lab.record("details#t-1") or {}
        assert json.loads(details["transaction"]) == transaction(score=60)
        assert abs(int(details["expires_at"]) - time.time() - DETAILS_DAYS * 86_400) < 60

    @pytest.mark.parametrize("document", [transaction(), {"transaction_id": "t-1", "pan": "4111111111111111"}])
    def test_nothing_is_kept_of_what_was_approved_or_rejected(self, lab: Lab, document: dict[str, Any]) -> None:
        lab.submit(document)
        assert lab.record("details#t-1") is None
        assert "4111" not in json.dumps(lab.record("t-1"))

    def test_alerts_tell_of_reviews_declines_conflicts_and_their_repeats(self, lab: Lab) -> None:
        sqs, sns = lab.client("sqs"), lab.client("sns")
        url = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        sns.subscribe(TopicArn=lab.outputs["TopicArn"], Protocol="sqs", Endpoint=arn)
        for document in (
            transaction("ok"),
            transaction("review", score=60),
            transaction("review", score=60),
            transaction("declined", score=90),
            transaction("ok", amount="1.00"),
            {"transaction_id": "bad"},
        ):
            lab.submit(document)
        alerts: list[dict[str, Any]] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages"):
            alerts += [json.loads(json.loads(message["Body"])["Message"]) for message in messages]
        assert sorted((alert["transaction_id"], alert["outcome"], alert["repeat"]) for alert in alerts) == [
            ("declined", "DECLINED", False),
            ("ok", "CONFLICT", False),
            ("review", "REVIEW", False),
            ("review", "REVIEW", True),
        ]
        assert all(alert["reasons"] and alert["execution"] for alert in alerts)
