"""Retries of requests, and their rate."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Retries:
    """Retries with exponential backoff and full jitter, or after ``Retry-After``.

    attempts  the total number of requests
    silence   after this many seconds without any response there are no retries
    base      upper bound of the first wait, in seconds; doubles with each attempt up to ``cap``
    patience  the longest accepted ``Retry-After``, in seconds; a longer one ends the attempts
    """

    attempts: int = 6
    base: float = 0.3
    cap: float = 20.0
    patience: float = 120.0
    silence: float = 45.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait after the failed attempt number ``attempt`` (from 1), or None to give up."""
        if attempt >= self.attempts:
            return None
        jitter = random.uniform(0, min(self.cap, self.base * 2.0 ** (attempt - 1)))  # noqa: S311
        if retry_after is None:
            return jitter
        return retry_after + jitter if retry_after <= self.patience else None


class Pace:
    """Limits calls from all threads to ``per_second`` in any second."""

    def __init__(
        self,
        per_second: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.per_second = per_second
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._passed: deque[float] = deque(maxlen=per_second)

    def wait(self) -> None:
        if self.per_second is None:
            return
        with self._lock:
            if len(self._passed) == self.per_second:
                self._sleep(max(0.0, self._passed[0] + 1.0 - self._clock()))
            self._passed.append(self._clock())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After`` header in either form; None without one."""
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    seconds = whole_number(value)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def whole_number(value: str | None) -> int | None:
    """The number in a header such as ``Content-Length``; None if it is missing, invalid or too large.

    Not ``str.isdigit``, which accepts superscripts that ``int`` rejects.
    """
    return int(value) if value is not None and re.fullmatch(r"[0-9]{1,18}", value) else None
