"""Who is calling: the credentials that ministack issued, for the ``admission``, and the registry's tokens."""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.local.emulator.open_routes import OpenCall, open_call
from pipeline.local.emulator.patches.api_addresses import API_PATH
from pipeline.local.emulator.patches.patch import Patch
from pipeline.local.emulator.registry_logins import RegistryLogins
from pipeline.local.emulator.signatures import Refused, Request

# The access key whose signature was verified for the request that is being served.
verified_key: ContextVar[str] = ContextVar("verified_key")
_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_APIS = "/v2/apis"
_UNKNOWN = "The security token included in the request is invalid."
ACCESS_RELIED_ON: Mapping[str, str] = {
    "app:_credential_failure": "(service, iam_action, request_id, denied, headers)",
    "app:_is_ecr_registry_path": "(path)",
    "app:_routing_params": "(method, path, headers, body, query_params)",
    "core.iam_evaluator:AmbiguousAccessKeyError": "AmbiguousAccessKeyError",
    "core.iam_evaluator:AuthError": "AuthError",
    "core.iam_evaluator:CredentialResolutionError": "CredentialResolutionError",
    "core.iam_evaluator:enforce": (
        "(access_key_id, iam_action, service, region, resource_arn='*', service_context=None)"
    ),
    "core.iam_evaluator:find_iam_access_key_account": "(access_key_id)",
    "core.iam_evaluator:is_root_access_key": "(access_key_id)",
    "core.responses:_account_from_sts_session": "(access_key_id)",
    "core.router:detect_service": "(method, path, headers, query_params)",
    "services.cloudformation.custom_resource:_pending": "dict",
    "services.cloudformation.wait_conditions:has_handle": "(token)",
}


@dataclass(frozen=True, slots=True)
class MinistackAccount:
    """The ``Account`` of ``admission``. ``root`` and ``root_secret`` are the account root's own."""

    root: str
    root_secret: str
    account_id: str
    region: str

    def secret(self, access_key: str, token: str) -> str:
        iam = importlib.import_module("ministack.core.iam_evaluator")
        responses = importlib.import_module("ministack.core.responses")
        if access_key == self.root:
            if token:
                raise Refused("InvalidClientTokenId", _UNKNOWN)
            return self.root_secret
        # ministack takes the id of an account as the access key of its root, whose secret is that of the first root.
        if _ACCOUNT_ID.fullmatch(access_key) and not token:
            return self.root_secret
        # It also takes no key and "test" for the root.
        if iam.is_root_access_key(access_key):
            raise Refused("UnrecognizedClientException", _UNKNOWN)
        try:
            owner = responses._account_from_sts_session(access_key) or iam.find_iam_access_key_account(access_key)
        except iam.AmbiguousAccessKeyError:
            raise Refused("InvalidClientTokenId", _UNKNOWN) from None
        found = iam.resolve_credential(access_key, owner or self.account_id, token)
        if isinstance(found, iam.CredentialResolutionError):
            raise Refused(found.code, found.message)
        return str(found.secret_access_key)

    def permit(self, access_key: str, account: str, action: str, resource: str) -> None:
        iam = importlib.import_module("ministack.core.iam_evaluator")
        responses = importlib.import_module("ministack.core.responses")
        responses.set_request_account_id(access_key)
        # ministack evaluates no repository policy, so no account has access to another's registry.
        if responses.get_account_id() != account:
            raise Refused("DENIED", f"{action} on {resource} is not allowed to another account")
        if access_key == self.root or _ACCOUNT_ID.fullmatch(access_key):
            return
        if iam.enforce(access_key, action, "ecr", resource.split(":")[3], resource):
            raise Refused("DENIED", f"{action} on {resource} is not allowed")

    def is_api_call(self, path: str) -> bool:
        app = importlib.import_module("ministack.app")
        return (path == _APIS or path.startswith(f"{_APIS}/")) and not app._is_ecr_registry_path(path)

    def open_call(self, request: Request) -> OpenCall | None:
        return open_call(request)

    def awaits(self, path: str) -> bool:
        kind, _, token = path.removeprefix("/_ministack/").partition("/")
        if kind == "cfn-response":
            return token in importlib.import_module("ministack.services.cloudformation.custom_resource")._pending
        return bool(importlib.import_module("ministack.services.cloudformation.wait_conditions").has_handle(token))

    def refusal(self, request: Request, refused: Refused) -> tuple[int, Mapping[str, str], bytes]:
        app, router, iam = (
            importlib.import_module(f"ministack.{name}") for name in ("app", "core.router", "core.iam_evaluator")
        )
        parts = urlsplit(request.target)
        if parts.path.startswith(API_PATH):
            # What AWS_IAM answers (API Gateway developer guide, "Control access to HTTP APIs with IAM authorization").
            return 403, {"Content-Type": "application/json"}, b'{"message":"Forbidden"}'
        headers, query = dict(request.headers), parse_qs(parts.query, keep_blank_values=True)
        routing = app._routing_params(request.method, parts.path, headers, request.body, query)
        service = router.detect_service(request.method, parts.path, headers, routing)
        failure = iam.AuthError(refused.code, refused.message)
        status, lines, body = app._credential_failure(service, "", str(uuid.uuid4()), failure, headers)
        return int(status), lines, body if isinstance(body, bytes) else str(body).encode()


def registry_token_patch(logins: RegistryLogins) -> Patch:
    """GetAuthorizationToken gives a token that the registry's HTTP API checks."""

    def replace(_original: Any, ecr: Any) -> Any:
        def _get_authorization_token(data: Any) -> Any:  # noqa: ARG001
            token, until = logins.issue(verified_key.get())
            host = f"https://{ecr.get_account_id()}.dkr.ecr.{ecr.get_region()}.amazonaws.com"
            found = {"authorizationToken": token, "expiresAt": until, "proxyEndpoint": host}
            return ecr.json_response({"authorizationData": [found]})

        return _get_authorization_token

    return Patch(
        "services.ecr:_get_authorization_token",
        "92111f2ea1839a85",
        "gives everyone one constant token, and the registry's HTTP API asks for none",
        "a token is valid for 12 hours and has the permissions of the caller who asked for it",
        "D ECR user guide, Private registry authentication",
        replace,
    )
