"""Run one execution of a project's own workflow, and wait for its end."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.settings import EXPRESS
from pipeline.core import interruption
from pipeline.core.errors import NextStep, SubmissionError

# Seconds to wait for the end of an execution; an EXPRESS one ends by itself within five minutes.
WAIT_SECONDS = 300.0
_POLL_SECONDS = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Executed:
    """How an execution ended.

    status        SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    output        the output of one that succeeded
    error, cause  of one that did not, as Step Functions reports them
    """

    execution: str
    status: str
    output: Any = None
    error: str = ""
    cause: str = ""

    @property
    def failed(self) -> bool:
        return self.status != "SUCCEEDED"

    @property
    def why(self) -> str:
        """The failure in one line, or ""."""
        if not self.failed:
            return ""
        said = ": ".join(each for each in (self.error, " ".join(self.cause.split())) if each)
        return f"it ended as {self.status}{f' with {said}' if said else ''}"[:600]

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"execution": self.execution, "status": self.status}
        return document | ({"error": self.error, "cause": self.cause} if self.failed else {"output": self.output})


def execute(client: Any, state_machine_arn: str, text: str, *, kind: str, seconds: float = WAIT_SECONDS) -> Executed:
    """Start an execution and return how it ended.

    client  of Step Functions
    text    the input, a JSON document
    kind    EXPRESS or STANDARD

    Raises SubmissionError for an input that Step Functions refuses, and for a STANDARD execution that is still running
    after ``seconds``; it then runs on.
    """
    name = f"submit-{uuid.uuid4()}"
    try:
        if kind == EXPRESS:
            return _executed(client.start_sync_execution(stateMachineArn=state_machine_arn, name=name, input=text))
        arn = client.start_execution(stateMachineArn=state_machine_arn, name=name, input=text)["executionArn"]
        return _wait(client, arn, time.monotonic() + seconds, seconds)
    except (BotoCoreError, ClientError) as error:
        raise SubmissionError(
            f"the execution {name} was not followed to its end",
            f"the call to Step Functions failed: {error}",
            NextStep("Look at the state machine's log", ("logs",)),
        ) from error


def _wait(client: Any, arn: str, until: float, seconds: float) -> Executed:
    pause, longest = _POLL_SECONDS
    while (answer := client.describe_execution(executionArn=arn))["status"] in ("RUNNING", "PENDING_REDRIVE"):
        if time.monotonic() >= until:
            raise SubmissionError(
                f"the execution {arn.rpartition(':')[2]} did not end",
                f"it is still running after {seconds:.0f} s",
                f"It runs on; follow it with: aws stepfunctions describe-execution --execution-arn {arn}",
            )
        interruption.sleep(pause)
        pause = min(pause * 1.5, longest)
    return _executed(answer)


def _executed(answer: Mapping[str, Any]) -> Executed:
    output = answer.get("output")
    return Executed(
        execution=answer["executionArn"],
        status=answer["status"],
        output=json.loads(output) if output is not None else None,
        error=answer.get("error", ""),
        cause=answer.get("cause", ""),
    )
