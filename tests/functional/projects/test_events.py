"""Every event that docs/functions.md says works on this machine invokes a deployed function; the others are named."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.operations.sample_events import KINDS
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project
from tests.functional.signed_requests import request

# Keeps what it gets where the test finds it; fails for what says so.
HANDLER = """
import json, boto3

def handle(event, context):
    if "fail" in json.dumps(event):
        raise ValueError("asked to fail")
    boto3.client("sqs").send_message(QueueUrl=QUEUE, MessageBody=json.dumps(event))
    return {"batchItemFailures": []}
"""
EVENTS = """
handler = "handler.handle"
timeout = 5
retries = 0

[[calls]]
service = "sqs"
actions = ["SendMessage"]
resource = "arn:aws:sqs:us-east-1:000000000000:seen"

[[events]]
type = "sqs"
attempts = 1
[[events]]
type = "s3"
bucket = "uploads"
suffix = ".csv"
[[events]]
type = "sns"
filter = { kind = ["order"] }
[[events]]
type = "eventbridge"
pattern = { source = ["shop"] }
[[events]]
type = "schedule"
expression = "rate(1 minute)"
input = { job = "clean" }
[[events]]
type = "dynamodb"
stream = "STREAM"
start = "TRIM_HORIZON"
[[events]]
type = "kinesis"
stream = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
start = "TRIM_HORIZON"
[[events]]
type = "http"
route = "GET /orders/{id}"
[[events]]
type = "url"
"""


class Listening:
    """A deployed function, the outputs of its stack, and the events that it got."""

    def __init__(self, project: Project, seen: str) -> None:
        self.project = project
        stacks = project.aws.client("cloudformation").describe_stacks(StackName="listening-pipeline-dev")["Stacks"]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stacks[0]["Outputs"]}
        self._seen = seen
        self._events: list[Any] = []
        self._failing = False

    def send_what_fails(self) -> None:
        """Send the message ``fail-7``, once. It is kept when it would be received again, half a minute later."""
        if not self._failing:
            queue = self.outputs["ListenerQueueUrl"]
            self.project.aws.client("sqs").send_message(QueueUrl=queue, MessageBody="fail-7")
        self._failing = True

    def received(self, text: str, seconds: float) -> Any:
        """The first event with ``text`` in it. AssertionError if none comes in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := next((event for event in self._events if text in json.dumps(event)), None):
                return found
            answer = self.project.aws.client("sqs").receive_message(QueueUrl=self._seen, MaxNumberOfMessages=10)
            self._events += [json.loads(message["Body"]) for message in answer.get("Messages", [])]
            time.sleep(0.2)
        raise AssertionError(f"no event with {text!r} in {seconds} s; there were {self._events}")


@pytest.fixture(scope="module")
def listening(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    project = Project(tmp_path_factory.mktemp("listening"), embedded_aws)
    client = embedded_aws.client
    seen = client("sqs").create_queue(QueueName="seen")["QueueUrl"]
    client("kinesis").create_stream(StreamName="clicks", ShardCount=1)
    table = client("dynamodb").create_table(
        TableName="listened", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]  # fmt: skip
    project.write("environments.toml", '[project]\nname = "listening"\n')
    project.write("images/listener/requirements.in", "boto3\n")
    lock = (ROOT / "tests" / "packages" / "with-boto3" / "requirements.txt").read_text()
    project.write("images/listener/requirements.txt", lock)
    project.write("images/listener/handler.py", f"QUEUE = {seen!r}\n{HANDLER}")
    project.write("images/listener/function.toml", EVENTS.replace("STREAM", table["LatestStreamArn"]))
    said = project.run("up").stdout
    assert "listener: url events come on AWS only" in said
    assert re.search(r"ApiUrl +http://127\.0\.0\.1:\d+/", said)
    assert "ListenerUrl" not in said
    yield Listening(project, seen)
    project.run("down", code=(0, 1))
    client("dynamodb").delete_table(TableName="listened")
    client("kinesis").delete_stream(StreamName="clicks")
    client("sqs").delete_queue(QueueUrl=seen)


def test_messages_of_its_queue(listening: Listening) -> None:
    sqs = listening.project.aws.client("sqs")
    sqs.send_message(QueueUrl=listening.outputs["ListenerQueueUrl"], MessageBody="order-7")
    assert listening.received("order-7", 15)["Records"][0]["eventSource"] == "aws:sqs"
    # Begun here, so that the other tests run while it waits.
    listening.send_what_fails()


def test_objects_with_the_suffix_in_its_bucket(listening: Listening) -> None:
    s3 = listening.project.aws.client("s3")
    for key in ("in/a.txt", "in/a.csv"):
        s3.put_object(Bucket=listening.outputs["UploadsBucketName"], Key=key, Body=b"x")
    listening.received("a.csv", 15)
    with pytest.raises(AssertionError):
        listening.received("a.txt", 0.5)


def test_messages_of_its_topic_that_pass_the_filter(listening: Listening) -> None:
    sns = listening.project.aws.client("sns")
    for kind in ("other", "order"):
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        sns.publish(TopicArn=listening.outputs["ListenerTopicArn"], Message=f"a {kind}", MessageAttributes=attributes)
    listening.received("a order", 15)
    with pytest.raises(AssertionError):
        listening.received("a other", 0.5)


def test_events_that_match_the_pattern(listening: Listening) -> None:
    entries = [{"Source": source, "DetailType": "sold", "Detail": "{}"} for source in ("elsewhere", "shop")]
    listening.project.aws.client("events").put_events(Entries=entries)
    assert listening.received('"source": "shop"', 15)["detail-type"] == "sold"
    with pytest.raises(AssertionError):
        listening.received("elsewhere", 0.5)


def test_requests_to_its_route(listening: Listening) -> None:
    status, _headers, _body = request(listening.project.aws, "GET", listening.outputs["ApiUrl"] + "/orders/7?big=1")
    assert status == 200
    event = listening.received("/orders/7", 15)
    assert (event["routeKey"], event["pathParameters"], event["rawQueryString"]) == (
        "GET /orders/{id}", {"id": "7"}, "big=1",
    )  # fmt: skip


def test_requests_that_are_not_signed_and_other_routes_get_nothing(listening: Listening) -> None:
    url = listening.outputs["ApiUrl"]
    assert request(listening.project.aws, "GET", f"{url}/orders/8", signed=False)[0] == 403
    for signed in (True, False):
        for method, path in (("DELETE", "/orders/8"), ("GET", "/elsewhere"), ("GET", "/orders/8/9")):
            status, _headers, body = request(listening.project.aws, method, url + path, signed=signed)
            assert (status, json.loads(body)) == (404, {"message": "Not Found"})
    with pytest.raises(AssertionError):
        listening.received("/orders/8", 0.5)


def test_changes_of_a_table(listening: Listening) -> None:
    listening.project.aws.client("dynamodb").put_item(TableName="listened", Item={"id": {"S": "item-1"}})
    assert listening.received("item-1", 20)["Records"][0]["eventName"] == "INSERT"


def test_records_of_a_stream(listening: Listening) -> None:
    listening.project.aws.client("kinesis").put_record(StreamName="clicks", Data=b"click", PartitionKey="click-key")
    listening.received("click-key", 20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_each_event_is_taken(listening: Listening, kind: str) -> None:
    result = listening.project.json("invoke", "listener", "--event", kind)
    assert result["failed"] is False


def test_the_plan_names_what_comes_on_aws_only(listening: Listening) -> None:
    assert listening.project.json("plan")["aws_only"] == {"listener": ["url"]}


def test_the_table_of_the_docs_says_the_same() -> None:
    page = (ROOT / "docs" / "functions.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|\n]+) \|$", page, re.MULTILINE))
    assert rows == {kind: "AWS only" if kind == "url" else "works" for kind in KINDS}


def test_mistakes_name_the_nearest(listening: Listening) -> None:
    project = listening.project
    assert "did you mean listener?" in project.json("invoke", "listner", "--event", "sqs", code=2)["why"]
    assert "Did you mean invoke?" in project.json("invok", code=2)["why"]
    assert "Give an event" in project.json("invoke", "listener", code=2)["why"]


# The next two wait for the clock, which the tests before them let run.
def test_messages_that_fail_are_kept(listening: Listening) -> None:
    listening.send_what_fails()
    client = listening.project.aws.client
    until, found = time.monotonic() + 60, ""
    while "fail-7" not in found and time.monotonic() < until:
        answer = client("sqs").receive_message(QueueUrl=listening.outputs["ListenerFailuresUrl"])
        found += "".join(message["Body"] for message in answer.get("Messages", []))
        time.sleep(0.2)
    assert "fail-7" in found


@pytest.mark.at_length
def test_times_of_its_schedule(listening: Listening) -> None:
    assert listening.received('"job": "clean"', 75) == {"job": "clean"}


def test_its_bucket_is_deleted_with_what_is_in_it(listening: Listening) -> None:
    s3, bucket = listening.project.aws.client("s3"), listening.outputs["UploadsBucketName"]
    s3.put_object(Bucket=bucket, Key="left.txt", Body=b"x")
    listening.project.run("down")
    assert bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]
