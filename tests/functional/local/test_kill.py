"""What the embedded AWS answered is there after it is killed, and what is not is named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import Names
from pipeline.core.events import Event, Note
from pipeline.local.host.control import LocalAws, find_local, start_local, stop_local
from pipeline.local.processes import children
from tests.functional.command_line import CommandLine
from tests.functional.conftest import EmbeddedAws


def start(folder: Path) -> tuple[LocalAws, EmbeddedAws, str]:
    """Start; the last is all that was said."""
    events: list[Event] = []
    local = start_local(folder, report=events.append)
    return local, EmbeddedAws.of(local), " ".join(each.text for each in events if isinstance(each, Note))


def kill(local: LocalAws) -> None:
    """The host and the emulator, as when memory runs out."""
    pids = [local.pid, *children(local.pid)]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)


def saved(folder: Path) -> None:
    """Wait until everything that was answered is saved."""
    until = time.monotonic() + 30
    while not (folder / "state" / "unsaved").exists() or (folder / "state" / "unsaved").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


def make_table(aws: EmbeddedAws, name: str = "table") -> None:
    aws.client("dynamodb").create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )  # fmt: skip


class Flood:
    """Threads that write until the embedded AWS is killed; ``answered`` is what it acknowledged."""

    def __init__(self, write: Callable[[str], Any], prefix: str, threads: int = 4) -> None:
        self.answered: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(write, f"{prefix}-{n}")) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, write: Callable[[str], Any], prefix: str) -> None:
        with contextlib.suppress(ClientError, BotoCoreError):
            for number in range(100_000):
                write(f"{prefix}-{number}")
                self.answered.append(f"{prefix}-{number}")

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()


def items(aws: EmbeddedAws) -> set[str]:
    pages = aws.client("dynamodb").get_paginator("scan").paginate(TableName="table")
    return {item["id"]["S"] for page in pages for item in page["Items"]}


def receive(aws: EmbeddedAws, url: str) -> list[dict[str, Any]]:
    """All visible messages."""
    found: list[dict[str, Any]] = []
    while (
        received := aws.client("sqs")
        .receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["ApproximateReceiveCount"])
        .get("Messages")
    ):
        found += received
    return found


@dataclass
class Survivor:
    """An embedded AWS that was stopped once and killed three times, each time in the middle of floods."""

    folder: Path
    local: LocalAws
    aws: EmbeddedAws
    url: str
    stored: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    received: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def flood_and_kill(self, round_: int) -> None:
        table, queue = self.aws.client("dynamodb"), self.aws.client("sqs")
        with (
            Flood(lambda id_: table.put_item(TableName="table", Item={"id": {"S": id_}}), f"item-{round_}") as written,
            Flood(lambda id_: queue.send_message(QueueUrl=self.url, MessageBody=id_), f"message-{round_}") as parked,
        ):
            while len(written.answered) < 50 or len(parked.answered) < 50:
                time.sleep(0.01)
            kill(self.local)
        self.stored |= set(written.answered)
        self.sent |= set(parked.answered)
        self.local, self.aws, said = start(self.folder)
        self.said.append(said)


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survivor]:
    folder = tmp_path_factory.mktemp("killed") / "local"
    local, aws, _ = start(folder)
    try:
        url = aws.client("sqs").create_queue(QueueName="parked")["QueueUrl"]
        make_table(aws)
        write_log(aws)
        stop_local(folder)
        local, aws, _ = start(folder)
        prepare(aws, url)
        saved(folder)
        survivor = Survivor(folder, local, aws, url)
        write_and_change(aws, url)
        for round_ in range(3):
            survivor.flood_and_kill(round_)
        survivor.received = receive(survivor.aws, url)
        yield survivor
    finally:
        stop_local(folder)


def write_log(aws: EmbeddedAws) -> None:
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="earlier")
    logs.create_log_stream(logGroupName="earlier", logStreamName="stream")
    event = {"timestamp": int(time.time() * 1000), "message": "from before"}
    logs.put_log_events(logGroupName="earlier", logStreamName="stream", logEvents=[event])


def prepare(aws: EmbeddedAws, url: str) -> None:
    """Control plane: what is saved a moment after it changed."""
    sqs, sns = aws.client("sqs"), aws.client("sns")
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=sns.create_topic(Name="alerts")["TopicArn"], Protocol="sqs", Endpoint=arn)
    aws.client("ssm").put_parameter(Name="/kept", Value="1", Type="String")
    aws.client("logs").create_log_group(logGroupName="later")
    aws.client("ecr").create_repository(repositoryName="kept")
    make_table(aws, "made-again")
    aws.client("dynamodb").put_item(TableName="made-again", Item={"id": {"S": "old"}})
    aws.client("dynamodb").delete_table(TableName="made-again")
    make_table(aws, "made-again")


def write_and_change(aws: EmbeddedAws, url: str) -> None:
    """Each kind of write to items and messages."""
    table, queue = aws.client("dynamodb"), aws.client("sqs")
    for name in ("changed", "deleted", "kept"):
        table.put_item(TableName="table", Item={"id": {"S": name}, "version": {"N": "1"}})
        queue.send_message(QueueUrl=url, MessageBody=name)
    table.update_item(
        TableName="table", Key={"id": {"S": "changed"}}, UpdateExpression="ADD version :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )  # fmt: skip
    table.delete_item(TableName="table", Key={"id": {"S": "deleted"}})
    put = [{"Put": {"TableName": "table", "Item": {"id": {"S": name}}}} for name in ("with", "together")]
    table.transact_write_items(TransactItems=put)
    table.batch_write_item(RequestItems={"table": [{"PutRequest": {"Item": {"id": {"S": "batch"}}}}]})
    table.put_item(TableName="made-again", Item={"id": {"S": "new"}})
    for each in receive(aws, url):
        if each["Body"] == "deleted":
            queue.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        else:
            queue.change_message_visibility(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0)
    [topic] = aws.client("sns").list_topics()["Topics"]
    aws.client("sns").publish(TopicArn=topic["TopicArn"], Message="fraud")


def test_every_answered_item_and_message_survives(survivor: Survivor) -> None:
    assert survivor.stored <= items(survivor.aws)
    bodies = [each["Body"] for each in survivor.received]
    assert survivor.sent <= set(bodies)
    assert len(bodies) == len(set(bodies))


def test_a_start_after_a_kill_says_what_was_restored_and_what_is_lost(survivor: Survivor) -> None:
    for said in survivor.said:
        assert "item changes" in said
        assert "message changes" in said
        assert "Log events and metrics since its last regular stop are lost" in said
        assert "Lost: " not in said


def test_items_are_as_they_were_last(survivor: Survivor) -> None:
    assert {each for each in items(survivor.aws) if not each.startswith("item-")} == {
        "changed", "kept", "with", "together", "batch",
    }  # fmt: skip
    table = survivor.aws.client("dynamodb")
    assert table.get_item(TableName="table", Key={"id": {"S": "changed"}})["Item"]["version"] == {"N": "2"}
    assert [each["id"]["S"] for each in table.scan(TableName="made-again")["Items"]] == ["new"]


def test_messages_are_as_they_were_last(survivor: Survivor) -> None:
    counts = {each["Body"]: int(each["Attributes"]["ApproximateReceiveCount"]) for each in survivor.received}
    assert "deleted" not in counts
    assert [counts[each] for each in ("changed", "kept", min(survivor.sent))] == [2, 2, 1]
    assert [body for body in counts if '"fraud"' in body]


def test_the_control_plane_is_as_it_was_saved(survivor: Survivor) -> None:
    client = survivor.aws.client
    assert [each["Name"] for each in client("ssm").describe_parameters()["Parameters"]] == ["/kept"]
    assert [each["repositoryName"] for each in client("ecr").describe_repositories()["repositories"]] == ["kept"]
    groups = [each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]]
    assert groups == ["earlier", "later"]


def test_log_events_of_a_run_that_was_stopped_survive(survivor: Survivor) -> None:
    found = survivor.aws.client("logs").filter_log_events(logGroupName="earlier")["events"]
    assert [each["message"] for each in found] == ["from before"]


def test_what_was_not_saved_and_the_journal_of_another_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "local"
    try:
        local, aws, _ = start(folder)
        make_table(aws)
        saved(folder)
        for name in ("tmp", "work"):
            (folder / name / "tmp1234" / "deep").mkdir(parents=True)
        aws.client("dynamodb").put_item(TableName="table", Item={"id": {"S": "theirs"}})
        aws.client("ssm").put_parameter(Name="/lost", Value="1", Type="String")
        kill(local)
        identity = folder / "state" / "identity"
        assert identity.read_text() == local.identity
        identity.write_text("0" * 16)
        local, aws, said = start(folder)
        assert local.identity == "0" * 16
        assert not [name for name in ("tmp", "work") if (folder / name / "tmp1234").exists()]
        assert items(aws) == set()
        assert "belongs to another embedded AWS" in said
        assert ("changes to ssm since" in said) == (not aws.client("ssm").describe_parameters()["Parameters"])
    finally:
        stop_local(folder)


@pytest.mark.at_length
def test_what_was_never_saved_is_named_too(tmp_path: Path) -> None:
    folder = tmp_path / "local"
    try:
        local, aws, _ = start(folder)
        aws.client("ssm").put_parameter(Name="/lost", Value="1", Type="String")
        kill(local)
        _, aws, said = start(folder)
        assert "was killed" in said
        assert ("changes to ssm since" in said) == (not aws.client("ssm").describe_parameters()["Parameters"])
    finally:
        stop_local(folder)


def answered(results: Path) -> list[str]:
    """The ids of a results file that have an answer."""
    lines = results.read_bytes().splitlines(keepends=True) if results.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [each["transaction_id"] for each in entries if each.get("answer")]


@pytest.mark.at_length
def test_every_answer_of_a_flood_of_submissions_has_its_record_after_kills(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "local")
    path, results = tmp_path / "flood.jsonl", tmp_path / "flood.jsonl.results.jsonl"
    fields = {"amount": "10.00", "currency": "USD", "merchant_id": "m"}
    lines = [{"transaction_id": f"t-{number}", "customer_id": f"c-{number}", **fields} for number in range(100)]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    try:
        line.run("up")
        # The second time it is what was restored before that has to survive.
        for round_ in range(1, 3):
            flood = threading.Thread(target=line.run, args=("submit", "--file", str(path)), kwargs={"code": 1})
            flood.start()
            while len(answered(results)) < round_ * 20:
                time.sleep(0.05)
            local = find_local(line.local)
            assert local is not None
            kill(local)
            flood.join()
            line.run("up")
            local = find_local(line.local)
            assert local is not None
            table = EmbeddedAws.of(local).client("dynamodb")
            pages = table.get_paginator("scan").paginate(TableName=Names("dev").table)
            records = {item["transaction_id"]["S"]: item["status"]["S"] for page in pages for item in page["Items"]}
            assert {records.get(each) for each in answered(results)} == {"DECIDED"}
    finally:
        line.run("down", "--yes")
