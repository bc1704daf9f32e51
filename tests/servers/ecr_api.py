"""ECR's own API on loopback with scripted answers; a request that is not scripted succeeds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TARGET = "AmazonEC2ContainerRegistry_V20150921."


@dataclass(frozen=True)
class Answer:
    """An HTTP response. Status 0 closes the connection without one."""

    status: int
    body: bytes = b""

    @classmethod
    def error(cls, code: str, status: int = 400) -> Answer:
        return cls(status, json.dumps({"__type": code, "message": f"scripted: {code}"}).encode())


@dataclass
class EcrApi:
    """url: where it listens. asked: operation and parameters of each request. script: the answers of an operation,
    each given once."""

    url: str = ""
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
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
        if waiting := self.script.get(operation):
            return waiting.pop(0)
        return Answer(200, json.dumps({"uploadId": "3f0c0000-0000-0000-0000-000000000000"}).encode())


@contextmanager
def ecr_api() -> Iterator[EcrApi]:
    api = EcrApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = api.take(self.headers, self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[arg-type]
            if not answer.status:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
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
