"""JSON values as small numbers, so that a state of the model is a tuple of integers."""

from __future__ import annotations

import json
from typing import Any

# What the model does not know: an input of any shape, the result of a service that is not modelled. One string out of
# Unicode's private use area, so that a value that contains it is found in the value's text.
UNKNOWN = "\ue000unknown\ue000"
_MARK = json.dumps(UNKNOWN)
_encode = json.JSONEncoder(separators=(",", ":")).encode

UNDEFINED = -1
"""The number of JSONata's undefined, which is no JSON value."""


class Values:
    """Every value that the model has met, once. The order of an object's keys counts, because ``$string`` shows it."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._values: list[Any] = []
        self._known: list[bool] = []

    def add(self, value: Any) -> int:
        """The number of ``value``, the same for the same JSON text."""
        text = _encode(value)
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._values)
            self._values.append(value)
            self._known.append(_MARK not in text)
        return number

    def __getitem__(self, number: int) -> Any:
        return self._values[number]

    def known(self, number: int) -> bool:
        """Whether no part of the value is UNKNOWN."""
        return number == UNDEFINED or self._known[number]


def plain(value: Any) -> Any:
    """``value`` as JSON has it: integral floats as integers, as a JavaScript engine writes them."""
    match value:
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
    return value
