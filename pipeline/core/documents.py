"""Parse untrusted JSON and TOML; every error is a ValueError. Imports only the standard library."""

from __future__ import annotations

import ast
import json
import math
import re
import threading
import tomllib
from collections import Counter
from collections.abc import Sequence
from typing import Any

# A name that a message may contain: no digits, so no card number, and no control characters.
_PLAIN_NAME = re.compile(r"[A-Za-z_]{1,32}")


def parse_json(content: bytes | str) -> Any:
    """The value of a document. Raises ValueError, also for one that is nested too deeply for this Python."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        raise _without_advice(error) from error


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a document, with or without a byte order mark.

    Raises ValueError, also for other encodings, too deep nesting, and numbers with too many digits.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        raise _without_advice(error) from error


def _without_advice(error: ValueError) -> ValueError:
    """The error without the advice on how to lift Python's limit for integers."""
    return ValueError(str(error).partition("; use sys.")[0])


# CPython before 3.11.8 and 3.12.1 counts the depth of trees of all threads together, and raises SystemError for a
# difference (python/cpython#106905). Images are built concurrently.
_parsing = threading.Lock()


def parse_python(content: bytes, name: str) -> ast.Module:
    """The syntax tree of a module. Raises SyntaxError, and ValueError for too deep nesting."""
    try:
        with _parsing:
            return ast.parse(content, filename=name)
    except (MemoryError, RecursionError) as error:  # which one, CPython's parser decides by the place
        raise ValueError("it is nested too deep") from error


def parse_unambiguous_json(text: str) -> Any:
    """The value of a document that all parsers read alike (RFC 7493, I-JSON).

    Raises ValueError for NaN and Infinity, numbers that overflow a double, repeated names in an object, and half a
    surrogate pair. Messages contain no values, and names only if they are plain.
    """
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_refuse_constant,
        )
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return document


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _), *_] = Counter(name for name, _ in pairs).most_common(1)
        repeated = f"the name {twice}" if _PLAIN_NAME.fullmatch(twice) else "a name"
        raise ValueError(f"{repeated} is repeated in an object")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    return value


def _int(text: str) -> int:
    # Python's own limit mentions its settings in the message; a double has at most 309 digits.
    _float(text)
    return int(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
