"""A stack with nothing but the workflow and what it writes to, on an emulator that fails on command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from troposphere import GetAtt, Output, Ref, Sub, Template, sns, sqs

from cfn.data import Data, add_fingerprint_key, add_table
from cfn.entrances.files_entrance import add_files
from cfn.names import Names
from cfn.settings import Settings
from cfn.workflow.composition import definition
from cfn.workflow.limits import CALLED_FUNCTIONS, PARKED_CUSTOMER
from cfn.workflow.state_machine import add_workflow
from cfn.workflow.sweeper import add_sweeper
from pipeline.local.emulator.admission import TOKEN_HEADER
from pipeline.local.emulator.server import environment
from pipeline.local.host_state import Access, RootKey
from pipeline.transactions.submit import Answer, submit

REGION = "us-east-1"
# Fixed, because some tests start processes that import this module again.
ACCESS = Access(RootKey("AKIAOFTHEWORKFLOWLAB", "the-secret-of-the-workflow-lab-and-no-other"), "lab")
ROOT = Path(__file__).resolve().parents[2]


def lab_template(environment_name: str = "lab", *, files: bool = False, **limits: Any) -> Template:
    """Table, topic, queue, workflow and sweeper; ``limits`` are those of ``cfn.workflow.composition.definition``.

    files: with the entrance for files
    """
    names, template = Names(environment_name), Template()
    settings = Settings(environment_name, find_lost_claims=True)
    table = add_table(template, settings, names, "Delete")
    topic = template.add_resource(sns.Topic("Topic", TopicName=names.alert_topic))
    queue = template.add_resource(sqs.Queue("Queue", QueueName=names.dead_letter_queue))
    key = add_fingerprint_key(template)
    workflow = add_workflow(
        template,
        names,
        settings,
        functions={
            name: Sub(
                f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:{names.function(name)}"
            )
            for name in CALLED_FUNCTIONS
        },
        table=table,
        alert_topic=topic,
        dead_letter_queue=queue,
        fingerprint_key=key,
        states=definition(**limits),
    )
    if files:
        # Two batches at a time: a busy machine answers these in time.
        load = Settings(environment_name, transactions_per_minute=2_000)
        data = Data(table, topic, queue, key)
        add_files(template, load, names, functions={}, data=data, workflow=workflow, alarm_topic=Ref(topic))
    template.add_output(Output("StateMachineArn", Value=Ref(workflow.state_machine)))
    template.add_output(Output("SweeperArn", Value=Ref(add_sweeper(template, names, settings, table))))
    template.add_output(Output("QueueUrl", Value=Ref(queue)))
    # As the pipeline stack calls them, for commands that read its outputs.
    template.add_output(Output("DeadLetterQueueUrl", Value=Ref(queue)))
    template.add_output(Output("StateTableName", Value=Ref(table)))
    template.add_output(Output("QueueArn", Value=GetAtt(queue, "Arn")))
    template.add_output(Output("TopicArn", Value=Ref(topic)))
    return template


@dataclass
class Lab:
    endpoint: str
    control: socket.socket
    folder: Path
    clients: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None

    def client(self, service: str) -> Any:
        with self.lock:
            if service not in self.clients:
                self.clients[service] = boto3.client(
                    service,
                    endpoint_url=self.endpoint,
                    region_name=REGION,
                    aws_access_key_id=ACCESS.root.access_key_id,
                    aws_secret_access_key=ACCESS.root.secret_access_key,
                    config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, max_pool_connections=40),
                )
            return self.clients[service]

    def ask(self, **command: Any) -> Any:
        with self.lock:
            self.control.sendall(json.dumps(command).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += self.control.recv(65_536)
        return json.loads(answer)

    def fault(
        self, state: str, when: str = "before", error: str = "Boom", times: int = 1, **more: Any
    ) -> dict[str, Any]:
        return {"state": state, "when": when, "error": error, "times": times, **more}

    def faults(self, *faults: dict[str, Any]) -> None:
        self.ask(faults=list(faults))

    def trace(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(trace=True)["trace"]
        return found

    def deploy(self, environment_name: str = "lab", *, stack_name: str = "", **limits: Any) -> None:
        """stack_name: the environment's name by default, which no command looks for."""
        cloudformation = self.client("cloudformation")
        stack_name = stack_name or environment_name
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=lab_template(environment_name, **limits).to_json(indent=None),
            Capabilities=["CAPABILITY_IAM"],
        )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
            if not stack["StackStatus"].endswith("IN_PROGRESS"):
                break
            time.sleep(0.05)
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.names = Names(environment_name)

    @property
    def machine(self) -> str:
        return self.outputs["StateMachineArn"]

    def submit(self, transaction: Any, **more: Any) -> Answer:
        text = transaction if isinstance(transaction, str) else json.dumps(transaction)
        return submit(self.client("stepfunctions"), self.machine, text, **more)

    def record(self, key: str) -> dict[str, Any] | None:
        """The item under ``key`` with plain values."""
        item = (
            self.client("dynamodb")
            .get_item(TableName=self.names.table, Key={"transaction_id": {"S": key}}, ConsistentRead=True)
            .get("Item")
        )
        return _plain(item) if item else None

    def items(self) -> dict[str, dict[str, Any]]:
        """Everything in the table by its id, with plain values."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=self.names.table, ConsistentRead=True)
        return {item["transaction_id"]["S"]: _plain(item) for page in pages for item in page["Items"]}

    def sweep(self) -> dict[str, Any]:
        """Start the sweeper, as its schedule does; what it returns, or the error that it ends with."""
        client, sweeper = self.client("stepfunctions"), self.outputs["SweeperArn"]
        ended = client.start_sync_execution(stateMachineArn=sweeper)
        if ended["status"] != "SUCCEEDED":
            return {"error": ended["error"]}
        found: dict[str, Any] = json.loads(ended["output"])
        return found

    def expire_lease(self, key: str) -> None:
        """The clock goes past the lease of a claim."""
        self.client("dynamodb").update_item(
            TableName=self.names.table,
            Key={"transaction_id": {"S": key}},
            UpdateExpression="SET lease_until = :past",
            ConditionExpression="attribute_exists(lease_until)",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def parked(self) -> list[dict[str, Any]]:
        """The bodies of the messages in the queue, which stay there."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            messages = (
                self.client("sqs")
                .receive_message(QueueUrl=self.outputs["QueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=20)
                .get("Messages", [])
            )
            if not messages:
                break
            for message in messages:
                found[message["MessageId"]] = message
        for message in found.values():
            self.client("sqs").change_message_visibility(
                QueueUrl=self.outputs["QueueUrl"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return [json.loads(message["Body"]) for message in found.values()]

    def parked_in_table(self) -> list[dict[str, Any]]:
        keys = self.client("dynamodb").query(
            TableName=self.names.table,
            IndexName="customer",
            KeyConditionExpression="customer_id = :parked",
            ExpressionAttributeValues={":parked": {"S": PARKED_CUSTOMER}},
        )["Items"]
        return [json.loads((self.record(key["transaction_id"]["S"]) or {})["message"]) for key in keys]

    def clear(self) -> None:
        """Forget faults, messages and records."""
        self.faults()
        self.trace()
        self.client("sqs").purge_queue(QueueUrl=self.outputs["QueueUrl"])
        table = self.names.table
        for item in self.client("dynamodb").scan(TableName=table)["Items"]:
            self.client("dynamodb").delete_item(TableName=table, Key={"transaction_id": item["transaction_id"]})


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.get("S", value.get("N")) for name, value in item.items()}


def end(process: subprocess.Popen[bytes]) -> None:
    """End an emulator, as its owner's end does."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=30)


@contextmanager
def running_lab(folder: Path, *, wait_scale: str = "0.01") -> Iterator[Lab]:
    """An emulator with an adversary; gone at the end, or when this process is."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    with socket.socket() as listener, theirs:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        variables = environment(folder, port=port, region=REGION, access=ACCESS, identity="lab")
        variables |= {"SFN_WAIT_SCALE": wait_scale, "PERSIST_STATE": "0", "S3_PERSIST": "0", "LOG_LEVEL": "ERROR"}
        with (folder / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.functional.workflow_emulator",
                 "--socket", str(listener.fileno()), "--control", str(theirs.fileno())],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=variables,
                pass_fds=[listener.fileno(), theirs.fileno()],
            )  # fmt: skip
    try:
        endpoint = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 30
        while True:
            try:
                health = urllib.request.Request(f"{endpoint}/_ministack/health", headers={TOKEN_HEADER: ACCESS.token})
                with urllib.request.urlopen(health, timeout=30):
                    break
            except OSError:
                ended = process.poll() is not None or time.monotonic() > until
                assert not ended, (folder / "emulator.log").read_text() + os.linesep
                time.sleep(0.02)
        yield Lab(endpoint, ours, folder, process=process)
    finally:
        ours.close()
        end(process)
