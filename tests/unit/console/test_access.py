"""The way into the console: host, origin, ticket, session, and the headers of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import pytest

from pipeline.console.console_access import BODY_MAX, Access

ADDRESS, PORT = "127.9.8.7", 8123
HOST = f"{ADDRESS}:{PORT}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


class Inside:
    """The application behind; counts what reached it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        self.requests.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"inside"})


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def access(inside: Inside) -> Access:
    return Access(inside, ADDRESS, PORT)


def ask(
    access: Access, path: str = "/", method: str = "GET", body: bytes | list[bytes] = b"", **headers: str
) -> Answer:
    """An underscore in the name of a header means a hyphen; an empty value omits it."""
    given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    parts = [body] if isinstance(body, bytes) else body
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    place, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": place, "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
    }  # fmt: skip
    asyncio.run(access(scope, receive, send))
    if not sent:
        return Answer(0, {}, "")
    lines = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], lines, sent[1]["body"].decode())


def enter(access: Access) -> str:
    """Use the ticket; the Cookie header of what follows."""
    answer = ask(access, access.url.removeprefix(f"http://{HOST}"))
    assert answer.status == 200
    cookie = SimpleCookie(answer.headers["set-cookie"])[access.cookie]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Strict", "/", "")
    return f"{access.cookie}={cookie.value}"


def test_a_ticket_gives_a_session_once(access: Access, inside: Inside) -> None:
    cookie = enter(access)
    assert ask(access, cookie=cookie).text == "inside"
    again = ask(access, access.url.removeprefix(f"http://{HOST}"))
    assert (again.status, "set-cookie" in again.headers) == (403, False)
    assert "used already" in again.text
    assert inside.requests == [("/", 0)]


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=guessed", "?ticket=%ff", "?other=1"])
def test_another_ticket_opens_nothing(access: Access, query: str) -> None:
    assert ask(access, f"/open{query}").status == 403
    enter(access)  # and the right one still works


def test_the_ticket_is_not_the_session(access: Access) -> None:
    ticket = access.url.partition("ticket=")[2]
    assert ask(access, cookie=f"{access.cookie}={ticket}").status == 403


@pytest.mark.parametrize("cookie", ["", "console-8123=", "console-8123=x", "console-1={session}", "=;=,\x01"])
def test_without_a_session_nothing_is_shown(access: Access, inside: Inside, cookie: str) -> None:
    for path in ("/", "/static/console.css", "/live/pipeline", "/open/"):
        answer = ask(access, path, cookie=cookie.replace("{session}", access.session))
        assert (answer.status, "works once" in answer.text) == (403, True)
    assert inside.requests == []


def test_among_the_cookies_of_other_servers_the_session_is_found(access: Access) -> None:
    assert ask(access, cookie=f"console-1=x; {enter(access)}; other=1").status == 200


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8123", "127.9.8.7", "127.9.8.7:80", "localhost:1"])
def test_another_host_is_refused_even_with_the_session(access: Access, inside: Inside, host: str) -> None:
    cookie = enter(access)
    assert ask(access, cookie=cookie, host=host).status == 403
    assert inside.requests == []


@pytest.mark.parametrize("host", [HOST, "127.0.0.1:8123", "localhost:8123", "LOCALHOST:8123"])
def test_a_forwarded_port_of_the_same_number_works(access: Access, host: str) -> None:
    assert ask(access, cookie=enter(access), host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.9.8.7:8123"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"},
        {"access_control_request_method": "POST"},
    ],
)  # fmt: skip
def test_another_site_is_refused_even_with_the_session(access: Access, inside: Inside, headers: dict[str, str]) -> None:
    cookie = enter(access)
    for method in ("GET", "POST", "OPTIONS"):
        assert ask(access, method=method, cookie=cookie, **headers).status == 403
    assert inside.requests == []


def test_a_change_needs_an_origin(access: Access, inside: Inside) -> None:
    cookie = enter(access)
    assert ask(access, method="POST", cookie=cookie).status == 403
    assert ask(access, method="POST", cookie=cookie, origin=f"http://{HOST}").status == 200
    assert len(inside.requests) == 1


def test_every_answer_has_the_headers(access: Access) -> None:
    url = access.url.removeprefix(f"http://{HOST}")
    for answer in (ask(access), ask(access, host="x"), ask(access, url), ask(access, cookie="x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize("length", [str(BODY_MAX + 1), "-1", "9" * 30, "١"])
def test_a_body_that_is_announced_as_too_long_is_refused(access: Access, inside: Inside, length: str) -> None:
    answer = ask(access, method="POST", cookie=enter(access), origin=f"http://{HOST}", content_length=length)
    assert (answer.status, inside.requests) == (413, [])


def test_a_body_that_grows_too_long_is_cut_off(access: Access, inside: Inside) -> None:
    part = bytes(1 << 24)
    parts = [part] * (BODY_MAX // len(part) + 1)
    answer = ask(access, method="POST", cookie=enter(access), origin=f"http://{HOST}", body=parts)
    assert (answer.status, inside.requests) == (0, [])


def test_web_sockets_are_closed(access: Access) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(access({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
