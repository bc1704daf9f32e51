"""How much the property tests try, and which tests share a worker.

``HYPOTHESIS_PROFILE=thorough`` tries several times as many examples; .ci/run sets it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(share: float) -> int:
    """A part of the profile's number of examples, for a test whose examples are dear or cheap."""
    return max(5, round(settings.default.max_examples * share)) if settings.default else 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of one file that start servers stay on one worker, which starts them once; they come first."""
    for item in items:
        if "tests/unit" not in item.nodeid and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: "tests/unit" in item.nodeid)
