"""Untrusted text in messages: of bounded length, on one line, without control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MOST = 200
# In a URL: the user and password before the host, and everything after "?", where signed URLs have their signature.
_SECRET_PARTS = re.compile(r"(?<=://)[^/@\s]*@|\?[^#\s]*")


def shown(name: str) -> str:
    """A name as it is, or quoted if it cannot be printed."""
    return _cut(name) if name.isprintable() else repr(_cut(name))


def shorten(name: str) -> str:
    """A name in quotes."""
    return repr(_cut(name))


def without_secrets(url: str) -> str:
    """A URL without user, password and query.

    >>> without_secrets("git+https://me:secret@host/x.git?token=t#egg=x")
    'git+https://host/x.git#egg=x'
    """
    return _SECRET_PARTS.sub("", url)


def printable(text: str) -> str:
    """Untrusted prose on one line, without unprintable characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text[:2000]).split())[:300]


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Names for a sentence: the first few in order, and the number of others."""
    known = sorted(set(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(map(shown, known[:most])) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "image"), counted(1200, "layer")
    ('1 image', '1,200 layers')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _cut(name: str) -> str:
    return name if len(name) <= _MOST else f"{name[:_MOST]}…"
