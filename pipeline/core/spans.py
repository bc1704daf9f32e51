"""Durations as users write them."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """``parse_duration("10m")``: a number and s, m, h, d or w. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"a time is a number and s, m, h, d or w, such as 10m, saw: {text!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
