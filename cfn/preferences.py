"""Deployment preferences of CodeDeploy for Lambda functions. Pure."""

from __future__ import annotations

import re

_PREFERENCE = re.compile(r"Lambda(Canary|Linear)10Percent(?:Every)?([0-9]+)Minutes?")
# Linear10Percent moves a tenth at the start and a tenth after each interval.
_LINEAR_INTERVALS = 9


def shifting_seconds(preference: str) -> int:
    """How long CodeDeploy takes to move all traffic; 0 for AllAtOnce.

    >>> shifting_seconds("LambdaCanary10Percent5Minutes"), shifting_seconds("LambdaLinear10PercentEvery10Minutes")
    (300, 5400)
    """
    found = _PREFERENCE.fullmatch(preference)
    if found is None:
        return 0
    return int(found[2]) * 60 * (1 if found[1] == "Canary" else _LINEAR_INTERVALS)
