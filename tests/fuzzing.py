"""Fuzzing with hypothesis: a hundred examples in every run, up to a minute for each reader with THOROUGH=1.

An input that once broke a reader is kept under ``tests/corpus/READER/`` and read in every run.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from tests.conftest import ALL

CORPUS = Path(__file__).parent / "corpus"
_EXAMPLES = 1_500 if ALL else 100
# Examples after this time are not run: how many there are depends on the machine, their outcome does not.
_SECONDS = 40.0


def fuzzed(test: Callable[..., Any]) -> Callable[..., Any]:
    """``@given`` tests with as many examples as this run has time for."""
    test.hypothesis.inner_test = _within(test.hypothesis.inner_test)  # type: ignore[attr-defined]
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    decorated: Callable[..., Any] = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=slow)(test)
    return decorated


def _within(inner: Callable[..., Any]) -> Callable[..., Any]:
    begun: dict[str, float] = {}

    @functools.wraps(inner)
    def run(*arguments: Any, **named: Any) -> None:
        # One function is several tests when it has parameters.
        started = begun.setdefault(os.environ.get("PYTEST_CURRENT_TEST", ""), time.monotonic())
        if time.monotonic() - started < _SECONDS:
            inner(*arguments, **named)

    return run


def corpus(reader: str) -> list[bytes]:
    """The kept inputs of one reader."""
    return [path.read_bytes() for path in sorted((CORPUS / reader).glob("*"))]
