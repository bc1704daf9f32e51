"""Reads the events of an HTTP API (payload format 2.0), and what a request to submit must be like."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from problems import Problem
from transactions.submission import INPUT_MAX_BYTES, Submission, Unreadable

_CONTENT_TYPE = re.compile(r'\s*application/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?;?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """route: the key of the route that took it, such as "POST /transactions"; parameters: those of its path."""

    route: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> HttpRequest:
        """From the event. Raises Problem for a body that was not transferred whole."""
        text = event.get("body") or ""
        try:
            # API Gateway encodes the body of every content type that it does not take for text.
            body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode("utf-8")
        except (binascii.Error, UnicodeEncodeError):
            raise Problem(HTTPStatus.BAD_REQUEST, "unreadable", "The body cannot be read.") from None
        return cls(
            event["routeKey"],
            event["rawPath"],
            {name.lower(): value for name, value in (event.get("headers") or {}).items()},
            event.get("pathParameters") or {},
            body,
        )


def read_submission(request: HttpRequest) -> Submission:
    """The submission of a request to ``POST /transactions``. Raises Problem."""
    if not _CONTENT_TYPE.fullmatch(request.headers.get("content-type", "")):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "A transaction is sent as application/json, in UTF-8.",
            headers={"accept": "application/json"},
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "content_encoding",
            "A transaction is sent without a content encoding.",
            headers={"accept_encoding": "identity"},
        )
    if len(request.body) > INPUT_MAX_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"A request has at most {INPUT_MAX_BYTES:,} bytes.",
        )
    try:
        submission = Submission.parse(request.body)
    except Unreadable as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "unreadable", f"The body cannot be read: {error}.") from None
    key = request.headers.get("idempotency-key")
    if key is not None and _unquoted(key) != (submission.transaction_id or ""):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "idempotency_key",
            "Idempotency-Key, when it is sent, is the transaction_id of the body.",
        )
    return submission


def _unquoted(key: str) -> str:
    """A key as a string of structured fields (``"t-1"``) or bare."""
    key = key.strip()
    return key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key
