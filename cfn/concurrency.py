"""How many executions a function needs for a load. Pure.

Lambda developer guide, "Understanding function scaling": a function with N concurrent executions runs at most N
invocations at a time, and takes at most 10 x N synchronous invocations a second, however short they are. A function
that answers in 12 ms is stopped by the second limit long before the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from cfn.settings import FunctionDefinition, Settings
from cfn.workflow.limits import CALLED_FUNCTIONS

# Synchronous invocations a second that each execution carries (Lambda developer guide, quotas).
INVOCATIONS_PER_EXECUTION = 10
# Arrivals are not even within a second: at the exact rate a tenth of them is throttled, with a fifth more almost none
# (benchmarks/load.py).
HEADROOM = 1.2


def executions_for(per_second: float, milliseconds: float) -> int:
    """The concurrent executions that carry ``per_second`` synchronous invocations of ``milliseconds`` each.

    >>> executions_for(167, 12), executions_for(167, 1000)
    (17, 167)
    """
    return math.ceil(max(per_second * milliseconds / 1000, per_second / INVOCATIONS_PER_EXECUTION))


def loaded(settings: Settings, functions: Iterable[FunctionDefinition]) -> list[FunctionDefinition]:
    """The functions that carry the load of transactions. The others reserve nothing: they share what is unreserved."""
    return [function for function in functions if settings.has_transactions and function.name in CALLED_FUNCTIONS]


def reservation(settings: Settings, functions: Iterable[FunctionDefinition]) -> int:
    """The executions to reserve for each function of ``loaded``: what the settings say, else what their load needs.

    0 reserves none. The slowest decides, since all reserve the same.
    """
    if settings.reserved_concurrency is not None:
        return settings.reserved_concurrency
    peak = settings.transactions_per_minute / 60 * settings.burst * HEADROOM
    return max((executions_for(peak, function.milliseconds) for function in loaded(settings, functions)), default=0)
