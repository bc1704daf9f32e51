"""JSON and TOML of unknown origin: whatever is wrong is a ValueError. Imports the standard library only."""

from __future__ import annotations

import ast
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from typing import Any

# A name that may be told: no digits, so it holds no card number, and nothing that would change how a line looks.
_PLAIN_NAME = re.compile(r"[A-Za-z_]{1,32}")


def parse_json(content: bytes | str) -> Any:
    """The value of a document. Raises ValueError, also for one that is nested deeper than this Python can follow."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a document, with or without a byte order mark.

    Raises ValueError, also for one that is not UTF-8, is nested too deep, or holds a number of too many digits.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        # Python's limit for integers ends in advice on how to lift it.
        raise ValueError(str(error).partition("; use sys.")[0]) from error


def parse_python(content: bytes, name: str) -> ast.Module:
    """The syntax tree of a module. Raises SyntaxError, and ValueError for what is nested too deep for this Python."""
    try:
        return ast.parse(content, filename=name)
    except (MemoryError, RecursionError) as error:  # which one, CPython's parser decides by the place
        raise ValueError("it is nested too deep") from error


def parse_unambiguous_json(text: str) -> Any:
    """The value of a document that every program reads alike, which is what RFC 7493 (I-JSON) is about.

    Raises ValueError for what Python alone understands, as NaN; for a number that no double holds, which others read as
    Infinity or not at all; for a name that is twice in an object, of which each takes another one; and for half a
    surrogate pair, which is no character. No value is repeated, and a name only when it is a plain one.
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
        told = f"the name {twice}" if _PLAIN_NAME.fullmatch(twice) else "a name"
        raise ValueError(f"{told} is there twice in one object")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    return value


def _int(text: str) -> int:
    # Python has no limit of its own but one that tells of its settings; and a double has no more than 309 digits.
    _float(text)
    return int(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
