"""Responses of the HTTP entrance: answers as JSON, and errors as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

Response = dict[str, Any]


def respond(status: int, document: Mapping[str, Any], **headers: str) -> Response:
    """A response of an HTTP API (payload format 2.0). Underscores in names of headers become hyphens."""
    return _response(status, "application/json", document, headers)


class Problem(Exception):
    """A request that is not answered with a decision.

    code     stable, for programs
    detail   for people; repeats nothing that was submitted
    members  further members of the problem document
    headers  of the response, as for ``respond``
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.members, self.headers = members or {}, headers or {}

    def response(self) -> Response:
        # Without a type it is about:blank, whose title is the status's own phrase (RFC 9457, 4.2.1).
        document = {
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return _response(self.status, "application/problem+json", document, self.headers)


def _response(status: int, kind: str, document: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return {
        "statusCode": int(status),
        "headers": {
            "content-type": kind,
            # Answers are of one caller, and of one moment.
            "cache-control": "no-store",
            **{name.replace("_", "-").lower(): value for name, value in headers.items()},
        },
        "body": json.dumps(document, ensure_ascii=False, separators=(",", ":")),
    }
