"""What entrances share: how the workflow is called, a submitted document read, and the end of an execution told."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from transactions.transaction import is_transaction_id

# The limit of StartSyncExecution's input (Step Functions API reference).
INPUT_MAX_BYTES = 262_144
# Seconds to wait for an execution. API Gateway waits for 30, and a function may start in the meantime.
DEADLINE_SECONDS = 25
# What Step Functions answers when it is asked too often (Step Functions API reference, "Common errors" and quotas).
THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "ExecutionLimitExceeded"}
)


def workflow_options() -> dict[str, Any]:
    """Of the client of StartSyncExecution.

    One attempt: a second one would not end before API Gateway's own limit, and the caller, or the queue, knows better
    whether to wait. The host's prefix "sync-" is for AWS's own names.
    """
    return {
        "connect_timeout": 2,
        "read_timeout": DEADLINE_SECONDS,
        "retries": {"total_max_attempts": 1},
        "inject_host_prefix": "AWS_ENDPOINT_URL" not in os.environ,
    }


class Unreadable(ValueError):
    """A body that is not a document that every JSON parser reads alike. The text repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted document: of any JSON type, since the workflow judges it.

    text  as it was submitted; the input of the execution
    """

    text: str
    document: Any

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Read a body. Raises Unreadable for what is not UTF-8, not JSON, or ambiguous (RFC 7493, I-JSON): a repeated
        name, of which one parser keeps the first value and another the last, or a number that overflows a double.
        """
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("it is not UTF-8") from None
        try:
            document = json.loads(
                text,
                object_pairs_hook=_object,
                parse_float=_float,
                parse_int=_int,
                parse_constant=_refuse_constant,
            )
            json.dumps(document, ensure_ascii=False).encode()
        except Unreadable:
            raise
        except RecursionError:
            raise Unreadable("it is nested too deep") from None
        except UnicodeEncodeError:
            raise Unreadable("it has half of a surrogate pair") from None
        except ValueError as error:
            # No "from": the exception holds the whole text.
            place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise Unreadable(f"it is not JSON{place}") from None
        return cls(text, document)

    @property
    def transaction_id(self) -> str | None:
        """The id, if it may be stored and logged: an answer without one is not recorded."""
        value = self.document.get("transaction_id") if isinstance(self.document, dict) else None
        return value if is_transaction_id(value) else None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unreadable("a name is repeated in an object")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Unreadable("a number is out of range")
    return value


def _int(text: str) -> int:
    _float(text)
    return int(text)


def _refuse_constant(_name: str) -> None:
    raise Unreadable("it has a number that is not of JSON")


class End(StrEnum):
    """How a submission ended. NOT_ANSWERED: no answer and nothing parked, so it has to be submitted again."""

    ANSWERED = "ANSWERED"
    PARKED = "PARKED"
    NOT_ANSWERED = "NOT_ANSWERED"


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an execution, with the workflow's answer if it is ANSWERED."""

    end: End
    answer: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Ended:
        """From the response of StartSyncExecution, which is no error for a failed execution either."""
        if result["status"] == "SUCCEEDED":
            return cls(End.ANSWERED, json.loads(result["output"]))
        return cls(End.PARKED if result.get("error") == "Parked" else End.NOT_ANSWERED)
