"""The functions that Step Functions adds to JSONata, and those that read the clock."""

from __future__ import annotations

import hashlib
import json
import math
import random
from datetime import UTC, datetime
from typing import Any

from jsonata.utils import Utils

OWN = ("partition", "range", "hash", "random", "uuid", "parse", "millis", "now")


def own_functions(clock: int, seed: str) -> dict[str, Any]:
    """Step Functions guide, "JSONata functions provided by Step Functions"."""
    return {
        "millis": lambda: clock,
        "now": lambda *_picture: moment(clock),
        "partition": _partition,
        "range": _range,
        "hash": _hash,
        "random": lambda *given: random.Random(given[0] if given else f"{seed}{clock}").random(),  # noqa: S311
        "uuid": lambda: _uuid(f"{seed}{clock}"),
        "parse": _parse_json,
    }


def moment(milliseconds: int) -> str:
    """A time as Step Functions and JSONata write it: ISO 8601 with milliseconds and Z."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _partition(array: list[Any], size: float) -> list[Any]:
    count = math.floor(size)
    if count <= 0:
        raise ValueError("$partition: the chunk size must be a positive integer")
    return [array[at : at + count] for at in range(0, len(array), count)]


def _range(first: float, last: float, step: float) -> list[int]:
    by = math.floor(step)
    if by == 0:
        raise ValueError("$range: the step must not be zero")
    numbers = list(range(math.floor(first), math.floor(last) + (1 if by > 0 else -1), by))
    if len(numbers) > 1000:
        raise ValueError("$range: the result has more than 1000 items")
    return numbers


_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


def _hash(text: str, algorithm: str = "") -> str:
    if algorithm not in _HASHES:
        raise ValueError(f"$hash: the algorithm must be one of {', '.join(_HASHES)}, saw: {algorithm!r}")
    if not isinstance(text, str):
        raise TypeError("$hash: the first argument must be a string")
    if len(text) > 10_000:
        raise ValueError("$hash: the text has more than 10,000 characters")
    return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _uuid(seed: str) -> str:
    digits = hashlib.sha256(seed.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    return Utils.NULL_VALUE if value is None else value
