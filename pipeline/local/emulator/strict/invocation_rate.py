"""The rate of synchronous invocations: ten a second for each execution that may run at a time.

A function with reserved concurrency has ten times its reservation, all others share ten times the account's (Lambda
developer guide, Understanding Lambda function scaling, Invocation rate). A bucket of one second's invocations, refilled
evenly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PER_EXECUTION = 10


class InvocationRate:
    """Buckets by function. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # What is left, of which limit, and when that was computed.
        self._buckets: dict[str, tuple[float, int, float]] = {}

    def take(self, bucket: str, concurrency: int) -> bool:
        """Count one invocation; False if it exceeds the rate."""
        limit, now = PER_EXECUTION * concurrency, self._clock()
        with self._lock:
            left, before, computed = self._buckets.get(bucket, (float(limit), limit, now))
            if before != limit:
                left = float(limit)
            left = min(float(limit), left + (now - computed) * limit)
            allowed = left >= 1
            self._buckets[bucket] = (left - allowed, limit, now)
        return allowed
