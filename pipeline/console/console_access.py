"""The only way into the console: its own host, no other site, and a cookie that one visit of its address gives.

The address holds a ticket that works once. The visit that uses it gets a session in a cookie, so an address that is
kept in a browser's history, or read from the screen later, opens nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from pipeline.core.web_origins import comes_from_elsewhere, host_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = "/open"
# Far above any file of transactions that a person submits by hand.
BODY_MAX = 64 << 20
_HEADERS = (
    # Nothing inline, nothing from elsewhere, in no frame.
    ("content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
     " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    # Not no-referrer, which would make browsers send "Origin: null" with the console's own forms.
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
)  # fmt: skip
_ENTERED = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Console</title>
<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Open the console</a></p></html>
"""


class _Refused(Exception):
    """A request that is not answered; its text goes to the client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Access:
    """An ASGI application before ``application``, which gets admitted requests only.

    address, port  where the console listens; it is reached there, and through a forwarded port of the same number
    """

    def __init__(self, application: Application, address: str, port: int) -> None:
        self._application = application
        self._hosts = {f"{name}:{port}" for name in (address, "127.0.0.1", "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}
        # Browsers send a cookie to every port of a host: two consoles need two names.
        self.cookie = f"console-{port}"
        self.session = secrets.token_urlsafe(32)
        self._ticket = secrets.token_urlsafe(32)
        self.url = f"http://{address}:{port}{OPEN}?ticket={self._ticket}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        send = _with_headers(send)
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        try:
            if host_of(headers) not in self._hosts:
                raise _Refused(403, "the Host header is not that of this console")
            if scope["path"] == OPEN:
                await self._enter(scope, send)
                return
            self._admit(str(scope["method"]), headers)
            receive = _bounded(receive, headers)
        except _Refused as refused:
            await _answer(send, refused.status, f"{refused}\n".encode(), "text/plain; charset=utf-8")
        else:
            await self._application(scope, receive, send)

    def _admit(self, method: str, headers: list[tuple[str, str]]) -> None:
        if comes_from_elsewhere(headers, self._origins):
            raise _Refused(403, "other sites have no access to this console")
        if method not in ("GET", "HEAD") and not any(name == "origin" for name, _ in headers):
            raise _Refused(403, "a change needs the Origin header that browsers send")
        given = [value for name, value in headers if name == "cookie"]
        if not any(self._is_session(value) for value in given):
            raise _Refused(403, "open the console with the address that it printed; it works once, in one browser")

    def _is_session(self, cookie: str) -> bool:
        try:
            morsel = SimpleCookie(cookie).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and secrets.compare_digest(morsel.value.encode(), self.session.encode())

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Trade the ticket for a session; from any site, because no other site knows the ticket."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[0]
        if scope["method"] != "GET" or not self._ticket or not secrets.compare_digest(
            given.encode(), self._ticket.encode()
        ):  # fmt: skip
            raise _Refused(403, "this address was used already, or is not of this console; start the console again")
        self._ticket = ""
        cookie = f"{self.cookie}={self.session}; Path=/; HttpOnly; SameSite=Strict"
        # A page that goes on by itself, not a redirect: after a redirect from a file or another site, browsers would
        # leave out the new cookie, which is SameSite=Strict.
        await _answer(send, 200, _ENTERED, "text/html; charset=utf-8", ("set-cookie", cookie))


def _bounded(receive: Receive, headers: list[tuple[str, str]]) -> Receive:
    """A ``receive`` that ends the request after BODY_MAX bytes. Raises _Refused if more are announced."""
    announced = [value for name, value in headers if name == "content-length"]
    if any(not value.isdigit() or len(value) > 18 or int(value) > BODY_MAX for value in announced):
        raise _Refused(413, f"a request has at most {BODY_MAX:,} bytes")
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= BODY_MAX else {"type": "http.disconnect"}

    return bounded


def _with_headers(send: Send) -> Send:
    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in _HEADERS]
            message = {**message, "headers": [*message.get("headers", ()), *ours]}
        await send(message)

    return protected


async def _answer(send: Send, status: int, body: bytes, kind: str, *more: tuple[str, str]) -> None:
    headers = (("content-type", kind), ("content-length", str(len(body))), *more)
    lines = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
