"""Transactions through the queue: one decision per id, however often and in whatever order its message comes."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.transactions.transaction_records import read_records
from tests.functional.entrances.conftest import ENVIRONMENT, Entrances, transaction


@pytest.fixture(scope="module")
def results(entrances: Entrances) -> Iterator[str]:
    """The URL of a queue that subscribes to the results."""
    sqs, sns = entrances.aws.client("sqs"), entrances.aws.client("sns")
    url = sqs.create_queue(QueueName="results-of-doors")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    permission = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": entrances.outputs["ResultTopicArn"]}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [permission]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=entrances.outputs["ResultTopicArn"], Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True,
        Attributes={"RawMessageDelivery": "true"},
    )["SubscriptionArn"]  # fmt: skip
    yield url
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def put(entrances: Entrances, bodies: list[str]) -> None:
    sqs, url = entrances.aws.client("sqs"), entrances.outputs["QueueEntranceQueueUrl"]
    for first in range(0, len(bodies), 10):
        batch = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[first : first + 10])]
        assert not sqs.send_message_batch(QueueUrl=url, Entries=batch).get("Failed")


def taken(entrances: Entrances, url: str, prefix: str, count: int, seconds: float) -> list[Any]:
    """``count`` results of ids that begin with ``prefix``. AssertionError if there are fewer in time."""
    sqs, found = entrances.aws.client("sqs"), []
    until = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        for message in messages:
            result = json.loads(message["Body"])
            found += [result] if result["transaction_id"].startswith(prefix) else []
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert len(found) >= count, f"{len(found)} of {count} results after {seconds} s"
    return found


def waiting(entrances: Entrances) -> tuple[int, int]:
    """Messages of the queue that are visible, and that are not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = entrances.aws.client("sqs").get_queue_attributes(
        QueueUrl=entrances.outputs["QueueEntranceQueueUrl"], AttributeNames=names
    )["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def emptied(entrances: Entrances, kept: int, seconds: float = 30) -> None:
    """Wait until only ``kept`` messages are left, which are not visible."""
    until = time.monotonic() + seconds
    while waiting(entrances) != (0, kept) and time.monotonic() < until:
        time.sleep(0.1)
    assert waiting(entrances) == (0, kept)


# Several batches, two of which are answered at a time.
MESSAGES, DUPLICATES = 120, 30


def test_many_messages_with_duplicates_out_of_order(entrances: Entrances, results: str) -> None:
    chance = random.Random(18)
    documents = [transaction(f"queued-{number}", amount=f"{number % 50 + 1}.00") for number in range(MESSAGES)]
    bodies = [json.dumps(each) for each in (*documents, *chance.sample(documents, DUPLICATES))]
    chance.shuffle(bodies)
    put(entrances, bodies)
    found = taken(entrances, results, "queued-", MESSAGES + DUPLICATES, 240)
    emptied(entrances, kept=0)
    # On a machine that is busy a duplicate may wait for its first too long, and is parked.
    assert Counter(each["status"] for each in found)["DECIDED"] >= MESSAGES
    assert {each["status"] for each in found} <= {"DECIDED", "PARKED"}
    entrances.project.run("redrive", "-e", ENVIRONMENT)
    records = read_records(
        entrances.aws.client("dynamodb"), entrances.outputs["StateTableName"], [f"queued-{n}" for n in range(MESSAGES)]
    )
    answers = {record["transaction_id"]: json.loads(record["answer"]) for record in records}
    assert len(answers) == MESSAGES
    for each in found:
        if each["status"] == "DECIDED":
            assert {**each["answer"], "repeat": False} == answers[each["transaction_id"]]
    assert sum(each["status"] == "DECIDED" and not each["answer"]["repeat"] for each in found) <= MESSAGES


def test_a_message_that_cannot_be_answered_is_kept_and_holds_up_no_other(entrances: Entrances, results: str) -> None:
    good = [json.dumps(transaction(f"beside-{number}")) for number in range(5)]
    bad = ["[1, 2]", "no json", "{}", json.dumps(transaction("4929420573595709")), '{"a": 1, "a": 2}']
    put(entrances, [each for pair in zip(good, bad, strict=True) for each in pair])
    assert {each["transaction_id"] for each in taken(entrances, results, "beside-", 5, 60)} == {
        f"beside-{n}" for n in range(5)
    }
    emptied(entrances, kept=5)
    entrances.aws.client("sqs").purge_queue(QueueUrl=entrances.outputs["QueueEntranceQueueUrl"])


def test_faulty_and_conflicting_transactions_are_answered(entrances: Entrances, results: str) -> None:
    put(entrances, [json.dumps(transaction("faulty-1", amount="-1"))])
    assert taken(entrances, results, "faulty-", 1, 60)[0]["answer"]["outcome"] == "REJECTED"
    put(entrances, [json.dumps(transaction("twice-1"))])
    assert taken(entrances, results, "twice-", 1, 60)[0]["answer"]["outcome"] == "APPROVED"
    put(entrances, [json.dumps(transaction("twice-1", amount="11.00"))])
    assert taken(entrances, results, "twice-", 1, 60)[0]["answer"]["outcome"] == "CONFLICT"


def test_one_id_through_both_entrances_has_one_decision(entrances: Entrances, results: str) -> None:
    _status, _headers, first = entrances.submit(transaction("both"))
    put(entrances, [json.dumps(transaction("both"))])
    [second] = taken(entrances, results, "both", 1, 60)
    assert second["answer"] == {**first, "repeat": True}


def test_submit_puts_into_the_queue(entrances: Entrances, results: str) -> None:
    run = entrances.project.json
    done = run("submit", "--queue", "-e", ENVIRONMENT, json.dumps(transaction("by-command")))
    assert (done["transaction_id"], done["queued"]) == ("by-command", True)
    [result] = taken(entrances, results, "by-command", 1, 60)
    assert (result["message_id"], result["answer"]["outcome"]) == (done["message_id"], "APPROVED")
    story = run("explain", "by-command", "-e", ENVIRONMENT)
    assert (story["entrance"], story["execution"].split(":")[0]) == ("queue", f"queue-{done['message_id']}")
    for text in ("[]", "{}", "no json", json.dumps(transaction("x" * 65))):
        assert "not" in run("submit", "--queue", "-e", ENVIRONMENT, text, code=1)["what"]


def test_submit_puts_a_file_into_the_queue_once(entrances: Entrances, results: str) -> None:
    lines = [json.dumps(transaction(f"of-file-{number}")) for number in range(20)]
    path: Path = entrances.project.write("day.jsonl", "\n".join([*lines[:10], "no json", "[]", *lines[10:]]) + "\n")
    first = entrances.project.json("submit", "--file", str(path), "--queue", "-e", ENVIRONMENT, code=1)
    assert first["counts"] == {"malformed": 2, "queued": 20}
    again = entrances.project.json("submit", "--file", str(path), "--queue", "-e", ENVIRONMENT, code=1)
    assert (again["counts"], again["done_before"]) == ({"malformed": 2, "queued": 20}, 22)
    assert len(taken(entrances, results, "of-file-", 20, 60)) == 20


def test_an_environment_without_the_entrance_says_how_to_get_it(entrances: Entrances) -> None:
    refused = entrances.project.json("submit", "--queue", json.dumps(transaction("nowhere")), code=1)
    assert (refused["what"], refused["why"]) == ("nothing was queued", "dev has no entrance queue")
    assert 'entrances = ["queue"]' in refused["next_step"]
