"""How much the property tests try: a little at a developer's desk, a lot where time is cheap.

``HYPOTHESIS_PROFILE=thorough`` tries several times as many examples; .ci/run sets it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(share: float) -> int:
    """A part of the profile's number of examples, for a test whose examples are dear or cheap."""
    return max(5, round(settings.default.max_examples * share)) if settings.default else 30
