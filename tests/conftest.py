"""How much the property tests try, and which tests share a worker.

``HYPOTHESIS_PROFILE=thorough`` tries several times as many examples; .ci/run sets it.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("quick", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(share: float) -> int:
    """A part of the profile's number of examples, for a test whose examples are dear or cheap."""
    return max(5, round(settings.default.max_examples * share)) if settings.default else 30


# Files whose tests share more than a file: what they stand on is started once, on one worker.
SHARED = {
    "engine": ("tests/containers/*",),
    "release": ("tests/functional/test_release_*",),
    "deployed": tuple(
        f"tests/functional/test_{name}.py" for name in ("disclosure", "doctor", "permissions", "requests")
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that start servers come first."""
    items.sort(key=lambda item: "tests/unit" in item.nodeid)


class ByServers(LoadScopeScheduling):
    """The tests of one file that start servers stay on one worker, which starts them once; others go anywhere.

    Not by xdist's own marks: pytest 9.2 keeps node ids where xdist 3.8 does not write the mark, so its groups are lost.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        for group, patterns in SHARED.items():
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
                return group
        return nodeid if "tests/unit" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    return ByServers(config, log) if config.getvalue("dist") == "loadgroup" else None
