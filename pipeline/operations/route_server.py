"""Serves the HTTP routes of a project on a fixed port of this machine, as its API on the embedded AWS answers them.

A request is forwarded to that API. It is signed unless it brings an Authorization header, so that routes with
``auth = "iam"`` answer too. Whatever a web page of another origin causes is refused: its reader did not ask for it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from pipeline.core.errors import LocalError, NextStep
from pipeline.core.shown import printable
from pipeline.core.web_origins import comes_from_elsewhere, host_of

ADDRESS = "127.0.0.1"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Amazon API Gateway quotas for HTTP APIs: payload size, and integration timeout (s) with time to spare.
BODY_MAX = 10 * 1024 * 1024
_ANSWER = 35
# RFC 9110, 7.6.1: those of one connection only.
_OF_CONNECTION = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
# The client states these for what it sends.
_DROPPED = {*_OF_CONNECTION, "host", "content-length"}


class RouteServer:
    """A server that forwards to ``api``, the address of the API; "" before ``forward_to``.

    tell  called with a line for each request

    Raises LocalError if the port is not free. As a context manager it serves in threads until the end of the block.
    """

    def __init__(self, port: int, tell: Callable[[str], None]) -> None:
        self.api = ""
        self._sign: Sign = lambda _method, _url, headers, _body: dict(headers)
        self._tell = tell
        self._session = URLLib3Session(timeout=_ANSWER, max_pool_connections=32)
        try:
            self._server = _Server((ADDRESS, port), _Handler)
        except OSError as error:
            why = f"{ADDRESS}:{port} cannot be listened on: {error.strerror or error}"
            raise LocalError("the routes were not served", why, NextStep("Choose another --port.")) from error
        self._server.routes = self

    def forward_to(self, api: str, sign: Sign) -> None:
        """Forward to this address from now on. sign: (method, URL, headers, body) → the headers to send."""
        self.api, self._sign = api, sign

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self._server.server_address[1]}"

    def __enter__(self) -> RouteServer:
        threading.Thread(target=self._server.serve_forever, name="routes", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        """Forward a request."""
        started = time.monotonic()
        answer = self._answered(method, target, headers, body)
        milliseconds = 1000 * (time.monotonic() - started)
        self._tell(f"{method} {printable(target.partition('?')[0])}  {answer[0]}  {milliseconds:.0f} ms")
        return answer

    def _answered(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        if comes_from_elsewhere(headers) or host_of(headers) not in self._hosts:
            return _refused(403, "web pages of other origins have no access")
        path = target.partition("?")[0]
        # Such segments are resolved on the way, and would leave the API.
        if not path.startswith("/") or {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
            return _refused(400, "the path cannot be served")
        # API Gateway joins the values of a header that is there twice (payload format 2.0).
        kept: dict[str, str] = {}
        for name, value in headers:
            if name not in _DROPPED:
                between = "; " if name == "cookie" else ","
                kept[name] = f"{kept[name]}{between}{value}" if name in kept else value
        url = f"{self.api}{target}"
        if "authorization" not in kept:
            kept = self._sign(method, url, kept, body)
        try:
            sent = self._session.send(AWSRequest(method=method, url=url, headers=kept, data=body).prepare())
        except HTTPClientError:
            return _refused(502, "the embedded AWS does not answer")
        found = {name: value for name, value in sent.headers.items() if name.lower() not in _OF_CONNECTION}
        return sent.status_code, found, sent.content

    @property
    def _hosts(self) -> set[str]:
        port = self._server.server_address[1]
        return {f"{ADDRESS}:{port}", f"localhost:{port}"}


# Names in lower case, and values.
Headers = Sequence[tuple[str, str]]
Sign = Callable[[str, str, Mapping[str, str], bytes], dict[str, str]]
Answer = tuple[int, Mapping[str, str], bytes]


def signing(credentials: Any, region: str) -> Sign:
    """Sign with Signature Version 4. credentials: botocore's."""

    def sign(method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
        return dict(request.headers.items())

    return sign


def _refused(status: int, why: str) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps({"message": why}).encode()


class _Server(ThreadingHTTPServer):
    routes: RouteServer
    daemon_threads = True
    # A program that was just ended leaves connections in TIME_WAIT; another server on the port is still an error.
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that its client has closed is no error of this program."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Of an idle connection, in seconds.
    timeout = 60
    server: _Server

    def _serve(self) -> None:
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        lengths = [value for name, value in headers if name == "content-length"] or ["0"]
        length = lengths[0]
        if self.headers.get("transfer-encoding") is not None or not (length.isascii() and length.isdecimal()):
            self._send(_refused(411, "a Content-Length is needed"), close=True)
        elif len(lengths) > 1:
            self._send(_refused(400, "a Content-Length is there twice"), close=True)
        elif int(length) > BODY_MAX:
            self._send(_refused(413, f"a body has at most {BODY_MAX:,} bytes"), close=True)
        else:
            body = self.rfile.read(int(length))
            self._send(self.server.routes.answer(self.command, self.path, headers, body))

    def _send(self, answer: Answer, *, close: bool = False) -> None:
        status, headers, content = answer
        self.close_connection = self.close_connection or close
        with suppress(BrokenPipeError, ConnectionResetError, socket.timeout):
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            if close:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def log_message(self, format: str, *args: Any) -> None: ...
