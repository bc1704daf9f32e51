"""The responses for an execution that has ended, and for a record. Pure.

A submission is answered (200, 409, 422), waits (202), or has to be sent again (429, 503); never two of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from problems import Problem, Response, respond
from transactions.submission import End, Ended

# Seconds after which a client looks or sends again.
PENDING_SECONDS, PARKED_SECONDS, THROTTLED_SECONDS, UNAVAILABLE_SECONDS = 5, 60, 1, 5


def response_to(ended: Ended, transaction_id: str | None) -> Response:
    """The response for an execution that has ended. Raises Problem for everything but a decision or a parked one."""
    if ended.end is End.ANSWERED and ended.answer is not None:
        return _decided(ended.answer)
    if ended.end is End.PARKED:
        return accepted("PARKED", transaction_id, PARKED_SECONDS)
    raise unavailable("The transaction was not answered.")


def _decided(answer: Mapping[str, Any]) -> Response:
    match answer["outcome"]:
        case "CONFLICT":
            raise Problem(
                HTTPStatus.CONFLICT,
                "conflict",
                "Another transaction was submitted with this transaction_id before.",
                members=_members(answer),
            )
        case "REJECTED":
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "rejected",
                "The transaction is faulty; errors has all of its faults.",
                members=_members(answer),
            )
    return respond(HTTPStatus.OK, answer)


def _members(answer: Mapping[str, Any]) -> dict[str, Any]:
    known = ("transaction_id", "outcome", "repeat", "decided_at")
    return {name: answer[name] for name in known if name in answer} | {"errors": answer.get("reasons", [])}


def accepted(status: str, transaction_id: str | None, seconds: int) -> Response:
    """202 for a submission that waits: it has an address, unless it has no usable id."""
    # Relative to the address of the request (RFC 9110, 10.2.2), which may have a prefix.
    location = {"location": f"transactions/{transaction_id}"} if transaction_id else {}
    return _waiting(status, transaction_id, seconds, **location)


def _waiting(status: str, transaction_id: str | None, seconds: int, **headers: str) -> Response:
    document = {"transaction_id": transaction_id, "status": status}
    return respond(HTTPStatus.ACCEPTED, document, retry_after=str(seconds), **headers)


def throttled() -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "throttled",
        "There are more requests than the pipeline takes. Send it again later: the same transaction is safe to send.",
        headers={"retry_after": str(THROTTLED_SECONDS)},
    )


def unavailable(what: str) -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        f"{what} Send it again: if it is answered in the meantime, it gets the same answer.",
        headers={"retry_after": str(UNAVAILABLE_SECONDS)},
    )


def response_of_record(transaction_id: str, record: Mapping[str, Any] | None) -> Response:
    """The state of a transaction, from its record as DynamoDB returns it. Raises Problem without one."""
    if not record or "status" not in record:
        raise not_found()
    values = {name: next(iter(value.values())) for name, value in record.items()}
    if values["status"] == "DECIDED":
        return respond(HTTPStatus.OK, json.loads(values["answer"]))
    running = int(values.get("lease_until", 0)) > time.time() * 1000
    if "parked_at" in values and not running:
        return _waiting("PARKED", transaction_id, PARKED_SECONDS)
    return _waiting("PENDING", transaction_id, PENDING_SECONDS)


def not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")
