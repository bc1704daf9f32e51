"""Messages of the queue entrance and their results. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transactions.submission import INPUT_MAX_BYTES, End, Ended, Submission, Unreadable


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its body, and the transaction id in it.

    group  its message group in a FIFO queue; None in a standard queue, where groups do not order
    why    why the workflow cannot take it; None if it can. A message without a usable id would be answered, but its
         answer would not be recorded, so the message would be lost
    """

    message_id: str
    text: str
    transaction_id: str | None = None
    group: str | None = None
    why: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Message:
        """From a record of an SQS event."""
        text = record["body"]
        group = record["attributes"]["MessageGroupId"] if record["eventSourceARN"].endswith(".fifo") else None
        message = partial(cls, record["messageId"], text, group=group)
        try:
            body = text.encode("utf-8")
            submission = Submission.parse(body)
        except UnicodeEncodeError:
            return message(why="it has half of a surrogate pair")
        except Unreadable as error:
            return message(why=str(error))
        if len(body) > INPUT_MAX_BYTES:
            return message(submission.transaction_id, why=f"it has more than {INPUT_MAX_BYTES:,} bytes")
        if submission.transaction_id is None:
            return message(why="it has no usable transaction_id")
        return message(submission.transaction_id)

    @property
    def execution(self) -> str:
        """The name of its execution, which records keep: its beginning is the entrance."""
        return f"queue-{self.message_id}"


# Why a message of a FIFO queue is kept without an error of its own.
BEHIND = "a message before it in its group is kept"


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


def in_sequences(messages: Iterable[Message]) -> list[list[Message]]:
    """The messages in sequences, each in its order: of one message group, or of one transaction id.

    In one sequence messages run one after the other. Two with one id at a time would make one of them wait for the
    other's claim.
    """
    sequences: dict[tuple[str, str], list[Message]] = {}
    for message in messages:
        if message.group is not None:
            key = "group", message.group
        elif message.transaction_id is not None:
            key = "transaction", message.transaction_id
        else:
            key = "message", message.message_id
        sequences.setdefault(key, []).append(message)
    return [*sequences.values()]


def held_up(messages: Iterable[Message], kept: Iterable[Kept]) -> list[Kept]:
    """The other messages of a batch that are kept because one before them in their message group is.

    Their order with it would be lost otherwise (Lambda guide, "Handling errors for an SQS event source", FIFO queues).
    """
    known = {each.message.message_id for each in kept}
    groups: set[str | None] = set()
    found = []
    for message in messages:
        if message.message_id in known:
            groups.add(message.group)
        elif message.group is not None and message.group in groups:
            found.append(Kept(message, BEHIND))
    return found


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
