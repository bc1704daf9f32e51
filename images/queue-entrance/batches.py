"""Messages of the queue entrance and their results. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transactions.submission import INPUT_MAX_BYTES, End, Ended, Submission, Unreadable


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its body, and the transaction id in it.

    why  why the workflow cannot take it; None if it can. A message without a usable id would be answered, but its
         answer would not be recorded, so the message would be lost
    """

    message_id: str
    text: str
    transaction_id: str | None = None
    why: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Message:
        """From a record of an SQS event."""
        identifier, text = record["messageId"], record["body"]
        try:
            body = text.encode("utf-8")
            submission = Submission.parse(body)
        except UnicodeEncodeError:
            return cls(identifier, text, why="it has half of a surrogate pair")
        except Unreadable as error:
            return cls(identifier, text, why=str(error))
        if len(body) > INPUT_MAX_BYTES:
            return cls(identifier, text, submission.transaction_id, f"it has more than {INPUT_MAX_BYTES:,} bytes")
        if submission.transaction_id is None:
            return cls(identifier, text, why="it has no usable transaction_id")
        return cls(identifier, text, submission.transaction_id)

    @property
    def execution(self) -> str:
        """The name of its execution, which records keep: its beginning is the entrance."""
        return f"queue-{self.message_id}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that stays in the queue. why: repeats nothing of it."""

    message: Message
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """A message whose transaction is answered or parked."""

    message: Message
    ended: Ended

    def to_json(self) -> dict[str, Any]:
        """As it is published."""
        document: dict[str, Any] = {
            "transaction_id": self.message.transaction_id,
            "message_id": self.message.message_id,
            "status": "DECIDED" if self.ended.end is End.ANSWERED else "PARKED",
        }
        return document | ({"answer": dict(self.ended.answer)} if self.ended.answer is not None else {})

    @property
    def outcome(self) -> str:
        """What subscribers can filter by: the outcome of the answer, or PARKED."""
        return str(self.ended.answer["outcome"]) if self.ended.answer is not None else "PARKED"


def by_transaction(messages: Iterable[Message]) -> list[list[Message]]:
    """The messages in groups of one transaction id, in their order."""
    groups: dict[str, list[Message]] = {}
    for message in messages:
        groups.setdefault(message.transaction_id or f"#{message.message_id}", []).append(message)
    return [*groups.values()]


def entries(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The entries of PublishBatch; the id of each is its position."""
    return [
        {
            "Id": str(number),
            "Message": json.dumps(result.to_json(), ensure_ascii=False, separators=(",", ":")),
            "MessageAttributes": {"outcome": {"DataType": "String", "StringValue": result.outcome}},
        }
        for number, result in enumerate(results)
    ]
