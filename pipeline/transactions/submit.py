"""Submit one transaction to the state machine and give its answer as a value."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.documents import parse_unambiguous_json
from pipeline.core.errors import SubmissionError
from pipeline.transactions.causes import cause_in_words

# StartSyncExecution takes 256 KiB of input (Step Functions API reference).
INPUT_MAX_BYTES = 262_144
# An id that the workflow records answers under (cfn.workflow_expressions.USABLE_ID).
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer that a transaction has.

    outcome     APPROVED, REVIEW, DECLINED, REJECTED or CONFLICT
    reasons     {"source", "rule", "message"} and what else the rule tells, in the order of the judges
    repeat      the answer was given before, to the same payload
    decided_at  ISO 8601 in UTC
    score       0 to 100, or None when nobody scored
    execution   name of the execution that gave this answer, "" when none was started
    """

    transaction_id: str | None
    outcome: str
    reasons: tuple[dict[str, Any], ...]
    repeat: bool
    decided_at: str
    score: float | None = None
    execution: str = field(default="", compare=False)

    def to_json(self) -> dict[str, Any]:
        """The answer as the command line prints it."""
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
    """A submission without an answer; submitting again is always safe. The two ways are its subclasses."""

    def __init__(self, what: str, why: str, next_step: str, *, execution: str = "") -> None:
        super().__init__(what, why, next_step)
        self.execution = execution


class Parked(Unanswered):
    """The submission waits in the dead-letter queue, with everything that a redrive needs.

    state, error, cause  the state that failed, and its error as Step Functions tells it
    """

    def __init__(self, transaction_id: str, execution: str, state: str, error: str, cause: str) -> None:
        super().__init__(
            f"{transaction_id} was not answered, it was parked",
            f"{state} failed with {error}{': ' + cause_in_words(cause) if cause else ''}"[:600],
            _next_step(error),
            execution=execution,
        )
        self.transaction_id, self.state, self.error, self.cause = transaction_id, state, error, cause

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.transaction_id, self.execution, self.state, self.error, self.cause)


def _next_step(error: str) -> str:
    if error in ("PlaceholderImage", "Runtime.InvalidEntrypoint"):
        return "Release the functions with `up`, then run `redrive`."
    if error == "TransactionInProgress":
        return "Run `redrive` when the other submission has ended."
    return "Correct the cause, then run `redrive`."


def parse_transaction(text: str) -> Any:
    """A JSON document, whatever it holds. Raises SubmissionError, with line and column where there are such.

    Only what every program reads alike is sent: what one takes for Infinity, or takes the first of two amounts of while
    another takes the last, would be judged as something that nobody submitted, or be parked where nothing can read it.
    """
    try:
        return parse_unambiguous_json(text)
    except ValueError as error:
        raise SubmissionError(
            "the transaction was not submitted",
            f"it is not JSON: {error}",
            "Give one JSON object, such as "
            '\'{"transaction_id":"t-1","amount":"10.00","currency":"USD","merchant_id":"m-1","customer_id":"c-1"}\'.',
        ) from error


def submit(sfn_client: Any, state_machine_arn: str, text: str, *, execution: str | None = None) -> Answer:
    """Run one execution to its end and return its answer; every outcome is an answer, also REJECTED and CONFLICT.

    text       one JSON document as the client sent it; what is in it is the workflow's to judge
    execution  the execution's name; a new one by default

    Raises SubmissionError when the text is not JSON, Parked when the submission was parked, and Unanswered when
    neither is known, as after a lost connection. Submitting again is safe in every case.
    """
    document = parse_transaction(text)
    if len(text.encode()) > INPUT_MAX_BYTES:
        # The compact form may still fit, and what decides is what Step Functions would get.
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > INPUT_MAX_BYTES:
        return _too_large(document)
    name = execution or f"submit-{uuid.uuid4()}"
    try:
        result = sfn_client.start_sync_execution(stateMachineArn=state_machine_arn, name=name, input=text)
    except (BotoCoreError, ClientError) as error:
        raise Unanswered(
            f"{_id_of(document)} was not answered",
            f"Step Functions could not be asked: {error}",
            "Submit it again: a transaction that was answered meanwhile gets the same answer.",
            execution=name,
        ) from error
    return _read_result(result, document, name)


def _read_result(result: dict[str, Any], document: Any, name: str) -> Answer:
    if result["status"] == "SUCCEEDED":
        return answer_of(json.loads(result["output"]), name)
    error, cause = result.get("error", ""), result.get("cause", "")
    if error == "Parked":
        told = _told(cause)
        raise Parked(_id_of(document), name, told["state"], told["error"], told["cause"])
    raise Unanswered(
        f"{_id_of(document)} was not answered",
        f"the execution {name} ended as {result['status']} with {error or 'no error'}{': ' + cause if cause else ''}"[
            :600
        ],
        "Submit it again: a transaction that was answered meanwhile gets the same answer.",
        execution=name,
    )


def answer_of(output: dict[str, Any], execution: str = "") -> Answer:
    """The workflow's output as a value."""
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
    """What Step Functions itself refuses never reaches the workflow, so it is answered here and recorded nowhere."""
    reason = {"source": "workflow", "rule": "too_large", "message": f"an input has at most {INPUT_MAX_BYTES:,} bytes"}
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return Answer(
        transaction_id=value if isinstance(value, str) and _USABLE_ID.fullmatch(value) else None,
        outcome="REJECTED",
        reasons=(reason,),
        repeat=False,
        decided_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def _told(cause: str) -> dict[str, str]:
    try:
        told = json.loads(cause)
    except ValueError:
        told = {}
    return {key: str(told.get(key, "unknown")) for key in ("state", "error", "cause")}


def _id_of(document: Any) -> str:
    value = document.get("transaction_id") if isinstance(document, dict) else None
    return value[:64] if isinstance(value, str) and value.isprintable() and value else "the transaction"
