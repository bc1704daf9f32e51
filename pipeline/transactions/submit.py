"""Submit one transaction to the state machine and return its answer."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.documents import parse_unambiguous_json
from pipeline.core.errors import NextStep, SubmissionError
from pipeline.transactions.causes import cause_in_words

# The limit of StartSyncExecution's input, 256 KiB (Step Functions API reference).
INPUT_MAX_BYTES = 262_144
# Ids that the workflow records answers for (cfn/workflow/expressions/submission.jsonata).
USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one transaction.

    outcome     APPROVED, REVIEW, DECLINED, REJECTED or CONFLICT
    reasons     {"source", "rule", "message", …} per rule that fired, in the order of the functions
    repeat      whether the same payload got this answer before
    decided_at  ISO 8601 in UTC
    score       fraud score from 0 to 100; None if the transaction was not scored
    execution   name and UUID of the execution that returned this answer; "" if none was started
    """

    transaction_id: str | None
    outcome: str
    reasons: tuple[dict[str, Any], ...]
    repeat: bool
    decided_at: str
    score: float | None = None
    execution: str = field(default="", compare=False)

    def to_json(self) -> dict[str, Any]:
        """The answer as printed by the command line."""
        document: dict[str, Any] = {
            "transaction_id": self.transaction_id,
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "repeat": self.repeat,
            "decided_at": self.decided_at,
        }
        if self.score is not None:
            document["score"] = self.score
        if self.execution:
            document["execution"] = self.execution
        return document


class Unanswered(SubmissionError):
    """A submission without an answer. Submitting it again is always safe.

    execution  as in ``Answer``; without the UUID if Step Functions did not answer
    """

    def __init__(self, what: str, why: str, next_step: NextStep | str, *, execution: str = "") -> None:
        super().__init__(what, why, next_step)
        self.execution = execution


class Parked(Unanswered):
    """The submission was parked in the dead-letter queue, with everything that a redrive needs.

    state, error, cause  the state that failed, and its error as reported by Step Functions
    """

    def __init__(self, transaction_id: str, execution: str, state: str, error: str, cause: str) -> None:
        super().__init__(
            f"{transaction_id} was parked without an answer",
            f"{state} failed with {error}{': ' + cause_in_words(cause) if cause else ''}"[:600],
            _next_step(error),
            execution=execution,
        )
        self.transaction_id, self.state, self.error, self.cause = transaction_id, state, error, cause

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.transaction_id, self.execution, self.state, self.error, self.cause)


def _next_step(error: str) -> NextStep:
    if error in ("PlaceholderImage", "Runtime.InvalidEntrypoint"):
        return NextStep("Deploy the functions, then submit it again", ("up",), ("redrive",))
    if error == "TransactionInProgress":
        return NextStep("Submit it again after the other submission has ended", ("redrive",))
    return NextStep("Fix the cause, then submit it again", ("redrive",))


def parse_transaction(text: str) -> Any:
    """Parse any JSON document that all JSON parsers read alike. Raises SubmissionError, with line and column if known.

    Ambiguous JSON is rejected: numbers that overflow to Infinity, or a repeated name of which one parser keeps the
    first value and another the last, could be judged with a value that the client did not mean.
    """
    try:
        return parse_unambiguous_json(text)
    except ValueError as error:
        raise SubmissionError(
            "the transaction was not submitted",
            f"it is not JSON: {error}",
            "Submit one JSON object, such as "
            '\'{"transaction_id":"t-1","amount":"10.00","currency":"USD","merchant_id":"m-1","customer_id":"c-1"}\'.',
        ) from error


def submit(sfn_client: Any, state_machine_arn: str, text: str, *, execution: str | None = None) -> Answer:
    """Run one execution and return its answer. REJECTED and CONFLICT are answers too.

    text       one JSON document, passed on as it is; the workflow validates its content
    execution  name of the execution; a new unique name by default

    Raises SubmissionError if the text is not JSON, Parked if the submission was parked, and Unanswered if its result is
    unknown, such as after a lost connection. Submitting again is safe in every case.
    """
    document = parse_transaction(text)
    if len(text.encode()) > INPUT_MAX_BYTES:
        # The compact form may still fit.
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > INPUT_MAX_BYTES:
        return _too_large(document)
    name = execution or f"submit-{uuid.uuid4()}"
    try:
        result = sfn_client.start_sync_execution(stateMachineArn=state_machine_arn, name=name, input=text)
    except (BotoCoreError, ClientError) as error:
        raise Unanswered(
            f"{_id_of(document)} was not answered",
            f"the call to Step Functions failed: {error}",
            "Submit it again: if it was answered in the meantime, it gets the same answer.",
            execution=name,
        ) from error
    return read_result(result, document, execution_of(result["executionArn"]))


def execution_of(arn: str) -> str:
    """Name and UUID from an EXPRESS execution's ARN, ``…:express:<machine>:<name>:<uuid>``. Names may be used again."""
    return ":".join(arn.split(":")[7:])


def read_result(result: Mapping[str, Any], document: Any, name: str) -> Answer:
    """The answer in a result of StartSyncExecution. Raises Parked, or Unanswered.

    document  the submitted transaction, for its id
    name      of the execution, as in ``Answer.execution``
    """
    if result["status"] == "SUCCEEDED":
        return answer_of(json.loads(result["output"]), name)
    error, cause = result.get("error", ""), result.get("cause", "")
    if error == "Parked":
        raise Parked(_id_of(document), name, **_parked_cause(cause))
    raise Unanswered(
        f"{_id_of(document)} was not answered",
        f"the execution {name} ended as {result['status']} with {error or 'no error'}{': ' + cause if cause else ''}"[
            :600
        ],
        "Submit it again: if it was answered in the meantime, it gets the same answer.",
        execution=name,
    )


def answer_of(output: dict[str, Any], execution: str = "") -> Answer:
    """Parse the workflow's output."""
    return Answer(
        transaction_id=output["transaction_id"],
        outcome=output["outcome"],
        reasons=tuple(output.get("reasons", ())),
        repeat=output["repeat"],
        decided_at=output["decided_at"],
        score=output.get("score"),
        execution=execution,
    )


def _too_large(document: Any) -> Answer:
    """The answer to an input that Step Functions would refuse. It never reaches the workflow and is not recorded."""
    reason = {"source": "workflow", "rule": "too_large", "message": f"an input has at most {INPUT_MAX_BYTES:,} bytes"}
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return Answer(
        transaction_id=value if isinstance(value, str) and USABLE_ID.fullmatch(value) else None,
        outcome="REJECTED",
        reasons=(reason,),
        repeat=False,
        decided_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def _parked_cause(text: str) -> dict[str, str]:
    """The ``state``, ``error`` and ``cause`` that the workflow puts into the cause of the error Parked."""
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    return {key: str(document.get(key, "unknown")) for key in ("state", "error", "cause")}


def _id_of(document: Any) -> str:
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return value[:64] if isinstance(value, str) and value.isprintable() and value else "the transaction"
