"""The Runtime API over real connections of loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.local.invocation import PAYLOAD_MAX
from pipeline.local.runtime.runtime_api import RuntimeConnection, serve_runtime_api

NEXT = "/2018-06-01/runtime/invocation/next"


@dataclass
class Recorder:
    """A worker that has one event, and remembers what it was told."""

    event: bytes = b'{"a": 1}'
    told: list[tuple[str, str, bytes]] = field(default_factory=list)

    def next_asked(self, connection: RuntimeConnection) -> None:
        connection.send_event({"Lambda-Runtime-Aws-Request-Id": "one", "Lambda-Runtime-Deadline-Ms": "1"}, self.event)

    def answered(self, request_id: str, payload: bytes) -> bool:
        self.told.append(("answered", request_id, payload))
        return request_id == "one"

    def failed(self, request_id: str, payload: bytes) -> bool:
        self.told.append(("failed", request_id, payload))
        return True

    def too_large(self, request_id: str) -> bool:
        self.told.append(("too large", request_id, b""))
        return True

    def init_failed(self, payload: bytes) -> None:
        self.told.append(("init", "", payload))


def run(recorder: Recorder, talk: Callable[[int], Any]) -> Any:
    async def main() -> Any:
        server = await serve_runtime_api(lambda: RuntimeConnection(recorder))
        try:
            host, port = server.sockets[0].getsockname()
            assert host == "127.0.0.1"
            return await asyncio.to_thread(talk, port)
        finally:
            server.close()

    coroutine: Awaitable[Any] = main()
    return asyncio.run(coroutine)  # type: ignore[arg-type]


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> Callable[[int], Any]:
    def talk(port: int) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    return talk


def raw(content: bytes) -> Callable[[int], bytes]:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(65536):
                answer += data
            return answer

    return talk


def test_next_gives_the_event_with_a_content_type() -> None:
    status, headers, body = run(Recorder(), request("GET", NEXT))
    assert (status, body) == (200, b'{"a": 1}')
    assert headers["Content-Type"] == "application/json"
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "one"


def test_a_response_is_accepted() -> None:
    recorder = Recorder()
    assert run(recorder, request("POST", NEXT.replace("next", "one/response"), b"42"))[0] == 202
    assert recorder.told == [("answered", "one", b"42")]


def test_an_answer_to_another_invocation_is_refused() -> None:
    status, _, body = run(Recorder(), request("POST", NEXT.replace("next", "two/response"), b"42"))
    assert status == 400
    assert json.loads(body)["errorType"] == "InvalidRequestID"


def test_errors_of_the_handler_and_of_init_are_told() -> None:
    recorder = Recorder()
    assert run(recorder, request("POST", NEXT.replace("next", "one/error"), b"{}"))[0] == 202
    assert run(recorder, request("POST", "/2018-06-01/runtime/init/error", b'{"errorType": "X"}'))[0] == 202
    assert recorder.told == [("failed", "one", b"{}"), ("init", "", b'{"errorType": "X"}')]


def test_a_connection_serves_many_requests() -> None:
    def talk(port: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        found = []
        for _ in range(3):
            for method, path, body in (("GET", NEXT, None), ("POST", NEXT.replace("next", "one/response"), b"1")):
                connection.request(method, path, body)
                answer = connection.getresponse()
                answer.read()
                found.append(answer.status)
        connection.close()
        return found

    assert run(Recorder(), talk) == [200, 202] * 3


def test_a_request_may_come_in_pieces() -> None:
    def talk(port: int) -> bytes:
        content = b"POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(content)):
                connection.sendall(content[number : number + 1])
            return connection.recv(65536)

    recorder = Recorder()
    assert run(recorder, talk).startswith(b"HTTP/1.1 202 ")
    assert recorder.told == [("answered", "one", b"hello")]


def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(
                b"POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\n"
                b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            first = connection.recv(65536)
            connection.sendall(b"42")
            return first + connection.recv(65536)

    assert run(Recorder(), talk).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


def test_the_largest_payload_is_taken_and_one_byte_more_is_not() -> None:
    recorder = Recorder()
    path = NEXT.replace("next", "one/response")
    assert run(recorder, request("POST", path, b"x" * PAYLOAD_MAX))[0] == 202
    assert run(recorder, request("POST", path, b"x" * (PAYLOAD_MAX + 1)))[0] == 413
    assert [kind for kind, _, _ in recorder.told] == ["answered", "too large"]


@pytest.mark.parametrize("digits", [11, 5000])
def test_a_body_beyond_all_bounds_is_refused_unread(digits: int) -> None:
    recorder, length = Recorder(), b"9" * digits
    answer = run(
        recorder,
        raw(b"POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: %b\r\n\r\n" % length),
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert recorder.told == [("too large", "one", b"")]


def test_what_is_no_runtime_request_is_refused() -> None:
    assert run(Recorder(), request("GET", "/2018-06-01/runtime/other"))[0] == 404
    assert run(Recorder(), request("GET", "/"))[0] == 404
    assert run(Recorder(), raw(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")).startswith(b"HTTP/1.1 411 ")
    assert run(Recorder(), raw(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert run(Recorder(), raw(b"x" * 70_000)).startswith(b"HTTP/1.1 431 ")
