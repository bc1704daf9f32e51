"""Tokens (JWT) of HTTP APIs are validated as strictly as API Gateway's developer guide says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

# ministack verifies no other of RSA's.
_ALGORITHM = "RS256"
_TIMES = ("exp", "nbf", "iat")


def _is_usable(header: Any, claims: Any) -> bool:
    """Whether algorithm and times of a token can be judged at all."""
    if not isinstance(header, Mapping) or not isinstance(claims, Mapping) or header.get("alg") != _ALGORITHM:
        return False
    times = [claims[name] for name in _TIMES if name in claims]
    numbers = all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in times
    )
    return numbers and "exp" in claims


def _strictly(validate: Any, apigateway: Any) -> Any:
    async def _validate_jwt_authorizer(
        route: dict[str, Any], authorizer: dict[str, Any], headers: dict[str, Any], query_params: dict[str, Any]
    ) -> Any:
        source = authorizer.get("identitySource", [])
        token = apigateway._extract_token_from_identity_source(source, headers, query_params)
        try:
            header, claims = (json.loads(apigateway._b64url_decode(part)) for part in (token or "").split(".")[:2])
        except (ValueError, RecursionError):
            return None, None, apigateway._jwt_unauthorized()
        if not _is_usable(header, claims):
            return None, None, apigateway._jwt_unauthorized()
        return await validate(route, authorizer, headers, query_params)

    return _validate_jwt_authorizer


TOKENS = (
    Patch(
        "services.apigateway:_validate_jwt_authorizer",
        "b29aa12ec1dc5990",
        "verifies RS256 whatever algorithm a token names, takes one that never expires, and fails on a time that is no"
        " number",
        "the token's algorithm is checked, and the current time is before exp",
        "D API Gateway developer guide, Control access to HTTP APIs with JWT authorizers",
        _strictly,
    ),
)
TOKENS_RELIED_ON: Mapping[str, str] = {
    "services.apigateway:_b64url_decode": "(segment)",
    "services.apigateway:_extract_token_from_identity_source": "(identity_source, headers, query_params)",
    "services.apigateway:_jwt_unauthorized": "(message='Unauthorized')",
}
