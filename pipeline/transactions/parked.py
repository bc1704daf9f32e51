"""Parked submissions: in the dead-letter queue, or in the table if the queue was unavailable when they were parked.

``take`` hides a message from other readers for HOLD_SECONDS; only ``forget`` deletes it. A message that is not deleted
becomes visible again, so a reader that is killed loses nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.workflow.limits import PARKED_CUSTOMER, PARKED_PREFIX
from pipeline.core.documents import parse_json
from pipeline.core.errors import SubmissionError
from pipeline.oci.values import Digest

# Longer than an EXPRESS execution can run (5 minutes), so a message in flight stays hidden.
HOLD_SECONDS = 360


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """One parked submission.

    place      "queue" or "table"
    handle     receipt handle in the queue, or key in the table
    identity   equal for all copies of one parked submission, in both places
    input      what was submitted; undefined unless ``readable``
    readable   False if the message holds no input: the workflow did not write it, or the input was too large to keep
    execution  name and UUID of the execution that parked it
    parked_at  ISO 8601 in UTC
    named      the transaction that a message without input names
    """

    place: str
    handle: str
    identity: str
    execution: str
    state: str
    error: str
    cause: str
    parked_at: str
    named: str = ""
    input: Any = None
    readable: bool = True

    @property
    def transaction_id(self) -> str | None:
        value = self.input.get("transaction_id") if isinstance(self.input, dict) else self.named or None
        return value if isinstance(value, str) else None


def read_message(place: str, handle: str, name: str, body: str) -> ParkedMessage:
    """Parse a message of the workflow. Any other body gives an unreadable message with the identity ``name``."""
    try:
        document = parse_json(body)
        # Messages of one execution are copies of one submission, unless one was edited.
        given = document.get("input") if isinstance(document, dict) else None
        submitted = Digest.of(json.dumps(given, sort_keys=True).encode())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return ParkedMessage(place, handle, name, "", "", "", body[:200], "", readable=False)
    text = {key: str(document.get(key, "")) for key in ("execution", "state", "error", "cause", "parked_at")}
    identity = f"{text['execution']} {submitted.short}" if text["execution"] else name
    named = str(document.get("transaction_id", ""))
    return ParkedMessage(
        place, handle, identity, named=named, input=document.get("input"), readable="input" in document, **text
    )


class ParkedQueue:
    """The dead-letter queue.

    last_poll  seconds of the long poll after a short poll that found nothing: a short poll queries only a subset of
               the servers, a long poll all of them (Amazon SQS guide, "Short and long polling")
    held       approximate number of messages in flight elsewhere before the first was taken here; None until then
    """

    def __init__(self, sqs: Any, url: str, last_poll: int = 1) -> None:
        self._sqs, self._url, self._last_poll = sqs, url, last_poll
        self.held: int | None = None

    def count(self) -> int:
        """About how many messages are parked, including those in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def take(self, count: int) -> list[ParkedMessage]:
        """Receive up to ``count`` (1 to 10) messages, hidden for HOLD_SECONDS; [] if none is visible."""
        if self.held is None:
            name = "ApproximateNumberOfMessagesNotVisible"
            answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
            self.held = int(answer["Attributes"][name])
        for wait in (0, self._last_poll):
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=count, VisibilityTimeout=HOLD_SECONDS, WaitTimeSeconds=wait
            )
            if found := answer.get("Messages"):
                return [
                    read_message("queue", message["ReceiptHandle"], message["MessageId"], message["Body"])
                    for message in found
                ]
        return []

    def put_back(self, message: ParkedMessage) -> None:
        """Make the message visible to other readers now."""
        self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=message.handle, VisibilityTimeout=0)

    def forget(self, message: ParkedMessage) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message.handle)


class ParkedTable:
    """Records ``parked#<execution>`` of the state table, found through the index ``customer``.

    held  number of records seen that another redrive holds
    """

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb, self._table = dynamodb, table
        self.held = 0
        self._keys: Iterator[str] | None = None

    def take(self, count: int) -> list[ParkedMessage]:
        """Hold and return up to ``count`` records that no other redrive holds."""
        if self._keys is None:
            self._keys = self._find()
        found: list[ParkedMessage] = []
        for key in self._keys:
            body = self._hold(key)
            if body is not None:
                found.append(read_message("table", key, key, body))
            if len(found) == count:
                break
        return found

    def put_back(self, message: ParkedMessage) -> None:
        self._update(message.handle, "REMOVE held_until", "attribute_exists(transaction_id)", {})

    def forget(self, message: ParkedMessage) -> None:
        self._dynamodb.delete_item(TableName=self._table, Key={"transaction_id": {"S": message.handle}})

    def _find(self) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="customer",
            KeyConditionExpression="customer_id = :parked",
            ExpressionAttributeValues={":parked": {"S": PARKED_CUSTOMER}},
        )
        for page in pages:
            for item in page["Items"]:
                # A customer id may equal the partition key; a transaction id cannot have the prefix.
                if item["transaction_id"]["S"].startswith(PARKED_PREFIX):
                    yield item["transaction_id"]["S"]

    def _hold(self, key: str) -> str | None:
        now = int(time.time())
        taken, record = self._update(
            key,
            "SET held_until = :until",
            "attribute_exists(message) AND (attribute_not_exists(held_until) OR held_until < :now)",
            {":until": {"N": str(now + HOLD_SECONDS)}, ":now": {"N": str(now)}},
        )
        if taken:
            return str(record["message"]["S"])
        self.held += "message" in record
        return None

    def _update(self, key: str, update: str, condition: str, values: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """(whether the condition held, the item after the update or, if it failed, as it is; {} if it is gone)."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key={"transaction_id": {"S": key}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **({"ExpressionAttributeValues": values} if values else {}),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as failed:
            return False, failed.response.get("Item", {})
        return True, answer["Attributes"]


Place = ParkedQueue | ParkedTable


def reading_failed(error: BotoCoreError | ClientError) -> SubmissionError:
    return SubmissionError(
        "not all parked messages were read",
        str(error),
        "Nothing is lost: unanswered messages become visible again within six minutes. Run it again.",
    )
