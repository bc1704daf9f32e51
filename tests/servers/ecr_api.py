"""ECR's own API on loopback for a client that is not boto3: every request is held against the model and its signature.

The signature is made anew with botocore from what arrived. Answers are scripted: what is not, is answered with success.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest.mock import patch

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.models import request_findings

TARGET = "AmazonEC2ContainerRegistry_V20150921."


@dataclass(frozen=True)
class Answer:
    """status 0: the connection is closed without an answer. missing: bytes that are announced and do not come."""

    status: int
    body: bytes = b""
    missing: int = 0

    @classmethod
    def error(cls, code: str, status: int = 400) -> Answer:
        return cls(status, json.dumps({"__type": code, "message": f"told by the test: {code}"}).encode())


@dataclass
class EcrApi:
    """url: where it listens. asked: operation and parameters of each request. script: the answers of an operation,
    each given once."""

    credentials: Credentials
    url: str = ""
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    script: dict[str, list[Answer]] = field(default_factory=dict)

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        operation = headers["X-Amz-Target"].removeprefix(TARGET)
        parameters = json.loads(body)
        if "layerPartBlob" in parameters:
            parameters["layerPartBlob"] = base64.b64decode(parameters["layerPartBlob"], validate=True)
        self.asked.append((operation, parameters))
        self.findings += request_findings("ecr", operation, parameters)
        if headers["Authorization"] != self._signature(headers, body):
            self.findings.append(f"{operation}: another signature")
        if waiting := self.script.get(operation):
            return waiting.pop(0)
        return Answer(200, json.dumps({"uploadId": "3f0c0000-0000-0000-0000-000000000000"}).encode())

    def _signature(self, headers: Mapping[str, str], body: bytes) -> str:
        """What botocore signs the same request with, at the moment that the request names."""
        signed = re.search(r"SignedHeaders=([^,]+)", headers["Authorization"])
        assert signed
        names = [each for each in signed[1].split(";") if each not in ("host", "x-amz-date", "x-amz-security-token")]
        request = AWSRequest("POST", f"{self.url}/", {name: headers[name] for name in names}, body)
        moment = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        with patch.object(auth, "get_current_datetime", lambda: moment):
            auth.SigV4Auth(self.credentials, "ecr", "eu-central-1").add_auth(request)
        return str(request.headers["Authorization"])


@contextmanager
def ecr_api(*, token: str | None = None) -> Iterator[EcrApi]:
    api = EcrApi(Credentials("AKIDEXAMPLE", "a/secret+of=the-test", token))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = api.take(self.headers, self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[arg-type]
            if not answer.status:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) + answer.missing))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
