"""Text from a file or from standard input, read with a bound."""

from __future__ import annotations

from typing import BinaryIO

import click

# The largest synchronous event of a function; the largest input of an execution is smaller.
EVENT_MAX = 6 * 1024 * 1024


def read_text(file: BinaryIO, name: str) -> str:
    """The whole file as UTF-8, with or without a byte order mark.

    Raises click.UsageError for other encodings, for more than Lambda accepts, and for an unreadable file.
    """
    try:
        content = file.read(EVENT_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror or error}.") from error
    if len(content) > EVENT_MAX:
        raise click.UsageError(f"{name} has more than {EVENT_MAX:,} bytes, Lambda's limit.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{name} is not UTF-8: {error.reason} at byte {error.start:,}.") from error
