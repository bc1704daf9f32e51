"""Logins of the registry's HTTP API: tokens of GetAuthorizationToken, and what each caller may do with one.

Source: ECR user guide, "Private registry authentication": user AWS, a token of 12 hours with the caller's permissions.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import threading
import time
from urllib.parse import parse_qs, urlsplit

LIFETIME_SECONDS = 12 * 3600
_REGISTRY_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.")
# ECR's API name for what a request of the distribution specification does (ECR user guide, "Repository policies").
_ACTIONS = (
    ("HEAD", re.compile(r"/v2/(?P<name>.+)/blobs/.+"), "ecr:BatchCheckLayerAvailability"),
    ("GET", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/.*"), "ecr:InitiateLayerUpload"),
    ("GET", re.compile(r"/v2/(?P<name>.+)/blobs/.+"), "ecr:GetDownloadUrlForLayer"),
    ("POST", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?.*"), "ecr:InitiateLayerUpload"),
    ("PATCH", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/.*"), "ecr:UploadLayerPart"),
    ("PUT", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/.*"), "ecr:CompleteLayerUpload"),
    ("PUT", re.compile(r"/v2/(?P<name>.+)/manifests/.+"), "ecr:PutImage"),
    ("DELETE", re.compile(r"/v2/(?P<name>.+)/(?:manifests|blobs)/.+"), "ecr:BatchDeleteImage"),
    ("GET", re.compile(r"/v2/(?P<name>.+)/(?:manifests|referrers)/.+"), "ecr:BatchGetImage"),
    ("HEAD", re.compile(r"/v2/(?P<name>.+)/manifests/.+"), "ecr:BatchGetImage"),
    ("GET", re.compile(r"/v2/(?P<name>.+)/tags/list"), "ecr:ListImages"),
)


class RegistryLogins:
    """The issued tokens, each with the access key of its caller; in memory only.

    own_token  the login of the embedded AWS's host, as the account's root
    """

    def __init__(self, own_token: str, root: str) -> None:
        self._lock = threading.Lock()
        self._tokens = {own_token: (root, float("inf"))}

    def issue(self, access_key: str) -> tuple[str, int]:
        """A new token for the caller, as base64 of ``AWS:<token>``, and the Unix time of its end."""
        token, now = secrets.token_urlsafe(48), time.time()
        with self._lock:
            self._tokens = {each: kept for each, kept in self._tokens.items() if kept[1] > now}
            self._tokens[token] = access_key, now + LIFETIME_SECONDS
        return base64.b64encode(f"AWS:{token}".encode()).decode(), int(now + LIFETIME_SECONDS)

    def caller(self, authorization: str) -> str | None:
        """The access key behind a Basic ``Authorization`` header, or None."""
        scheme, _, value = authorization.partition(" ")
        try:
            user, _, token = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        if scheme.lower() != "basic" or user != "AWS":
            return None
        now = time.time()
        with self._lock:
            found = [
                access_key
                for each, (access_key, until) in self._tokens.items()
                if secrets.compare_digest(each.encode(), token.encode()) and until > now
            ]
        return found[0] if found else None


def registry_of(target: str) -> tuple[str, str] | None:
    """Account and region of the registry that a request is for, by its query ``ns``; None without one.

    >>> registry_of("/v2/app/blobs/x?ns=123456789012.dkr.ecr.eu-west-1.amazonaws.com")
    ('123456789012', 'eu-west-1')
    """
    # Read as ministack reads it, or the account that is checked would not be the one that is served.
    names = parse_qs(urlsplit(target).query, keep_blank_values=True).get("ns", [""])
    match = _REGISTRY_HOST.match(names[0].lower())
    return (match["account"], match["region"]) if match else None


def registry_permission(method: str, path: str, account: str, region: str) -> tuple[str, str] | None:
    """The IAM action and resource of a registry request; None for ``/v2/`` itself.

    >>> registry_permission("PUT", "/v2/team/app/manifests/v1", "1", "r")
    ('ecr:PutImage', 'arn:aws:ecr:r:1:repository/team/app')
    """
    if path in ("/v2", "/v2/"):
        return None
    for each, pattern, action in _ACTIONS:
        if method == each and (match := pattern.fullmatch(path)):
            return action, f"arn:aws:ecr:{region}:{account}:repository/{match['name']}"
    return "ecr:*", "*"
