"""Requests to an HTTP API of the embedded AWS, signed as its callers sign them."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.functional.conftest import EmbeddedAws


def signed_headers(
    aws: EmbeddedAws, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The headers with a signature of the account root for the service execute-api."""
    asked = AWSRequest(method, url, data=body, headers=dict(headers or {}))
    SigV4Auth(Credentials(aws.access_key_id, aws.secret_access_key), "execute-api", aws.region).add_auth(asked)
    return dict(asked.headers.items())


def request(
    aws: EmbeddedAws,
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    signed: bool = True,
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers with lower-case names, and body of the response."""
    parts = urlsplit(url)
    sent = signed_headers(aws, method, url, body, headers) if signed else dict(headers or {})
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body or None, sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
