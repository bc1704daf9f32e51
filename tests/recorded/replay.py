"""Runs the recorded state machines on the embedded AWS and compares what they answer with what AWS answered."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Function, Registry, make_role, runtime_client, tar
from tests.recorded import recordings as names

FUNCTIONS = {
    names.ECHO: "def handler(event, context):\n    return event\n",
    names.RAISE: 'def handler(event, context):\n    raise Exception("Some exception was raised.")\n',
    names.RAISE_CUSTOM: (
        "class CustomException(Exception):\n    pass\n\n\ndef handler(event, context):\n    raise CustomException()\n"
    ),
    names.SLOW: "import time\n\n\ndef handler(event, context):\n    time.sleep(60)\n",
    names.LARGE: 'def handler(event, context):\n    return "a" * (257 * 1024)\n',
}
# What LocalStack's recorder wrote for a value that differs from run to run: a mark in the text, or the field's name.
MARK = re.compile(r"<[^<>]*>")
MARKS = frozenset({"date", "timestamp", "datetime", "start-time", "entered-time", "RequestId"})


@dataclass(frozen=True)
class Execution:
    """How an execution ended, and what each of its states gave, in the order in which they did."""

    status: str
    output: Any = None
    error: str | None = None
    cause: Any = None
    states: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Mismatch:
    """One place of an answer in which the embedded AWS differs from AWS."""

    path: str
    recorded: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.path}: AWS {json.dumps(self.recorded)}, here {json.dumps(self.here)}"


ABSENT = "(absent)"


def differences(recorded: Any, here: Any, path: str = "") -> Iterator[Mismatch]:
    """Where ``here`` is not what was recorded; a recorder's mark matches any text."""
    if isinstance(recorded, dict) and isinstance(here, dict):
        for name in sorted(recorded.keys() | here.keys()):
            place = f"{path}.{name}" if path else name
            if name not in here or name not in recorded:
                yield Mismatch(place, recorded.get(name, ABSENT), here.get(name, ABSENT))
            elif not (isinstance(recorded[name], str) and recorded[name].lower() == name.lower()):
                yield from differences(recorded[name], here[name], place)
    elif isinstance(recorded, list) and isinstance(here, list) and len(recorded) == len(here):
        for number, (one, other) in enumerate(zip(recorded, here, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif isinstance(recorded, str) and (MARK.search(recorded) or recorded in MARKS):
        if recorded not in MARKS and not re.fullmatch(".*".join(map(re.escape, MARK.split(recorded))), str(here), re.S):
            yield Mismatch(path, recorded, here)
    elif recorded != here or isinstance(recorded, bool) != isinstance(here, bool):
        yield Mismatch(path, recorded, here)


class Lab:
    """What the recorded machines use: functions, a table, a queue and a topic."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        self.states = aws.client("stepfunctions")
        anything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        self.role = make_role(aws, "recorded", anything, service="states.amazonaws.com")
        lambda_role = make_role(aws, "recorded-functions")
        with tempfile.TemporaryDirectory() as folder:
            registry = Registry(aws, tar(runtime_client(Path(folder))))
        made: dict[str, str] = {}
        for name, code in FUNCTIONS.items():
            image = registry.push("recorded", {"handler.py": code}, Cmd=["handler.handler"])
            function = Function.create(aws, f"recorded-{name.strip('${}').lower()}", image, lambda_role, Timeout=70)
            made[name] = aws.client("lambda").get_function(FunctionName=function.name)["Configuration"]["FunctionArn"]
        aws.client("dynamodb").create_table(
            TableName="recorded", BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )  # fmt: skip
        topic = aws.client("sns").create_topic(Name="recorded")["TopicArn"]
        self.fills: Mapping[str, str] = made | {
            names.MISSING: "recorded-missing",
            names.TABLE: "recorded",
            names.QUEUE: aws.client("sqs").create_queue(QueueName="recorded")["QueueUrl"],
            names.TOPIC: topic,
            names.MISSING_TOPIC: f"{topic}-missing",
            names.LARGE_TEXT: "a" * (257 * 1024),
        }

    def filled(self, value: Any) -> Any:
        text = json.dumps(value)
        for name, real in self.fills.items():
            text = text.replace(name, real)
        return json.loads(text)

    def run(self, name: str, machine: Mapping[str, Any]) -> Execution:
        """An EXPRESS execution for how it ends, and a STANDARD one for what each state gave, if that was recorded."""
        definition, given = (json.dumps(self.filled(machine[part])) for part in ("definition", "input"))
        with ThreadPoolExecutor(1) as beside:
            states = beside.submit(self._states, name, definition, given) if machine["states"] is not None else None
            ended = self._end(name, definition, given)
        return Execution(
            ended["status"],
            json.loads(ended["output"]) if ended.get("output") else None,
            ended.get("error"),
            as_value(ended.get("cause")),
            states.result() if states else None,
        )

    def _end(self, name: str, definition: str, given: str) -> Any:
        made = self.states.create_state_machine(
            name=f"{name}-express", type="EXPRESS", roleArn=self.role, definition=definition
        )
        return self.states.start_sync_execution(stateMachineArn=made["stateMachineArn"], input=given)

    def _states(self, name: str, definition: str, given: str) -> list[dict[str, Any]]:
        made = self.states.create_state_machine(name=name, roleArn=self.role, definition=definition)
        started = self.states.start_execution(stateMachineArn=made["stateMachineArn"], input=given)
        while self.states.describe_execution(executionArn=started["executionArn"])["status"] == "RUNNING":
            time.sleep(0.02)
        exits = []
        for page in self.states.get_paginator("get_execution_history").paginate(executionArn=started["executionArn"]):
            exits += [
                event["stateExitedEventDetails"] for event in page["events"] if "stateExitedEventDetails" in event
            ]
        return [{"name": each["name"], "output": as_value(each.get("output"))} for each in exits]

    def compare(self, name: str, machine: Mapping[str, Any]) -> list[Mismatch]:
        here = self.run(name, machine)
        recorded = self.filled(
            {part: machine[part] for part in ("status", "output", "error", "cause") if part in machine}
        )
        got = {part: value for part, value in vars(here).items() if part in recorded or (value and part != "states")}
        if here.states is not None:
            # The emulator's history has neither the states of a branch nor the variables that a state assigned.
            outer = [each for each in machine["states"] if each["name"] in machine["definition"]["States"]]
            recorded["states"] = self.filled([{"name": each["name"], "output": each["output"]} for each in outer])
            got["states"] = [each for each in here.states if each["name"] in machine["definition"]["States"]]
        return list(differences(recorded, got))


def as_value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def replay(aws: EmbeddedAws, recorded: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Mismatch]]:
    """Recording → where the embedded AWS differs; only those that differ."""
    lab = Lab(aws)
    with ThreadPoolExecutor(8) as pool:
        compared = dict(zip(recorded, pool.map(lab.compare, recorded, recorded.values()), strict=True))
    return {name: found for name, found in compared.items() if found}
