"""Lambda's Runtime API for one worker.

Each worker has a separate listener, so a request can only concern that worker's invocations. Runtime clients use a
small part of HTTP (no pipelining, no chunks), which is parsed here; an invocation takes two requests.

Source: AWS documentation, "Using the Lambda runtime API" (version 2018-06-01).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Protocol, cast

from pipeline.local.invocation import PAYLOAD_MAX

_PREFIX = "/2018-06-01/runtime"
_HEAD_MAX = 64 * 1024
# An error may carry a long stack trace; a body beyond this size is refused.
_BODY_MAX = PAYLOAD_MAX + 1024 * 1024
_REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
            411: "Length Required", 413: "Payload Too Large", 431: "Request Header Fields Too Large"}  # fmt: skip
_ACCEPTED = b'{"status":"OK"}'


class RuntimeEvents(Protocol):
    """Receives the requests of a runtime client; implemented by its worker."""

    def next_asked(self, connection: RuntimeConnection) -> None:
        """The runtime requests the next event; respond with ``connection.send_event``."""
        ...

    def answered(self, request_id: str, payload: bytes) -> bool:
        """The handler returned; False if that invocation is not running."""
        ...

    def failed(self, request_id: str, payload: bytes) -> bool:
        """The handler raised; ``payload`` is the error as JSON."""
        ...

    def too_large(self, request_id: str) -> bool:
        """The handler's response exceeds Lambda's limit."""
        ...

    def init_failed(self, payload: bytes) -> None:
        """The runtime or the handler's module could not start."""
        ...


class RuntimeConnection(asyncio.Protocol):
    """One connection of the runtime client; there are several over a worker's life."""

    def __init__(self, events: RuntimeEvents) -> None:
        self._events = events
        self._buffer = bytearray()
        self._head: tuple[str, str, int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None

    @property
    def open(self) -> bool:
        """Whether the runtime client is still connected."""
        return self._transport is not None and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and not self._transport.is_closing() and self._read_request():
            pass

    def _read_request(self) -> bool:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_MAX:
                    self._refuse(431)
                return False
            self._head = self._parse_head(bytes(self._buffer[:end]).decode("latin-1"))
            del self._buffer[: end + 4]
            if self._head is None:
                return False
        method, path, length = self._head
        if len(self._buffer) < length:
            return False
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        self._route(method, path, body)
        return True

    def _parse_head(self, head: str) -> tuple[str, str, int] | None:
        first, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, _, rest = first.partition(" ")
        if "transfer-encoding" in headers:
            self._refuse(411)
            return None
        text = headers.get("content-length", "0")
        if not text.isdecimal():
            self._refuse(400)
            return None
        if len(text) > 18 or int(text) > _BODY_MAX:  # Python converts at most 4,300 digits
            parts = rest.partition(" ")[0].split("/")
            self._events.too_large(parts[-2] if len(parts) > 2 else "")
            self._refuse(413)
            return None
        if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return method, rest.partition(" ")[0], int(text)

    def _route(self, method: str, path: str, body: bytes) -> None:
        match method, path.removeprefix(_PREFIX).split("/")[1:]:
            case "GET", ["invocation", "next"]:
                self._events.next_asked(self)
            case "POST", ["invocation", request_id, "response"]:
                if len(body) > PAYLOAD_MAX:
                    self._events.too_large(request_id)
                    message = f"Exceeded maximum allowed payload size ({PAYLOAD_MAX} bytes)."
                    self._send_error(413, "RequestEntityTooLarge", message)
                else:
                    self._accept(self._events.answered(request_id, body))
            case "POST", ["invocation", request_id, "error"]:
                self._accept(self._events.failed(request_id, body))
            case "POST", ["init", "error"]:
                self._events.init_failed(body)
                self._accept(True)
            case _:
                self._send_error(404, "NotFound", f"the Runtime API has no {method} {path}")

    def _accept(self, known: bool) -> None:
        if known:
            self._send(202, _ACCEPTED)
        else:
            self._send_error(400, "InvalidRequestID", "no such invocation is running")

    def send_event(self, headers: dict[str, str], event: bytes) -> bool:
        """Respond to the pending request for the next invocation; False if the client has disconnected."""
        if not self.open:
            return False
        self._send(200, event, headers)
        return True

    def _send_error(self, status: int, error_type: str, message: str) -> None:
        self._send(status, json.dumps({"errorType": error_type, "errorMessage": message}).encode())

    def _refuse(self, status: int) -> None:
        self._send_error(status, "InvalidRequest", _REASONS[status])
        if self._transport is not None:
            self._transport.close()

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        # Without a content type awslambdaric never returns from /next.
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
        self._transport.write("\r\n".join(lines).encode("latin-1") + body)


async def serve_runtime_api(protocol: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    """Listen on a free port of 127.0.0.1 for one worker."""
    return await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
