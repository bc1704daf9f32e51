"""Errors of registries: their codes and messages, with a next step for each."""

from __future__ import annotations

import re

from pipeline.core.documents import parse_json
from pipeline.core.errors import NextStep, RegistryError
from pipeline.core.shown import printable

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_ECR_HOST = re.compile(r"\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")


class RegistryUnreachable(RegistryError):
    """No response after all retries."""


class RegistryRefused(RegistryError):
    """The registry refused the request. ``status``: of HTTP; ``code``: the registry's, such as ``MANIFEST_UNKNOWN``."""

    status: int = 0
    code: str = ""


class DamagedCopy(RegistryError):
    """The local copy of a blob does not match its digest."""


class MediaTypeConflict(RegistryError):
    """A manifest that declares another media type than its registry."""


def is_ecr(host: str) -> bool:
    """Whether ``host`` is a private registry of Amazon ECR."""
    return _ECR_HOST.fullmatch(host) is not None


def own_words(content: bytes) -> tuple[str, str]:
    """The code and the message of the registry's first error, as the distribution specification writes them."""
    try:
        document = parse_json(content)
    except ValueError:
        text = content.decode(errors="replace")
        return "", "" if text.lstrip().startswith("<") else printable(text)
    errors = document.get("errors") if isinstance(document, dict) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return printable(str(errors[0].get("code") or "")), printable(str(errors[0].get("message") or ""))
    message = document.get("message") if isinstance(document, dict) else None
    return "", printable(message) if isinstance(message, str) else ""


def cure(host: str, status: int, code: str) -> NextStep | str:
    if status == 401:
        if is_ecr(host):
            return "Check the AWS credentials, and that they allow ecr:GetAuthorizationToken."
        return f"Log in with `docker login {host}`."
    if status == 403:
        if is_ecr(host):
            return "Allow the AWS identity to pull from and push to this repository (the ecr: actions named above)."
        return f"Grant the login access to this repository, or log in as another user with `docker login {host}`."
    if status == 404:
        if code == "MANIFEST_UNKNOWN":
            return "Check the tag or the digest."
        return NextStep("Check the repository's name, and that it exists. Create those of a deployment", ("infra",))
    if status in BUSY:
        return "Wait a moment and run the command again: completed transfers are kept."
    return "See the registry's message above."
