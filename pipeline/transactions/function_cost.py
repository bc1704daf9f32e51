"""Estimate what functions cost on their own, from the synthesised template and a price list. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfn.names import Names, pascal_case
from cfn.settings import FunctionDefinition
from pipeline.transactions.cost import MILLION, Line, fixed_costs, row
from pipeline.transactions.prices import Prices


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """The bill: what a million invocations of each function cost, and fixed costs per month.

    variable  one line per function whose duration is known, in USD per million invocations
    unknown   functions whose ``function.toml`` gives no ``milliseconds``, by deployed name
    """

    variable: tuple[Line, ...]
    fixed: tuple[Line, ...]
    prices_date: str
    region: str
    unknown: tuple[str, ...] = ()

    @property
    def per_month(self) -> float:
        return sum(line.usd for line in self.fixed)

    @property
    def per_million(self) -> Mapping[str, float | None]:
        """USD per million invocations by deployed name; None if unknown."""
        known = {line.name: line.usd for line in self.variable}
        return {name: known.get(name) for name in sorted({*known, *self.unknown})}

    def to_json(self) -> dict[str, Any]:
        invoked = [
            {"name": name, "usd": None if usd is None else round(usd, 4)} for name, usd in self.per_million.items()
        ]
        return {
            "region": self.region,
            "prices_date": self.prices_date,
            "per_million_invocations": invoked,
            "fixed": [{"name": line.name, "usd": round(line.usd, 4)} for line in self.fixed],
            "fixed_per_month": round(self.per_month, 4),
        }

    def text(self) -> str:
        """The bill as a text table."""
        rows = [f"{'USD per million invocations':<44}{'quantity':>14}  {'unit':<14}{'USD':>9}"]
        rows += [row(line) for line in self.variable]
        rows += [f"  {name:<42}{'':>14}  {'':<14}{'unknown':>9}" for name in self.unknown]
        rows += ["", "USD per month, fixed", *(row(line) for line in self.fixed)]
        rows += [f"{'fixed':<74}{self.per_month:>7.2f}", ""]
        rows.append(f"Prices of {self.prices_date}, {self.region}. Durations are `milliseconds` of function.toml.")
        rows.append("Excludes cold starts, logs, what triggers the functions and what they call, transfer and taxes.")
        return "\n".join(rows)


def compute_function_cost(
    template: Mapping[str, Any], functions: Sequence[FunctionDefinition], names: Names, prices: Prices
) -> FunctionCost:
    """The bill of a pipeline template without the transaction pipeline.

    functions  those that the template lacks are left out; durations are theirs, memory and architecture the template's
    """
    table = prices.table["lambda"]
    variable, unknown = [], []
    for function in functions:
        resource = template["Resources"].get(f"{pascal_case(function.name)}Function")
        if resource is None:
            continue
        if not function.duration_known:
            unknown.append(names.function(function.name))
            continue
        properties = resource["Properties"]
        gb_seconds = properties.get("MemorySize", 128) / 1024 * function.milliseconds / 1000
        price = table[f"per_gb_second_{properties.get('Architectures', ['x86_64'])[0]}"]
        usd = table["per_million_requests"] + gb_seconds * MILLION * price
        variable.append(Line(names.function(function.name), gb_seconds, "million GB-s", usd))
    fixed = tuple(fixed_costs(template, prices))
    return FunctionCost(tuple(variable), fixed, prices.date, prices.region, tuple(unknown))
