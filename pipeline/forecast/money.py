"""What an environment costs before and after a release, from its templates and the price list. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cfn.names import Names
from cfn.settings import FunctionDefinition
from pipeline.core.errors import PipelineError
from pipeline.transactions.cost import compute_cost
from pipeline.transactions.function_cost import compute_function_cost
from pipeline.transactions.prices import Prices


@dataclass(frozen=True, slots=True)
class Bill:
    """What an environment costs, in USD.

    per_month    at any load
    per_million  per million transactions, in addition; None without the transaction pipeline
    functions    per million invocations, by deployed name; None if unknown. Only without the transaction pipeline,
                 whose functions are part of ``per_million``
    """

    per_month: float
    per_million: float | None = None
    functions: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"per_month": round(self.per_month, 2)}
        if self.per_million is not None:
            return {**document, "per_million": round(self.per_million, 2)}
        rounded = {name: None if usd is None else round(usd, 4) for name, usd in self.functions.items()}
        return {**document, "per_million_invocations": rounded}


@dataclass(frozen=True, slots=True)
class CostChange:
    """Both bills; ``before`` is None without a deployed template whose cost can be computed."""

    after: Bill
    before: Bill | None = None

    def to_json(self) -> dict[str, Any]:
        document = self.after.to_json()
        return document if self.before is None else {**document, "before": self.before.to_json()}


def cost_change(
    before: str, after: str, functions: Sequence[FunctionDefinition], names: Names, *, transactions: bool
) -> CostChange | None:
    """The cost of the deployed template ``before`` ("" for none) and of the new one; None if the latter is unknown.

    functions     the project's; both bills use their present durations, which no template has
    transactions  whether the project has the transaction pipeline
    """
    prices = Prices.load()

    def bill(template: str) -> Bill | None:
        try:
            document = json.loads(template)
            if transactions:
                cost = compute_cost(document, prices)
                return Bill(cost.per_month, cost.per_million)
            alone = compute_function_cost(document, functions, names, prices)
            return Bill(alone.per_month, functions=alone.per_million)
        except (PipelineError, ValueError):  # functions that the template lacks; a template in YAML
            return None

    new = bill(after)
    return None if new is None else CostChange(new, bill(before) if before else None)
