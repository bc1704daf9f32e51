"""What looks like a credential in the files of an image.

Only formats that their issuers publish with a fixed prefix and length, so that a match is a credential or a copy of
one in a document. General scanners guess by entropy and by names of variables; the one that is kept up for Python
(detect-secrets) reads half a megabyte a second and reports a hundred addresses and examples in botocore alone. An image
is read once per layer, at the speed of decompression.

Sources: the IAM user guide, "Unique identifiers" (AKIA, ASIA); RFC 7468 (private keys); GitHub docs, "Token formats";
GitLab docs, "Token prefixes"; Slack, Stripe, Google, npm, PyPI, SendGrid, OpenAI and Anthropic documentation of keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What a match has to contain, and the whole format. Searching for plain bytes is ten times as fast as the expression.
_FORMATS: tuple[tuple[str, tuple[bytes, ...], bytes], ...] = (
    ("an AWS access key", (b"AKIA", b"ASIA"), rb"\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}\b"),
    (
        "a private key",
        (b"PRIVATE KEY-----",),
        rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\\n|\s)+(?:[A-Za-z-]+: [^\n]+\n)*\s*[A-Za-z0-9+/=]{40}",
    ),
    ("a GitHub token", (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    ("a GitHub token", (b"github_pat_",), rb"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("a GitLab token", (b"glpat-",), rb"\bglpat-[A-Za-z0-9_-]{20}\b"),
    ("a Slack token", (b"xox",), rb"\bxox[abeoprs]-[0-9]{8,}-[0-9A-Za-z-]{20,}"),
    (
        "a Slack webhook",
        (b"hooks.slack.com",),
        rb"hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
    ),
    ("a Stripe key", (b"k_live_",), rb"\b[rs]k_live_[0-9A-Za-z]{24,}"),
    ("a Google API key", (b"AIza",), rb"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    ("an npm token", (b"npm_",), rb"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a PyPI token", (b"pypi-AgEIcHlwaS5vcmc",), rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    ("a SendGrid key", (b"SG.",), rb"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    ("an OpenAI key", (b"T3BlbkFJ",), rb"\bsk-[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    ("an Anthropic key", (b"sk-ant-",), rb"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{80,}"),
)
_COMPILED = tuple((kind, hints, re.compile(pattern)) for kind, hints, pattern in _FORMATS)
# Longer than any match; so much of a chunk is searched again with the next one.
_OVERLAP = 1024


class CredentialScanner:
    """Takes the bytes of a file in chunks and keeps the kinds of credentials that are in them, never their values."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        window = self._tail + chunk
        self.found.update(find_credentials(window))
        self._tail = window[-_OVERLAP:]


def find_credentials(content: bytes) -> Iterator[str]:
    """The kinds of credentials in ``content``."""
    for kind, hints, pattern in _COMPILED:
        if any(hint in content for hint in hints) and pattern.search(content):
            yield kind
