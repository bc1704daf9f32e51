"""Fuzzing with hypothesis: some hundred examples in every run, a minute for each reader when thoroughness is asked for.

An input that once broke a reader is kept under ``tests/corpus/READER/`` and read in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from tests.conftest import ALL

CORPUS = Path(__file__).parent / "corpus"
# An example takes some milliseconds, so that 4,000 stay below a minute on a busy core.
_EXAMPLES = 4_000 if ALL else 100


def fuzzed(test: Callable[..., Any]) -> Callable[..., Any]:
    """``@given`` tests with as many examples as this run has time for."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    decorated: Callable[..., Any] = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=slow)(test)
    return decorated


def corpus(reader: str) -> list[bytes]:
    """The kept inputs of one reader."""
    return [path.read_bytes() for path in sorted((CORPUS / reader).glob("*")) if path.name != ".gitkeep"]
