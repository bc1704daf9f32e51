"""A release rehearsed on what was submitted: it finds exactly what it changes, changes nothing, and leaves nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cfn.names import Names
from pipeline.core.errors import ReleaseError
from pipeline.core.events import ignore
from pipeline.rehearsal.comparison import Rehearsal
from pipeline.rehearsal.gate import Gate, Recorded, RequiredRehearsal
from pipeline.rehearsal.stage import Cast, open_stage
from pipeline.release.deployment import current_images, read_pipeline
from pipeline.release.rehearsed import push_candidates, rehearse_release
from pipeline.release.release import release
from pipeline.release.rollback import recorded_release, roll_back
from pipeline.release.teardown import take_down
from tests.functional.release_lab import Lab

# Every other one is in the band that the planted change is about.
AMOUNTS = ("10.00", "6000.00", "700.00", "19999.99")
IN_BAND = ("6000.00", "19999.99")
TRANSACTIONS = [
    {
        "transaction_id": f"recorded-{number}", "customer_id": f"customer-{number // 2}", "merchant_id": "m-1",
        "amount": "not one" if number == 7 else AMOUNTS[number % 4], "currency": "USD",
    }
    for number in range(16)
]  # fmt: skip


@dataclass
class Decided:
    """An environment that has decided TRANSACTIONS, and the file of them."""

    lab: Lab
    environment: str
    path: Path

    def rehearse(self, *, template: str = "") -> Rehearsal:
        deployment = self.lab.deployment(self.environment)
        images = push_candidates(deployment, ignore)
        recorded = Recorded(self.path, workers=2)
        return rehearse_release(deployment, template or deployment.templates.pipeline, images, recorded, ignore)

    def data(self) -> dict[str, Any]:
        """All of the table, and what waits in the queues; the topics deliver into one of them."""
        client, names = self.lab.aws.client, Names(self.environment)
        pages = client("dynamodb").get_paginator("scan").paginate(TableName=names.table)
        items = sorted((item for page in pages for item in page["Items"]), key=json.dumps)
        sqs = client("sqs")
        counts = {}
        for url in sqs.list_queues().get("QueueUrls", []):
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            counts[url] = {name: value for name, value in attributes.items() if "NumberOfMessages" in name}
        return {"items": items, "queues": counts}

    @property
    def is_left(self) -> bool:
        """Whether there is a rehearsal stack, or a function of one."""
        name, client = Names(self.environment).rehearsal_stack, self.lab.aws.client
        functions = client("lambda").get_paginator("list_functions").paginate()
        left = [each["FunctionName"] for page in functions for each in page["Functions"]]
        try:
            client("cloudformation").describe_stacks(StackName=name)
        except ClientError:
            return any(each.startswith(name) for each in left)
        return True


@pytest.fixture(scope="module")
def decided(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decided]:
    with lab.environment() as environment:
        lab.release(environment, smoke=False)
        aws = lab.aws
        outputs = read_pipeline(lab.deployment(environment)).outputs
        # What the topic sends would be found in a queue.
        sqs, sns = aws.client("sqs"), aws.client("sns")
        queue = sqs.create_queue(QueueName=f"alerts-{environment}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=outputs["AlertTopicArn"], Protocol="sqs", Endpoint=arn)
        client = aws.client("stepfunctions")

        def submit(transaction: dict[str, str]) -> str:
            answer = client.start_sync_execution(
                stateMachineArn=outputs["StateMachineArn"], input=json.dumps(transaction)
            )
            return str(answer["status"])

        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(submit, TRANSACTIONS)) == {"SUCCEEDED"}
        path = tmp_path_factory.mktemp("recorded") / "recorded.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in [*TRANSACTIONS, {"transaction_id": "unknown"}]))
        yield Decided(lab, environment, path)
        sqs.delete_queue(QueueUrl=queue)


@pytest.fixture
def planted(lab: Lab) -> Iterator[None]:
    """During the test amounts of the second band score 90, which declines them."""
    [rules] = (lab.root / "images" / "fraud-detection" / "rules").glob("*.json")
    before = rules.read_text()
    document = json.loads(before)
    document["amount"]["bands"][1]["points"] = 90
    rules.write_text(json.dumps(document))
    yield
    rules.write_text(before)


def test_the_same_images_change_nothing_and_write_nothing(decided: Decided) -> None:
    before = decided.data()
    found = decided.rehearse()
    assert (found.replayed, found.differences, found.uncertain, found.failures) == (len(TRANSACTIONS), (), (), ())
    assert found.skipped == {"not recorded": 1}
    assert decided.data() == before
    assert not decided.is_left


@pytest.mark.usefixtures("planted")
def test_a_planted_threshold_changes_exactly_the_predicted_transactions(decided: Decided) -> None:
    before = decided.data()
    found = decided.rehearse()
    predicted = [each["transaction_id"] for each in TRANSACTIONS if each["amount"] in IN_BAND]
    assert [each.transaction_id for each in found.changed] == predicted
    assert {each.kind for each in found.changed} == {"APPROVED to DECLINED"}
    assert {each.rules for each in found.changed} == {("fraud-detection/amount_high",)}
    assert (found.differences, found.failures) == (found.changed, ())
    assert [each.function for each in found.speeds if each.running_p99 is not None] == ["fraud-detection"]
    assert decided.data() == before
    assert not decided.is_left


def test_a_changed_decision_of_the_workflow_is_found_without_a_changed_image(decided: Decided) -> None:
    template = decided.lab.deployment(decided.environment).templates.pipeline
    assert "$fraud.score>=50" in template
    found = decided.rehearse(template=template.replace("$fraud.score>=50", "$fraud.score>=20"))
    predicted = [each["transaction_id"] for each in TRANSACTIONS if each["amount"] in IN_BAND]
    assert [each.transaction_id for each in found.changed] == predicted
    assert {each.kind for each in found.changed} == {"APPROVED to REVIEW"}


def test_its_role_cannot_write(decided: Decided) -> None:
    lab, names = decided.lab, Names(decided.environment)
    deployment = lab.deployment(decided.environment)
    state = read_pipeline(deployment)
    images = current_images(deployment, state)
    cast = Cast(
        deployment.templates.pipeline, {"fraud-detection": images["FraudDetectionImageUri"]},
        table_arn=f"arn:aws:dynamodb:{lab.aws.region}:{lab.aws.account}:table/{names.table}",
    )  # fmt: skip
    key = {"transaction_id": {"S": "recorded-0"}}
    with open_stage(deployment.target, names, cast, ignore) as stage:
        client = stage.target.client
        assert client("dynamodb").batch_get_item(RequestItems={names.table: {"Keys": [key]}})["Responses"][names.table]
        attempts = {
            "put": lambda: client("dynamodb").put_item(TableName=names.table, Item=key),
            "delete": lambda: client("dynamodb").delete_item(TableName=names.table, Key=key),
            "update": lambda: client("dynamodb").update_item(TableName=names.table, Key=key),
            "scan": lambda: client("dynamodb").scan(TableName=names.table),
            "send": lambda: client("sqs").send_message(QueueUrl=state.outputs["DeadLetterQueueUrl"], MessageBody="x"),
            "publish": lambda: client("sns").publish(TopicArn=state.outputs["AlertTopicArn"], Message="x"),
            "submit": lambda: client("stepfunctions").start_sync_execution(
                stateMachineArn=state.outputs["StateMachineArn"], input="{}"
            ),
            "invoke": lambda: client("lambda").invoke(FunctionName=names.function("fraud-detection"), Payload=b"{}"),
            "secret": lambda: client("secretsmanager").list_secrets(),
        }
        for attempt in attempts.values():
            with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
                attempt()
    assert not decided.is_left


@pytest.mark.parametrize(
    "moment", ["within stack transaction-rehearsal", "stage ends", "within rehearse", "rehearse ends"]
)
def test_a_killed_rehearsal_is_swept_by_the_next(decided: Decided, moment: str) -> None:
    before = decided.data()
    run = decided.lab.begin(decided.environment, recorded=str(decided.path), kill_at=moment)
    assert run.wait() == -9, run.told()
    assert decided.data() == before
    again = decided.lab.begin(decided.environment, recorded=str(decided.path))
    assert again.wait() == 0, again.told()
    assert again.result["changed"] == 0
    assert not decided.is_left
    assert run.left_behind() == []


def test_a_killed_rehearsal_is_swept_by_down(lab: Lab, decided: Decided) -> None:
    with lab.environment() as environment:
        lab.release(environment, smoke=False)
        run = lab.begin(environment, recorded=str(decided.path), kill_at="stage ends")
        assert run.wait() == -9, run.told()
        other = Decided(lab, environment, decided.path)
        assert other.is_left
        done = take_down(lab.target(), Names(environment))
        assert done.deleted[0] == Names(environment).rehearsal_stack
        assert not other.is_left


@pytest.mark.usefixtures("planted")
def test_a_gate_refuses_a_release_before_anything_switches(decided: Decided) -> None:
    lab, environment = decided.lab, decided.environment
    before, data = lab.snapshot(environment), decided.data()
    required = RequiredRehearsal(Gate(forbidden=("APPROVED to DECLINED",)), Recorded(decided.path, workers=2))
    deployment = dataclasses.replace(lab.deployment(environment), rehearsal=required)
    with pytest.raises(ReleaseError, match="settings forbid") as refused:
        release(deployment, ignore, by="a test", smoke=False)
    assert "7 are APPROVED to DECLINED, such as recorded-1" in refused.value.why
    after = lab.snapshot(environment)
    assert {name: after[name] for name in after if name != "images"} == {
        name: before[name] for name in before if name != "images"
    }
    assert decided.data() == data
    assert not decided.is_left


def test_a_gate_is_one_of_rollback_too_and_passes_what_changes_nothing(decided: Decided) -> None:
    lab, environment = decided.lab, decided.environment
    gated = {"rehearsal": RequiredRehearsal(Gate(max_changed=0), Recorded(decided.path, workers=2))}
    with lab.changed("\n# one line more\n"):
        deployment = dataclasses.replace(lab.deployment(environment), **gated)
        assert release(deployment, ignore, by="a test", smoke=False).changed
        # Nothing is rehearsed for what runs already: the file could not even be read.
        nothing = RequiredRehearsal(Gate(), Recorded(Path("/nowhere.jsonl")))
        same = dataclasses.replace(lab.deployment(environment), rehearsal=nothing)
        assert not release(same, ignore, by="a test", smoke=False).changed
    assert roll_back(deployment, 1, ignore, by="a test").changed
    strict = {"rehearsal": RequiredRehearsal(Gate(max_changed=0), Recorded(decided.path, limit=0, workers=2))}
    with pytest.raises(ReleaseError, match="settings forbid") as refused:
        roll_back(dataclasses.replace(deployment, **strict), 2, ignore, by="a test")
    assert "nothing was replayed" in refused.value.why


@pytest.mark.usefixtures("planted")
def test_a_recorded_release_is_rehearsed_whatever_the_sources_are(decided: Decided) -> None:
    deployment = decided.lab.deployment(decided.environment)
    template, images = recorded_release(deployment, 1, ignore, by="a test")
    found = rehearse_release(deployment, template, images, Recorded(decided.path, workers=2), ignore)
    assert (found.replayed, found.differences, found.failures) == (len(TRANSACTIONS), (), ())
