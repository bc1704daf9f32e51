"""Put transactions into the queue of the entrance; its function submits them, and publishes their results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.events.kinds import FIFO_SUFFIX
from pipeline.core.errors import SubmissionError
from pipeline.core.events import Report, ignore
from pipeline.transactions.results_file import Done, Origin
from pipeline.transactions.submissions import WORKERS, Summary, submit_lines
from pipeline.transactions.submit import INPUT_MAX_BYTES, USABLE_ID, Unanswered, parse_transaction
from pipeline.transactions.transaction_lines import Line

QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class Queued:
    """A transaction in the queue. message_id: as its execution is called, ``queue-<message_id>``."""

    transaction_id: str
    message_id: str

    def to_json(self) -> dict[str, Any]:
        return {"transaction_id": self.transaction_id, "message_id": self.message_id, "queued": True}


def enqueue(sqs: Any, queue_url: str, text: str) -> Queued:
    """Put one transaction, given as JSON, into the queue.

    In a FIFO queue the id is the message group and the deduplication: SQS drops another message of it within five
    minutes, whatever its content, and gives the message id of the first.

    Raises SubmissionError for what the entrance would not take: it would end in the entrance's failure queue. Raises
    Unanswered if SQS does not confirm it; to put it in again is safe.
    """
    document = parse_transaction(text)
    identifier = document.get("transaction_id") if isinstance(document, dict) else None
    if not isinstance(identifier, str) or not USABLE_ID.fullmatch(identifier):
        raise SubmissionError(
            "the transaction was not queued",
            "it is not an object with a usable transaction_id, under which its answer would be recorded",
            "Give it a transaction_id of 1 to 64 of A-Z a-z 0-9 . _ : -",
        )
    if (size := len(text.encode())) > INPUT_MAX_BYTES:
        raise SubmissionError(
            "the transaction was not queued",
            f"it has {size:,} bytes, at most {INPUT_MAX_BYTES:,} are taken",
            "Shorten it.",
        )
    fifo = {"MessageGroupId": identifier, "MessageDeduplicationId": identifier}
    try:
        sent = sqs.send_message(
            QueueUrl=queue_url, MessageBody=text, **(fifo if queue_url.endswith(FIFO_SUFFIX) else {})
        )
    except (BotoCoreError, ClientError) as error:
        raise Unanswered(
            f"{identifier} was not queued",
            f"the call to SQS failed: {error}",
            "Queue it again: a transaction that is in the queue twice gets one answer.",
        ) from error
    return Queued(identifier, sent["MessageId"])


def queue_results(path: Path) -> Path:
    """The results file next to the input: ``transactions.csv`` → ``transactions.csv.queued.jsonl``."""
    return path.with_name(f"{path.name}.queued.jsonl")


def enqueue_file(
    sqs: Any,
    queue_url: str,
    path: Path,
    *,
    results: Path | None = None,
    place: str = "",
    workers: int = WORKERS,
    report: Report = ignore,
) -> Summary:
    """Put every transaction of a file into the queue that an earlier run has not; malformed lines are only reported.

    place    as for ``submit_file``
    workers  concurrent requests

    Raises as ``submit_lines`` does.
    """

    def queue_line(line: Line) -> Done:
        try:
            queued = enqueue(sqs, queue_url, line.text)
        except Unanswered as error:
            return Done(line.number, line.digest, "unanswered", why=error.why)
        except SubmissionError as error:
            return Done(line.number, line.digest, "malformed", why=error.why)
        return Done(line.number, line.digest, QUEUED, transaction_id=queued.transaction_id)

    return submit_lines(
        path,
        queue_line,
        Origin(place, queue_url),
        results=results or queue_results(path),
        workers=workers,
        report=report,
    )
