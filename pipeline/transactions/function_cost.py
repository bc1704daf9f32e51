"""Estimate what functions without a workflow cost, from the synthesised template and a price list. Pure."""

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

    variable  one line per function, in USD per million invocations
    """

    variable: tuple[Line, ...]
    fixed: tuple[Line, ...]
    prices_date: str
    region: str

    @property
    def per_month(self) -> float:
        return sum(line.usd for line in self.fixed)

    def to_json(self) -> dict[str, Any]:
        def lines(of: tuple[Line, ...]) -> list[dict[str, Any]]:
            return [{"name": line.name, "usd": round(line.usd, 4)} for line in of]

        return {
            "region": self.region,
            "prices_date": self.prices_date,
            "per_million_invocations": lines(self.variable),
            "fixed": lines(self.fixed),
            "fixed_per_month": round(self.per_month, 4),
        }

    def text(self) -> str:
        """The bill as a text table."""
        rows = [f"{'USD per million invocations':<44}{'quantity':>14}  {'unit':<14}{'USD':>9}"]
        rows += [row(line) for line in self.variable]
        rows += ["", "USD per month, fixed", *(row(line) for line in self.fixed)]
        rows += [f"{'fixed':<74}{self.per_month:>7.2f}", ""]
        rows.append(f"Prices of {self.prices_date}, {self.region}. Durations are `milliseconds` of function.toml.")
        rows.append("Excludes cold starts, logs, what triggers the functions and what they call, transfer and taxes.")
        return "\n".join(rows)


def compute_function_cost(
    template: Mapping[str, Any], functions: Sequence[FunctionDefinition], names: Names, prices: Prices
) -> FunctionCost:
    """The bill of a pipeline template without the transaction pipeline."""
    table = prices.table["lambda"]
    variable = []
    for function in functions:
        properties = template["Resources"][f"{pascal_case(function.name)}Function"]["Properties"]
        gb_seconds = properties["MemorySize"] / 1024 * function.milliseconds / 1000
        price = table[f"per_gb_second_{properties['Architectures'][0]}"]
        usd = table["per_million_requests"] + gb_seconds * MILLION * price
        variable.append(Line(names.function(function.name), gb_seconds, "million GB-s", usd))
    return FunctionCost(tuple(variable), tuple(fixed_costs(template, prices)), prices.date, prices.region)
