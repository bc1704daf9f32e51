"""What AWS's answers say, for every client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


def error_code(problem: ClientError) -> str:
    """The code of an error that AWS answered, such as AccessDenied; empty if it has none."""
    return str(problem.response.get("Error", {}).get("Code", ""))


def image_uri(found: Mapping[str, Any]) -> str:
    """The image that an answer of GetFunction names, by digest where Lambda resolved it; "" for none."""
    code = found.get("Code", {})
    return str(code.get("ResolvedImageUri") or code.get("ImageUri") or "")
