"""A proxy between boto3 and the embedded AWS that makes chosen calls fail as AWS makes them fail.

    with FaultProxy(embedded_aws.endpoint) as proxy:
        cfn = boto3.client("cloudformation", endpoint_url=proxy.endpoint, …)
        proxy.add(throttled("CreateChangeSet", times=3))
        proxy.add(lost_answer("ExecuteChangeSet"))        # AWS did it, and the response is lost
        proxy.add(error("ContinueUpdateRollback", "ValidationError", "…"))
        proxy.before("CreateChangeSet", lambda: somebody_else_updates_the_stack())
        …
        assert proxy.calls.count("CreateChangeSet") == 4

An action is an AWS operation's name, or for what is no AWS call (the registry's HTTP API) ``"PUT /v2/…"``; patterns
with ``*`` match both. Everything that no fault matches reaches the real server unchanged.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from xml.sax.saxutils import escape

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection", "content-length"}


@dataclass
class Fault:
    """What happens to calls of ``action``.

    kind   refuse: an AWS error instead of an answer; cut: the connection ends before the call reaches AWS;
           lose: AWS gets the call, its answer does not come back; hang: no answer for ``seconds``, then a cut
    skip   this many calls pass first
    times  this many calls fail then; None for all
    """

    action: str
    kind: Literal["refuse", "cut", "lose", "hang"]
    status: int = 400
    code: str = ""
    message: str = ""
    seconds: float = 0.0
    skip: int = 0
    times: int | None = 1
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def strikes(self, action: str) -> bool:
        if not fnmatch.fnmatchcase(action, self.action):
            return False
        self._seen += 1
        if self._seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


def error(action: str, code: str, message: str, *, status: int = 400, skip: int = 0, times: int | None = 1) -> Fault:
    """AWS refuses."""
    return Fault(action, "refuse", status=status, code=code, message=message, skip=skip, times=times)


def throttled(action: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    return error(action, "Throttling", "Rate exceeded", status=400, times=times, skip=skip)


def unavailable(action: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    return error(action, "ServiceUnavailable", "Service is unavailable", status=503, times=times, skip=skip)


def expired(action: str = "*", *, times: int | None = None, skip: int = 0) -> Fault:
    message = "The security token included in the request is expired"
    return error(action, "ExpiredToken", message, status=403, times=times, skip=skip)


def cut(action: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    return Fault(action, "cut", times=times, skip=skip)


def lost_answer(action: str, *, times: int | None = 1, skip: int = 0) -> Fault:
    return Fault(action, "lose", times=times, skip=skip)


def hanging(action: str, seconds: float, *, times: int | None = 1, skip: int = 0) -> Fault:
    return Fault(action, "hang", seconds=seconds, times=times, skip=skip)


@dataclass
class _Interlude:
    """Something that happens right before a call reaches AWS, once."""

    action: str
    happens: Callable[[], object]
    skip: int
    done: bool = False
    seen: int = 0


class FaultProxy:
    """An HTTP proxy on loopback in front of ``upstream`` (``http://127.0.0.1:PORT``)."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urllib.parse.urlsplit(upstream)
        self.calls: list[str] = []
        self._faults: list[Fault] = []
        self._interludes: list[_Interlude] = []
        self._lock = threading.Lock()
        self._busy = threading.Condition()
        self._under_way = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, *faults: Fault) -> Fault:
        with self._lock:
            self._faults.extend(faults)
        return faults[-1]

    def before(self, action: str, happens: Callable[[], object], *, skip: int = 0) -> None:
        """Let something happen when the call of ``action`` (after ``skip`` others) has left but not arrived."""
        with self._lock:
            self._interludes.append(_Interlude(action, happens, skip))

    def wait_until_idle(self) -> None:
        """Wait until no call is on its way: one whose caller is gone may still be about to arrive."""
        with self._busy:
            self._busy.wait_for(lambda: self._under_way == 0, timeout=10)

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        with self._busy:
            self._under_way += 1
        try:
            yield
        finally:
            with self._busy:
                self._under_way -= 1
                self._busy.notify_all()

    def clear(self) -> None:
        """Forget all faults and calls."""
        with self._lock:
            self._faults.clear()
            self._interludes.clear()
            self.calls.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def strike(self, action: str) -> Fault | None:
        """Note the call and say what happens to it."""
        with self._lock:
            self.calls.append(action)
            due = []
            for each in self._interludes:
                if not each.done and fnmatch.fnmatchcase(action, each.action):
                    each.seen += 1
                    if each.seen > each.skip:
                        each.done = True
                        due.append(each)
            fault = next((each for each in self._faults if each.strikes(action)), None)
        for each in due:
            each.happens()
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet per answer: with two, Nagle's algorithm and delayed acknowledgements cost 40 ms a call.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the calls are in ``FaultProxy.calls``."""

    def _handle(self) -> None:
        body = self._read_body()
        with self.server.proxy.under_way():
            self._carry(body)

    def _carry(self, body: bytes) -> None:
        action = action_of(self.command, self.path, dict(self.headers.items()), body)
        fault = self.server.proxy.strike(action)
        if fault is None:
            self._answer(*self._forward(body))
            return
        match fault.kind:
            case "refuse":
                self._answer(*_refusal(fault, dict(self.headers.items())))
            case "cut":
                self._cut()
            case "lose":
                self._forward(body)
                self._cut()
            case "hang":
                time.sleep(fault.seconds)
                self._cut()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle

    def _read_body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = self.server.proxy.upstream
        with contextlib.closing(http.client.HTTPConnection(upstream.hostname or "", upstream.port)) as connection:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            kept = [(key, value) for key, value in answer.getheaders() if key.lower() not in _HOP_BY_HOP]
            return answer.status, kept, answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def action_of(method: str, path: str, headers: dict[str, str], body: bytes) -> str:
    """The AWS operation that a request calls, or ``METHOD /path``."""
    named = {key.lower(): value for key, value in headers.items()}
    if target := named.get("x-amz-target"):
        return target.rpartition(".")[2]
    if named.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return urllib.parse.parse_qs(body.decode()).get("Action", ["?"])[0]
    bare = path.partition("?")[0]
    for known, pattern, operation in _lambda_operations():
        if known == method and pattern.fullmatch(bare):
            return operation
    return f"{method} {bare}"


@cache
def _lambda_operations() -> list[tuple[str, re.Pattern[str], str]]:
    """How Lambda's REST calls look, from botocore's own model; the longest path first."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("lambda")
    found = []
    for name in model.operation_names:
        spec = model.operation_model(name).http
        path = spec["requestUri"].partition("?")[0]
        pattern = "".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", path)
        )
        found.append((spec["method"], re.compile(pattern), name))
    return sorted(found, key=lambda each: -len(each[1].pattern))


def _refusal(fault: Fault, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
    """An AWS error in the protocol that the request speaks: query XML, JSON, or REST JSON."""
    named = {key.lower(): value for key, value in headers.items()}
    if named.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        text = (
            '<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type>'
            f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message></Error>"
            "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        )
        return fault.status, [("Content-Type", "text/xml")], text.encode()
    content = {"__type": fault.code, "message": fault.message, "Message": fault.message}
    return (
        fault.status,
        [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", fault.code)],
        json.dumps(content).encode(),
    )
