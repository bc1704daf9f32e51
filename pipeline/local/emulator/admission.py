"""Authenticate every request to the embedded AWS, and refuse those of web pages.

ministack accepts some access keys without verifying signatures, answers any Host, allows every origin and has
administrative paths without authentication, and other users and web pages of the machine can reach its port. So every
request passes this ASGI application first:

    a Host that is not a loopback name, or a header that only browsers send     refused
    /v2/…                requires a login of GetAuthorizationToken, whose caller's permissions apply; /v2/apis/… of API
                         Gateway requires a signature
    /_aws/execute-api/…  a route of NONE or JWT requires no signature; the others do, as everything else
    /_ministack/…        requires the host's token; a ResponseURL contains its own unguessable token
    everything else      requires a Signature Version 4 by a key that this embedded AWS issued

Responses have no CORS headers. ministack then evaluates the policies.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

from pipeline.core.web_origins import comes_from_elsewhere, host_of
from pipeline.local.emulator.open_routes import OpenCall
from pipeline.local.emulator.patches.access import verified_key
from pipeline.local.emulator.patches.api_addresses import API_PATH
from pipeline.local.emulator.registry_logins import RegistryLogins, registry_of, registry_permission
from pipeline.local.emulator.signatures import Refused, Request, read_claim, verify

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = "x-local-token"  # noqa: S105
# The path of a custom resource's ResponseURL, a presigned URL on AWS.
_RESPONSE_PATHS = ("/_ministack/cfn-response/", "/_ministack/cfn-signal/")
# A signed body is held in memory until it is verified, as ministack itself does.
BODY_MAX = 512 << 20
# Quotas for HTTP APIs (API Gateway developer guide): the payload of a request, which here may have no signature.
API_BODY_MAX = 10 << 20


class Account(Protocol):
    """The interface to ministack."""

    def secret(self, access_key: str, token: str) -> str:
        """The secret of an access key that this account issued. Raises Refused."""
        ...

    def permit(self, access_key: str, account: str, action: str, resource: str) -> None:
        """Raises Refused if the key is not of ``account``, or its policies do not allow the action."""
        ...

    def is_api_call(self, path: str) -> bool:
        """Whether a path that begins with /v2 is one of API Gateway, and not of the registry."""
        ...

    def open_call(self, request: Request) -> OpenCall | None:
        """The call of a route that needs no signature; None for every other request."""
        ...

    def awaits(self, path: str) -> bool:
        """Whether ``path`` is an issued ResponseURL without a response yet."""
        ...

    def refusal(self, request: Request, refused: Refused) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of a refusal in the protocol of the service that was called."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """An ASGI application before ``application``.

    hosts   accepted host names, without ports
    token   a secret of this run, known to the host process
    served  called with service and request before each response is sent
    """

    application: Application
    account: Account
    logins: RegistryLogins
    token: str
    account_id: str
    region: str
    hosts: frozenset[str]
    served: Callable[[str, Request], None] = lambda _service, _request: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self.application(scope, receive, send)
            case "http":
                await self._http(scope, receive, send)
            case _:  # nothing here needs a web socket, and a web page may open one to anywhere
                await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, service = _request(scope), ""
        path = str(scope["path"])
        # API Gateway's own calls begin with /v2, too.
        registry = (path == "/v2" or path.startswith("/v2/")) and not self.account.is_api_call(path)
        try:
            self._refuse_browsers(request)
            if registry:
                self._admit_registry(request, path)
                service = "ecr"
            elif path.startswith(_RESPONSE_PATHS) and request.method == "PUT" and self.account.awaits(path):
                pass
            elif path.startswith("/_") and not path.startswith(API_PATH):
                self._admit_host(request)
            elif (call := self.account.open_call(request)) is not None:
                await call.answer(await _read_body(receive, API_BODY_MAX), _without_cors(send))
                return
            else:
                body = await _read_body(receive)
                request = Request(request.method, request.target, request.headers, body)
                service = self._admit_signed(request)
                receive = _replay(body, receive)
        except _Unauthorized:
            await _answer(send, 401, {"WWW-Authenticate": 'Basic realm="ecr"'}, _REGISTRY_ERROR % b"UNAUTHORIZED")
        except _Closed as closed:
            await _answer(send, 403, {"Content-Type": "text/plain"}, f"{closed}\n".encode())
        except Refused as refused:
            if registry:
                await _answer(send, 403, {"Content-Type": "application/json"}, _REGISTRY_ERROR % b"DENIED")
            else:
                await _answer(send, *self.account.refusal(request, refused))
        else:
            await self.application(scope, receive, self._noting(service, request, _without_cors(send)))

    def _refuse_browsers(self, request: Request) -> None:
        host = host_of(request.headers)
        if host.rpartition(":")[0 if ":" in host else 2] not in self.hosts:
            raise _Closed("the Host header is not that of this embedded AWS")
        # No page is of this server, so what browsers add to their own requests is refused too.
        if comes_from_elsewhere(request.headers) or any(
            name.startswith("sec-fetch-") and name != "sec-fetch-site" for name, _ in request.headers
        ):
            raise _Closed("web pages have no access to this embedded AWS")

    def _admit_host(self, request: Request) -> None:
        if not secrets.compare_digest(request.header(TOKEN_HEADER).encode(), self.token.encode()):
            raise _Closed("this path is for the host of this embedded AWS alone")

    def _admit_registry(self, request: Request, path: str) -> None:
        caller = self.logins.caller(request.header("authorization"))
        if caller is None:
            raise _Unauthorized
        account, region = registry_of(request.target) or (self.account_id, self.region)
        permission = registry_permission(request.method, path, account, region)
        if permission is not None:
            self.account.permit(caller, account, *permission)

    def _admit_signed(self, request: Request) -> str:
        """The service that the signature is for."""
        claim = read_claim(request)
        verify(request, claim, self.account.secret(claim.access_key, claim.token), datetime.now(UTC))
        verified_key.set(claim.access_key)
        return claim.service

    def _noting(self, service: str, request: Request, send: Send) -> Send:
        async def noting(message: MutableMapping[str, Any]) -> None:
            if service and message["type"] == "http.response.start":
                self.served(service, request)
            await send(message)

        return noting


class _Closed(Exception):
    """A request that is refused with any credentials."""


class _Unauthorized(Exception):
    """A registry request without a valid login."""


_REGISTRY_ERROR = b'{"errors":[{"code":"%b","message":"log in with a token of ecr:GetAuthorizationToken"}]}'


def _request(scope: Scope) -> Request:
    raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope.get("query_string", b"")
    target = (raw_path + (b"?" + query if query else b"")).decode("latin-1")
    headers = [(name.decode("latin-1").lower(), _decode(value)) for name, value in scope["headers"]]
    if authority := scope.get("authority"):  # HTTP/2
        headers.append(("host", str(authority)))
    return Request(scope["method"], target, headers)


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _read_body(receive: Receive, most: int = BODY_MAX) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Closed("the request was cut off")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise _Closed(f"a request has at most {most} bytes")
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once, and then what comes after it."""
    pending: Sequence[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    messages = list(pending)

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


def _without_cors(send: Send) -> Send:
    async def filtered(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", ())
                if not name.lower().startswith((b"access-control-", b"timing-allow-origin"))
            ]
            # Without CORS headers a page cannot read an embedded response.
            message = {**message, "headers": [*kept, (b"cross-origin-resource-policy", b"same-origin")]}
        await send(message)

    return filtered


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    lines = [(name.lower().encode(), str(value).encode()) for name, value in headers.items()]
    lines = [line for line in lines if line[0] != b"content-length"]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
