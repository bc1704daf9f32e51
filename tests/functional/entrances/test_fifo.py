"""The queue as a FIFO queue: one message per id, and the order of a message group."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.entrances.conftest import Entrances, deploy, new_project, transaction

ENVIRONMENT = "ordered"
SETTINGS = f"""
[project]
workflow = "transactions"

[environments.{ENVIRONMENT}]
entrances = ["queue"]
queue_fifo = %s
transactions_per_minute = 600
reserved_concurrency = 50
"""
QUEUE = "QueueEntranceQueueUrl"


@pytest.fixture(scope="module")
def ordered(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entrances]:
    """An environment whose queue was a standard queue before."""
    project = new_project(tmp_path_factory.mktemp("ordered"), embedded_aws)
    project.write("environments.toml", SETTINGS % "false")
    standard = deploy(project, ENVIRONMENT).outputs[QUEUE]
    project.write("environments.toml", SETTINGS % "true")
    refused = project.run("up", "-e", ENVIRONMENT, code=1).stderr
    assert "QueueEntranceQueue" in refused
    assert "--yes" in refused
    found = deploy(project, ENVIRONMENT, "--yes")
    assert found.outputs[QUEUE] == f"{standard}.fifo"
    assert standard not in embedded_aws.client("sqs").list_queues()["QueueUrls"]
    yield found
    project.run("down", "-e", ENVIRONMENT, "--yes", code=(0, 1))


def put(ordered: Entrances, group: str, bodies: list[str]) -> None:
    entries = [
        {"Id": str(number), "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": f"{group}-{number}"}
        for number, body in enumerate(bodies)
    ]
    sqs = ordered.aws.client("sqs")
    assert not sqs.send_message_batch(QueueUrl=ordered.outputs[QUEUE], Entries=entries).get("Failed")


def test_a_second_message_with_the_id_is_dropped_whatever_its_content(ordered: Entrances) -> None:
    run = ordered.project.json
    first = run("submit", "--queue", "-e", ENVIRONMENT, json.dumps(transaction("once")))
    again = run("submit", "--queue", "-e", ENVIRONMENT, json.dumps(transaction("once")))
    other = run("submit", "--queue", "-e", ENVIRONMENT, json.dumps(transaction("once", amount="11.00")))
    assert first["message_id"] == again["message_id"] == other["message_id"]
    answer = json.loads(ordered.decided("once")["answer"])
    assert (answer["outcome"], answer["repeat"]) == ("APPROVED", False)
    story = run("explain", "once", "-e", ENVIRONMENT)
    assert (story["entrance"], story["execution"].split(":")[0]) == ("queue", f"queue-{first['message_id']}")


def test_a_message_group_is_decided_in_its_order(ordered: Entrances) -> None:
    names = [f"in-order-{number}" for number in range(10)]
    put(ordered, "customer-1", [json.dumps(transaction(name, customer_id="c-1")) for name in names])
    answers = [json.loads(ordered.decided(name, 60)["answer"]) for name in names]
    decided = [answer["decided_at"] for answer in answers]
    assert decided == sorted(decided)


def test_what_is_behind_a_message_that_is_kept_waits_and_other_groups_do_not(ordered: Entrances) -> None:
    before, behind = transaction("before-bad"), transaction("behind-bad")
    put(ordered, "customer-2", [json.dumps(before), "no json", json.dumps(behind)])
    put(ordered, "customer-3", [json.dumps(transaction("beside-bad"))])
    assert ordered.decided("before-bad", 60)
    assert ordered.decided("beside-bad", 60)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs, until = ordered.aws.client("sqs"), time.monotonic() + 60
    kept: list[str] = []
    while kept not in (["0", "2"], ["1", "1"]) and time.monotonic() < until:
        time.sleep(0.1)
        found = sqs.get_queue_attributes(QueueUrl=ordered.outputs[QUEUE], AttributeNames=names)["Attributes"]
        kept = [found[name] for name in names]
    # The one behind was in the batch of the bad one, or is not delivered before it.
    assert kept in (["0", "2"], ["1", "1"])
    assert ordered.record("behind-bad") == {}
