"""Inputs of the cost estimate: a dated price list and the traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.core.tables import read_toml
from pipeline.transactions.ways import TURNS

PRICES = Path(__file__).with_name("prices.toml")


def _is_price(units: object, unit: str) -> bool:
    value = units.get(unit) if isinstance(units, dict) else None
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list in USD by service and unit; see ``prices.toml``."""

    date: str
    region: str
    table: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, path: Path = PRICES) -> Prices:
        """Read a price list. Raises SettingsError if the file is not one, naming the missing entries."""
        try:
            document, base = read_toml(path), read_toml(PRICES)
        except (OSError, ValueError) as error:
            raise SettingsError(
                "the prices were not read",
                f"{path}: {error}",
                "Start from a copy of pipeline/transactions/prices.toml.",
            ) from error
        wanted = {(service, unit) for service, units in base.items() if isinstance(units, dict) for unit in units}
        missing = [
            f"{service}.{unit}" for service, unit in sorted(wanted) if not _is_price(document.get(service), unit)
        ]
        missing += [name for name in ("date", "region") if not isinstance(document.get(name), str)]
        if missing:
            raise SettingsError("the prices were not read", f"{path} lacks {', '.join(missing)}", "Add them.")
        table = {service: units for service, units in document.items() if isinstance(units, dict)}
        return cls(document["date"], document["region"], table)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Measured or assumed properties of the traffic.

    shares              fraction of submissions by kind (see ``pipeline.transactions.ways.TURNS``); they add up to 1
    milliseconds        billed duration of each function, without the INIT of cold starts, which is billed on top
    log_bytes           bytes that each function logs per invocation
    table_milliseconds  duration of a call to the table, topic or queue
    record_bytes        size of a decided record; an entry of an index is far below one write unit
    reads               read units of the query for a customer's recent transactions
    sealed              fraction of submissions that look like card data, whose fingerprint needs a key
    metrics             custom metrics that the functions emit, billed per month
    """

    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "approved": 0.93, "flagged": 0.03, "rejected": 0.01, "repeat": 0.02, "conflict": 0.01,
        }
    )  # fmt: skip
    milliseconds: Mapping[str, float] = field(
        default_factory=lambda: {"transaction-validation": 3, "fraud-detection": 4, "compliance-checking": 4}
    )
    log_bytes: Mapping[str, float] = field(
        default_factory=lambda: {"transaction-validation": 676, "fraud-detection": 661, "compliance-checking": 811}
    )
    table_milliseconds: float = 6
    record_bytes: int = 900
    reads: float = 0.5
    sealed: float = 0.001
    metrics: int = 15

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shares) - set(TURNS))
        total = sum(self.shares.values())
        if not 0 <= self.sealed <= 1:
            raise SettingsError(
                "the cost was not computed",
                f"sealed is {self.sealed:g}",
                "Use a fraction of the submissions, 0 to 1.",
            )
        if unknown or not math.isclose(total, 1, abs_tol=1e-6) or min(self.shares.values(), default=0) < 0:
            raise SettingsError(
                "the cost was not computed",
                f"unknown kind {unknown[0]!r} in the traffic shares" if unknown else f"the shares add up to {total:g}",
                f"Use non-negative shares of {', '.join(TURNS)} that add up to 1.",
            )
