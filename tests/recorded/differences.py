"""Where the embedded AWS differs from AWS: the table of docs/emulator-differences.md, made by a replay.

    .venv/bin/python -m tests.recorded.differences

Every mismatch of a replay belongs to a ``Difference``, which also finds what depends on it in any definition.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.local.host.control import local_session
from tests.functional.conftest import EmbeddedAws
from tests.recorded.recordings import machines
from tests.recorded.replay import ABSENT, Mismatch, replay
from tests.recorded.specified import SPECIFIED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "emulator-differences.md"
# The page names this many recordings for a difference.
NAMED = 3

Definition = Mapping[str, Any]
State = dict[str, Any]
Claims = Callable[[str, Mapping[str, Any], Mismatch], bool]


@dataclass(frozen=True)
class Difference:
    """A row of the page.

    claims      whether a mismatch of a recording (its name, the recording, the mismatch) is of this kind
    used_by     the states of a definition that behave differently because of it
    """

    what: str
    on_aws: str
    here: str
    claims: Claims
    used_by: Callable[[Definition], list[str]]


def states(definition: Definition, outer: str = "JSONPath") -> Iterator[tuple[str, State, bool]]:
    """(name, state, whether it is JSONata) of every state, also inside branches."""
    language = definition.get("QueryLanguage", outer)
    for name, state in definition["States"].items():
        yield name, state, state.get("QueryLanguage", language) == "JSONata"
        for branch in state.get("Branches", ()):
            yield from states(branch, language)


def texts(value: Any) -> Iterator[str]:
    """Every text inside of a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def where(holds: Callable[[State, bool], bool]) -> Callable[[Definition], list[str]]:
    """Finds the states for which ``holds`` (the state, whether it is JSONata)."""
    return lambda definition: [name for name, state, jsonata in states(definition) if holds(state, jsonata)]


def mentioning(pattern: str) -> Callable[[Definition], list[str]]:
    """Finds the states with a value that the pattern is found in."""

    def mentions(state: State, _: bool) -> bool:
        parts = (part for name, part in state.items() if name not in ("Branches", "Comment"))
        return any(re.search(pattern, text) for part in parts for text in texts(part))

    return where(mentions)


def of(*recordings: str) -> Claims:
    return lambda name, machine, mismatch: name in recordings


def last(mismatch: Mismatch) -> str:
    return mismatch.path.rpartition(".")[2]


def invokes(state: State) -> bool:
    return str(state.get("Resource", "")).endswith(":lambda:invoke")


def handles(*errors: str) -> Callable[[State, bool], bool]:
    return lambda state, _: any(
        error in errors for rule in (*state.get("Retry", ()), *state.get("Catch", ())) for error in rule["ErrorEquals"]
    )


def without_large_results(state: State, _: bool) -> bool:
    caught = {error for rule in state.get("Catch", ()) for error in rule["ErrorEquals"]}
    return invokes(state) and not caught & {"States.ALL", "States.DataLimitExceeded"}


def without_payload(state: State, _: bool) -> bool:
    given = state.get("Arguments", state.get("Parameters"))
    return invokes(state) and isinstance(given, dict) and given.get("Payload", given.get("Payload.$")) is None


# The most particular first: a mismatch belongs to the first difference that claims it.
DIFFERENCES: Sequence[Difference] = (
    Difference(
        "Fields of Parallel and Succeed (JSONata)",
        "`Output` and `Assign` shape data (specification, not recorded)",
        "ignored",
        of(*SPECIFIED),
        where(lambda state, _: state["Type"] in ("Parallel", "Succeed") and bool({"Output", "Assign"} & state.keys())),
    ),
    Difference(
        "`Output` and `Assign` beside a Choice's `Default`",
        "apply when the default is taken",
        "ignored",
        lambda name, machine, mismatch: name == "choice-output-default" and mismatch.path.startswith("states"),
        where(lambda state, _: state["Type"] == "Choice" and bool({"Output", "Assign"} & state.keys())),
    ),
    Difference(
        "Variables in JSONPath states",
        "`Assign` works, and paths such as `$answer` read a variable",
        "not assigned",
        of("output-expressions", "output-one-expression", "assign-order", "variable-in-fail", "variable-in-choice"),
        where(lambda state, jsonata: not jsonata and "Assign" in state),
    ),
    Difference(
        "A path that leads nowhere (JSONPath)",
        "`States.Runtime`, which no Catch catches, not even by name",
        "the value is null",
        of("catch-runtime"),
        where(lambda state, jsonata: not jsonata and any(name.endswith("Path") for name in state)),
    ),
    Difference(
        "`TimeoutSeconds` as an expression",
        "evaluated",
        "`States.Runtime`",
        of("invoke-timeout-expression"),
        where(lambda state, _: isinstance(state.get("TimeoutSeconds"), str)),
    ),
    Difference(
        "A result above 256 KiB",
        "`States.DataLimitExceeded`, which `States.ALL` catches in a Task",
        "passed on",
        of("data-limit-in-pass", "invoke-large", "invoke-large-catch-all"),
        where(without_large_results),
    ),
    Difference(
        "A Fail state without `Error`",
        "the execution has no error",
        "`States.Fail`",
        lambda name, machine, mismatch: mismatch.path == "error" and mismatch.here == "States.Fail",
        where(lambda state, _: state["Type"] == "Fail" and not {"Error", "ErrorPath"} & state.keys()),
    ),
    Difference(
        "`output` of a synchronous execution that failed",
        "absent",
        "an object with `Error` and `Cause`",
        lambda name, machine, mismatch: machine["status"] == "FAILED" and mismatch.path == "output",
        # No state sees it. pipeline.transactions.submit looks at the status first.
        lambda definition: [],
    ),
    Difference(
        "Names of the errors of DynamoDB, SQS and SNS",
        "classes of the Java SDKs: `DynamoDB.AmazonDynamoDBException` (with `aws-sdk`, `DynamoDb.DynamoDbException`), "
        "`SQS.AmazonSQSException`, `SQS.SdkClientException`, `SNS.NotFoundException`",
        "error codes: `DynamoDB.ValidationException`, `SQS.QueueDoesNotExist`, `SQS.MissingParameter`, "
        "`SNS.PublishFailed`",
        of(
            *("put-invalid-table", "put-invalid-parameter", "sdk-put-invalid-parameter", "publish-missing-topic"),
            *("send-missing-queue", "send-missing-queue-caught", "send-empty"),
        ),
        where(
            handles(
                *("DynamoDB.ValidationException", "SNS.PublishFailed", "SNS.NotFoundException"),
                *("SQS.QueueDoesNotExist", "SQS.MissingParameter", "SQS.AmazonSQSException", "SQS.SdkClientException"),
            )
        ),
    ),
    Difference(
        "The text of a Cause",
        "the service's message with `(Service: …; Status Code: …)`; a function's error as compact JSON with "
        "`/var/task`; a query error with state and field; none for a timeout",
        "the message alone; JSON with spaces and, without a sandbox, the folder that the image was unpacked "
        "to; another text for a query error; `Task timed out after N seconds`",
        lambda name, machine, mismatch: last(mismatch) in ("Cause", "cause") or ".stackTrace" in mismatch.path,
        # To pass it on as it is depends on nothing, and FailedBranch reads what the branch's own Fail state wrote.
        mentioning(r"(?<!\$string\(\$states\.input)(?<!\$string\(\$states\.errorOutput)\.Cause\b"),
    ),
    Difference(
        "Metadata of a result",
        "`SdkHttpMetadata`, `SdkResponseMetadata`, and `ExecutedVersion` of a function",
        "absent",
        lambda name, machine, mismatch: (
            last(mismatch) in ("SdkHttpMetadata", "SdkResponseMetadata", "ExecutedVersion") and mismatch.here == ABSENT
        ),
        mentioning("SdkHttpMetadata|SdkResponseMetadata|ExecutedVersion"),
    ),
    Difference(
        "A payload of null",
        "the function gets `{}`",
        "the function gets null",
        lambda name, machine, mismatch: last(mismatch) == "Payload" and mismatch.here is None,
        where(without_payload),
    ),
    Difference(
        "The context object",
        "has `Execution.RoleArn`; `State` has no `RetryCount` outside of a Task",
        "lacks the role; `RetryCount` is there",
        of("context-object"),
        mentioning(r"\$(?:states\.context|\$)(?!\.(?:Execution\.(?:Id|Input|Name|StartTime)|State\.EnteredTime)\b)"),
    ),
)


def kind_of(name: str, machine: Mapping[str, Any], mismatch: Mismatch) -> Difference | None:
    return next((each for each in DIFFERENCES if each.claims(name, machine, mismatch)), None)


@dataclass(frozen=True)
class Replay:
    """What a replay found: recording → mismatches, of all ``machines``."""

    machines: Mapping[str, Mapping[str, Any]]
    mismatches: Mapping[str, list[Mismatch]]

    def shown_by(self, difference: Difference) -> list[str]:
        """The recordings with a mismatch of this kind."""
        return [
            name
            for name, found in self.mismatches.items()
            if any(kind_of(name, self.machines[name], mismatch) is difference for mismatch in found)
        ]

    @property
    def unexplained(self) -> list[str]:
        return [
            f"{name}: {mismatch}"[:400]
            for name, found in self.mismatches.items()
            for mismatch in found
            if kind_of(name, self.machines[name], mismatch) is None
        ]


def replay_all(aws: EmbeddedAws) -> Replay:
    every = machines() | SPECIFIED
    return Replay(every, replay(aws, every))


def named(recordings: Sequence[str]) -> str:
    more = len(recordings) - NAMED
    return ", ".join(recordings[:NAMED]) + (f" and {more} more" if more > 0 else "")


def page(replayed: Replay) -> str:
    """docs/emulator-differences.md."""
    recorded = len(machines())
    alike = len(replayed.machines.keys() - replayed.mismatches.keys())
    rows = "\n".join(
        f"| {each.what} | {each.on_aws} | {each.here} | {named(replayed.shown_by(each))} |" for each in DIFFERENCES
    )
    return f"""# Where the embedded AWS differs from AWS

{recorded} state machines whose executions were recorded on AWS, and a few that only the Amazon States Language
specifies, run on the embedded AWS, and the answers are compared: {alike} answer exactly alike. The pipeline's own
state machine depends on none of the differences. `make docs` makes this page; tests fail when it is not current, when a
replay shows something else, and when the state machine comes to depend on a row.

| what | on AWS | here | shown by |
| --- | --- | --- | --- |
{rows}

The recordings are LocalStack's ([source and license](../tests/recorded/data/README.md)). Compared are status, output,
error and cause of an EXPRESS execution, and the output of each state outside of branches where it was recorded.
"""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, local_session(Path(folder)) as local:
        result = replay_all(EmbeddedAws.of(local))
    if result.unexplained:
        sys.exit("\n".join(["tests/recorded/differences.py explains nothing of:", *result.unexplained]))
    PAGE.write_text(page(result))
