"""The load that an environment carries before and after a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfn.concurrency import loaded
from cfn.names import RESERVED_CONCURRENCY
from cfn.settings import FunctionDefinition, Settings
from pipeline.stacks import StackState
from pipeline.transactions.capacity import Limit, capacity


@dataclass(frozen=True, slots=True)
class Load:
    """The transactions per minute that account and settings support.

    wanted    ``transactions_per_minute`` of the settings; the peak is ``burst`` times that
    narrowest the limiting quota
    before    the capacity of the current pipeline stack; None without one
    """

    per_minute: int
    wanted: int
    burst: float
    narrowest: Limit
    before: int | None = None

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "per_minute": self.per_minute,
            "wanted": self.wanted,
            "burst": self.burst,
            "limit": {"name": self.narrowest.name, "cause": self.narrowest.cause},
        }
        return document if self.before is None else {**document, "before": {"per_minute": self.before}}


def read_load(
    lambda_client: Any,
    settings: Settings,
    definitions: Sequence[FunctionDefinition],
    state: StackState,
    parameters: Mapping[str, str],
) -> Load | None:
    """The load from the reservations; None without functions of the workflow.

    state       the pipeline stack as it is
    parameters  of the pipeline stack as it would be
    """
    functions = loaded(settings, definitions)
    if not functions:
        return None
    after, now = int(parameters[RESERVED_CONCURRENCY]), state.parameters.get(RESERVED_CONCURRENCY)
    unreserved = 0
    if 0 in (after, int(now or 1)):
        unreserved = lambda_client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    found = capacity(functions, after, unreserved)
    before = None if now is None else capacity(functions, int(now), unreserved).per_minute
    return Load(found.per_minute, settings.transactions_per_minute, settings.burst, found.narrowest, before)
