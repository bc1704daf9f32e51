"""Requests to routes of HTTP APIs that need no Signature Version 4: routes of NONE, and of JWT, whose token is checked.

ministack's dispatcher chooses a service by many properties of a request. An unsigned request does not pass it: it goes
to the route that was judged here, and to nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pipeline.local.emulator.patches.api_addresses import API_PATH
from pipeline.local.emulator.signatures import Request

OPEN = ("JWT", "NONE")
OPEN_ROUTES_RELIED_ON: Mapping[str, str] = {
    "app:_parse_execute_api_url": "(host, path)",
    "app:_resolve_stage_and_path": "(api_id, tentative_stage, execute_path)",
    "core.responses:request_scope": "(account_id, region)",
    "app:_send_response": "(send, status, headers, body, *, head=False)",
    "services.apigateway:_http_api_not_found": "()",
    "services.apigateway:decode_http_api_path": "(raw_path)",
    "services.apigateway:handle_execute": (
        "(api_id, stage, path, method, headers, body, query_params, raw_query_string=None)"
    ),
    "services.apigateway:route_authorization_type": "(api_id, stage, method, path)",
    "services.apigateway_v1:find_api_scope": "(api_id)",
}
# Of a WebSocket API's callbacks, which are no route.
_CONNECTIONS = "/@connections/"


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A request to an open route, or to none at all.

    scope    account and region of its API
    path     decoded as API Gateway decodes it, without the stage
    matched  whether a route matches; without one the answer is 404, signed or not
    """

    request: Request
    scope: tuple[str, str]
    api_id: str
    stage: str
    path: str
    matched: bool

    async def answer(self, body: bytes, send: Callable[[Any], Awaitable[None]]) -> None:
        """Run the route's integration, after the validation of the token."""
        app, apigateway = _module("app"), _module("services.apigateway")
        if not self.matched:
            await app._send_response(send, *apigateway._http_api_not_found())
            return
        query = self.request.target.partition("?")[2]
        headers = {name: self.request.header(name) for name, _ in self.request.headers}
        with _module("core.responses").request_scope(*self.scope):
            status, lines, content = await apigateway.handle_execute(
                self.api_id, self.stage, self.path, self.request.method, headers, body,
                parse_qs(query, keep_blank_values=True), raw_query_string=query,
            )  # fmt: skip
        await app._send_response(send, status, lines, content)


def open_call(request: Request) -> OpenCall | None:
    """The call of an open route, or of no route; None for every other request."""
    app, apigateway = _module("app"), _module("services.apigateway")
    path = apigateway.decode_http_api_path(request.target.partition("?")[0])
    parsed = app._parse_execute_api_url("", path) if path.startswith(API_PATH) else None
    if parsed is None or parsed[2].startswith(_CONNECTIONS):
        return None
    api_id, first, rest = parsed
    scopes = [(account, region) for (account, region, found), _ in apigateway._apis.all_items() if found == api_id]
    if len(scopes) != 1:
        return None
    with _module("core.responses").request_scope(*scopes[0]):
        stage, execute_path = app._resolve_stage_and_path(api_id, first, rest)
        if _module("services.apigateway_v1").find_api_scope(api_id) is not None:
            return None
        kind = apigateway.route_authorization_type(api_id, stage, request.method, execute_path)
    if kind not in (*OPEN, None):
        return None
    return OpenCall(request, scopes[0], api_id, stage, execute_path, matched=kind is not None)


def _module(name: str) -> Any:
    return importlib.import_module(f"ministack.{name}")
