"""The queue's function killed in the middle of batches, the workflow throttled: one decision per id, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local.processes import descendants
from pipeline.transactions.transaction_records import read_records
from tests.functional.entrances.conftest import ENVIRONMENT, Entrances, transaction
from tests.functional.entrances.test_queue import put, waiting

IDS, DUPLICATES, KILLS = 120, 40, 5
# Seconds after which a message of a killed batch comes again: long enough for a batch, and shorter than 240.
VISIBILITY = 15


@pytest.fixture
def impatient(entrances: Entrances) -> Iterator[None]:
    """A queue whose messages come again soon, and often before they are moved to the failure queue."""
    sqs, url = entrances.aws.client("sqs"), entrances.outputs["QueueEntranceQueueUrl"]
    names = ["VisibilityTimeout", "RedrivePolicy"]
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    often = json.dumps(json.loads(before["RedrivePolicy"]) | {"maxReceiveCount": 100})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY), "RedrivePolicy": often})
    yield
    sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


@pytest.fixture
def throttled(entrances: Entrances) -> Iterator[None]:
    """One execution of fraud detection at a time, of up to twenty that the queue's batches ask for."""
    aws_lambda, name = entrances.aws.client("lambda"), f"fraud-detection-{ENVIRONMENT}"
    before = aws_lambda.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"]
    aws_lambda.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    yield
    aws_lambda.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=before)


def kill_function(name: str) -> bool:
    """Kill the processes that run a function for this test; False if there are none."""
    variable = f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()
    killed = False
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                killed = True
    return killed


@pytest.mark.usefixtures("impatient", "throttled")
def test_a_function_that_is_killed_while_the_workflow_is_throttled_loses_and_repeats_nothing(
    entrances: Entrances,
) -> None:
    chance = random.Random(18)
    documents = [transaction(f"killed-{number}", amount=f"{number % 50 + 1}.00") for number in range(IDS)]
    bodies = [json.dumps(each) for each in (*documents, *chance.sample(documents, DUPLICATES))]
    chance.shuffle(bodies)
    put(entrances, bodies)
    kills, until = 0, time.monotonic() + 400
    while sum(waiting(entrances)) and time.monotonic() < until:
        # Some messages are invisible: batches are running, or were killed.
        if kills < KILLS and waiting(entrances)[1] and kill_function(f"queue-entrance-{ENVIRONMENT}"):
            kills += 1
        time.sleep(chance.uniform(0.5, 1.5))
    assert (waiting(entrances), kills) == ((0, 0), KILLS)
    # What the workflow could not finish under that load is parked, and answered after a redrive.
    entrances.project.run("redrive", "--lost", "-e", ENVIRONMENT)
    entrances.project.run("redrive", "-e", ENVIRONMENT)
    names = [document["transaction_id"] for document in documents]
    records = read_records(entrances.aws.client("dynamodb"), entrances.outputs["StateTableName"], names)
    assert Counter(record["status"] for record in records) == {"DECIDED": IDS}
    for record in records:
        first = json.loads(record["answer"])
        assert (first["outcome"], first["repeat"]) == ("APPROVED", False)
    # Every answer that is given now is the one that was recorded.
    for document in documents[:5]:
        _status, _headers, again = entrances.submit(document)
        recorded = next(r["answer"] for r in records if r["transaction_id"] == document["transaction_id"])
        assert again == json.loads(recorded) | {"repeat": True}
