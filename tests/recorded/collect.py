"""Copies the recordings that this project uses out of a checkout of LocalStack:

.venv/bin/python -m tests.recorded.collect localstack/tests/aws/services
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.recorded.recordings import (
    ANSWERS,
    LARGE_TEXT,
    MACHINES,
    MISSING,
    QUEUE,
    TABLE,
    Source,
    kept_answers,
    sources,
)

# The one machine that LocalStack's test makes in code.
LARGE_PASS = {
    "StartAt": "State_1",
    "States": {"State_1": {"Type": "Pass", "Result": {"Arg1": LARGE_TEXT}, "End": True}},
}
# What LocalStack's recorder put in place of names.
FUNCTION_NAMES = re.compile(
    r"(?:arn:<partition>:lambda:<region>:111111111111:function:)?"
    r"(?:<lambda[-_]function[-_](?:1_)?name>|lambda_function_name|%LAMBDA_FUNCTION_ARN_LITERAL_PLACEHOLDER%)"
)
TOPICS = "arn:<partition>:sns:<region>:111111111111:<resource:1>"
NAMES = {
    "no_such_<lambda_function_name>": MISSING,
    "<no_such_sqs_queue_url>": "http://no-such-queue",
    "<sqs_queue_url>": QUEUE,
    "<test-table>": "no-such-table",
    '"table-name"': f'"{TABLE}"',
}


def read_machine(folder: Path, source: Source) -> Any:
    """The definition that was recorded, with the changes that the test made.

    Of JSON5, the machines have comments and last commas.
    """
    if not source.machine:
        return LARGE_PASS
    area, _, name = source.machine.partition("/")
    text = (folder / "stepfunctions" / "templates" / area / "statemachines" / f"{name}.json5").read_text()
    text = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    definition = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))
    for path, value in source.changes.items():
        place = definition
        *parents, last = path.split(".")
        for each in parents:
            place = place[each]
        place[last] = value
    return definition


def read_answer(folder: Path, file: str, test: str) -> dict[str, Any]:
    """The recorded content of one test, and when it was recorded."""
    snapshots = json.loads((folder / f"{file}.snapshot.json").read_text())
    # A snapshot also keeps what it recorded before LocalStack moved its tests.
    ours = {name: value for name, value in snapshots.items() if name.startswith("tests/aws/services/")}
    (found,) = (value for name, value in ours.items() if name.endswith(f"::{test}"))
    return {"recorded": found["recorded-date"], "content": found["recorded-content"]}


def parsed(value: Any) -> Any:
    """The value of a JSON text. LocalStack's recorder has done it for objects."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def assigned(details: dict[str, Any]) -> dict[str, Any]:
    """A state's variables, which are JSON texts by name, unless the recorder left them out."""
    variables = details.get("assignedVariables") or {}
    return {name: parsed(text) for name, text in variables.items() if text != "<omitted>"}


def without_headers(value: Any) -> Any:
    """The value with SdkHttpMetadata cut to its status code: nothing of this project reads a header."""
    if isinstance(value, dict):
        return {
            name: {"HttpStatusCode": each["HttpStatusCode"]} if name == "SdkHttpMetadata" else without_headers(each)
            for name, each in value.items()
        }
    return [without_headers(each) for each in value] if isinstance(value, list) else value


def execution(content: dict[str, Any]) -> dict[str, Any]:
    """Input, status, output or error, and what each state gave, of either kind of recording."""
    if sync := content.get("start_execution_sync_response"):
        kept = {name: parsed(sync[name]) for name in ("input", "status", "output", "error", "cause") if name in sync}
        return {**kept, "states": None}
    events = content["get_execution_history"]["events"]
    last = events[-1]
    details = next((value for name, value in last.items() if name.endswith("EventDetails")), {})
    exits = [event["stateExitedEventDetails"] for event in events if "stateExitedEventDetails" in event]
    return {
        "input": parsed(events[0]["executionStartedEventDetails"].get("input", {})),
        "status": last["type"].removeprefix("Execution").upper(),
        **{name: parsed(details[name]) for name in ("output", "error", "cause") if name in details},
        "states": [
            {
                "name": each["name"],
                "output": parsed(each.get("output")),
                **({"variables": variables} if (variables := assigned(each)) else {}),
            }
            for each in exits
        ],
    }


def collect(folder: Path) -> dict[str, Any]:
    collected = {}
    for name, source in sources().items():
        answer = read_answer(folder / "stepfunctions" / "v2", source.file, source.test)
        value = {
            "source": f"{source.file}: {source.test}",
            "recorded": answer["recorded"],
            "definition": read_machine(folder, source),
            **execution(answer["content"]),
        }
        text = json.dumps(value)
        for old, new in NAMES.items():
            text = text.replace(old, new)
        text = FUNCTION_NAMES.sub(source.function, text.replace(TOPICS, source.topic))
        collected[name] = without_headers(json.loads(text))
    return collected


def collect_answers(folder: Path) -> dict[str, Any]:
    collected = {}
    for name, kept in kept_answers().items():
        answer = read_answer(folder, kept.file, kept.test)
        collected[name] = {
            "source": f"{kept.file}: {kept.test}",
            "recorded": answer["recorded"],
            "content": answer["content"][kept.part],
        }
    return collected


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    services = Path(sys.argv[1])
    write(MACHINES, collect(services))
    write(ANSWERS, collect_answers(services))
