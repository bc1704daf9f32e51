"""One kept-alive DynamoDB connection, with the standard library.

The function makes one kind of call, a Query. An SDK client for it costs 160 ms of INIT (340 ms when its modules are
not compiled yet) and 30 MB of image; this costs 20 ms. What it replaces is small and fully specified: the JSON 1.0
protocol, Signature Version 4 (tests hold it against botocore's signer) and retries. Credentials are those that Lambda
puts into the environment of every image function; they outlive the execution environment, so there is nothing to
refresh.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

from transactions.invocation import InvocationError

_ATTEMPTS = 3
_TIMEOUT_SECONDS = 2.0
_BACKOFF_SECONDS = 0.05
# What DynamoDB says when the same request may succeed a moment later (B: dynamodb service model and the SDKs' retry
# rules).
_TRANSIENT = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)


class DynamoDBError(InvocationError):
    """DynamoDB refused a request or could not be reached. Names the type and status, and nothing of the request."""


class CredentialsMissing(InvocationError):
    """There are no AWS credentials in the environment."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of the execution role. Nothing of them is in ``repr``."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"

    @classmethod
    def from_environment(cls) -> Self:
        """Raises CredentialsMissing."""
        access_key, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not access_key or not secret_key:
            raise CredentialsMissing("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
        return cls(access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN") or None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where DynamoDB answers."""

    url: str
    region: str

    @classmethod
    def from_environment(cls) -> Self:
        """The region's endpoint, or the one in AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL, as the SDKs read them."""
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        override = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
        return cls(override or f"https://dynamodb.{region}.{suffix}", region)


def sign(host: str, region: str, target: str, body: bytes, credentials: Credentials, now: datetime) -> dict[str, str]:
    """The headers of a signed DynamoDB request (AWS Signature Version 4). target: ``DynamoDB_20120810.Query``."""
    timestamp, date = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "host": host,
        "x-amz-date": timestamp,
        "x-amz-target": target,
    }
    if credentials.token is not None:
        headers["x-amz-security-token"] = credentials.token
    names = sorted(headers)
    canonical = "\n".join(
        ["POST", "/", "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names), _sha256(body)]
    )
    scope = f"{date}/{region}/dynamodb/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", timestamp, scope, _sha256(canonical.encode())])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class DynamoDB:
    """Made once, and keeps its connection. One invocation at a time uses it, as everywhere in Lambda."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._region = endpoint.region
        url = urlsplit(endpoint.url)
        self._host = url.netloc
        self._connection: http.client.HTTPConnection
        if url.scheme == "https":
            # The certificate store is read here, at INIT, and not at the first request.
            self._connection = http.client.HTTPSConnection(self._host, timeout=_TIMEOUT_SECONDS)
        else:
            self._connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_SECONDS)

    def close(self) -> None:
        self._connection.close()

    def query(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """One page of a Query; parameters and result as in the DynamoDB API. Reads only, so it is safe to send again.

        Raises DynamoDBError after three attempts, or at once for an error that another attempt cannot cure.
        """
        body = json.dumps(parameters, separators=(",", ":")).encode()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                status, answer = self._send("DynamoDB_20120810.Query", body)
            except (OSError, http.client.HTTPException) as error:
                # An idle connection is often gone when a frozen execution environment thaws: that costs one attempt,
                # without a wait.
                self.close()
                failure = DynamoDBError(f"DynamoDB could not be reached: {type(error).__name__}")
                if attempt == 1:
                    continue
            else:
                if status == http.client.OK:
                    return _object(answer)
                kind = _error_type(answer)
                failure = DynamoDBError(f"DynamoDB answered {status} {kind}")
                if status < http.client.INTERNAL_SERVER_ERROR and kind not in _TRANSIENT:
                    raise failure
            if attempt < _ATTEMPTS:
                # Full jitter, so that environments that were throttled together do not come back together.
                time.sleep(random.uniform(0, _BACKOFF_SECONDS * 2**attempt))  # noqa: S311
        raise failure

    def _send(self, target: str, body: bytes) -> tuple[int, bytes]:
        headers = sign(self._host, self._region, target, body, Credentials.from_environment(), datetime.now(UTC))
        self._connection.request("POST", "/", body=body, headers=headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _object(answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DynamoDBError("DynamoDB's answer is not a JSON object")
    return document


def _error_type(answer: bytes) -> str:
    """``ThrottlingException`` out of ``{"__type": "com.amazon.coral.availability#ThrottlingException"}``."""
    try:
        kind = str(json.loads(answer).get("__type", ""))
    except (ValueError, AttributeError):
        kind = ""
    return kind.rpartition("#")[2] or "without an error type"
