"""How long a file takes through the entrance ``files`` on AWS, what that costs, and which quota limits it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cfn.workflow.limits import FILE_BATCH, FILE_SECONDS
from pipeline.transactions.capacity import EXECUTIONS_STARTED, TABLE_WRITES, WRITES_PER_TRANSACTION, Capacity
from pipeline.transactions.prices import Prices

# Step Functions quotas, "Distributed Map": child executions that one Map Run runs at the same time.
CHILDREN_MAX = 10_000
# Step Functions guide, ItemReader: items of one Map Run. A larger file has to be split.
ITEMS_MAX = 100_000_000
# DynamoDB guide, on-demand capacity: the table grows to twice its former peak within this time (seconds).
TABLE_DOUBLES = 30 * 60
# Transitions of the STANDARD execution: Format, the Map, Count, Complete, Answered, and the start of each.
TRANSITIONS = 6
# Memory of a child execution (MB): a batch is far below the first step that is billed.
CHILD_MEGABYTES = 64
_DYNAMODB = "DynamoDB writes"


@dataclass(frozen=True, slots=True)
class Simulation:
    """usd: of the entrance alone; the transactions themselves cost what ``cost`` says.

    limited_by  seconds for which each limit was the narrowest, longest first
    """

    lines: int
    seconds: float
    usd: float
    limited_by: tuple[tuple[str, float], ...]

    @property
    def per_second(self) -> float:
        return self.lines / self.seconds if self.seconds else 0.0


def simulate(lines: int, concurrency: int, load: Capacity, prices: Prices) -> Simulation:
    """Run a file of ``lines`` against the quotas, minute by minute, since DynamoDB's grows with the load.

    concurrency  batches at the same time, from ``cfn.entrances.files_entrance.concurrency``
    load         the limits of the pipeline behind it; of these the growth of a new table is simulated instead

    Raises ValueError for more lines than a Map Run takes.
    """
    if lines > ITEMS_MAX:
        raise ValueError(f"a Map Run takes at most {ITEMS_MAX:,} items")
    fixed = {limit.name: limit.per_minute / 60 for limit in load.limits if limit.name != _DYNAMODB}
    fixed["MaxConcurrency"] = concurrency * FILE_BATCH / FILE_SECONDS
    fixed["child executions"] = CHILDREN_MAX * FILE_BATCH / FILE_SECONDS
    fixed["child starts"] = EXECUTIONS_STARTED * FILE_BATCH
    seconds, left, writes = 0.0, float(lines), float(TABLE_WRITES)
    limited: dict[str, float] = {}
    while left > 0:
        rates = {**fixed, _DYNAMODB: writes / WRITES_PER_TRANSACTION}
        name = min(rates, key=lambda each: rates[each])
        step = min(60.0, left / rates[name])
        limited[name] = limited.get(name, 0.0) + step
        left -= rates[name] * step
        seconds += step
        if name == _DYNAMODB:  # on-demand capacity follows the load that it carries
            writes *= 2 ** (step / TABLE_DOUBLES)
    order = sorted(limited.items(), key=lambda each: -each[1])
    return Simulation(lines, seconds, file_cost(lines, prices), tuple(order))


def file_cost(lines: int, prices: Prices) -> float:
    """USD for a file: the STANDARD execution, its EXPRESS children, and the writing and reading of objects."""
    express, children = prices.table["express"], math.ceil(lines / FILE_BATCH)
    steps = math.ceil(FILE_SECONDS * 1000 / express["step_milliseconds"])
    seconds = steps * express["step_milliseconds"] / 1000
    memory = math.ceil(CHILD_MEGABYTES / express["step_megabytes"]) * express["step_megabytes"] / 1024
    return TRANSITIONS * prices.table["standard"]["per_million_transitions"] / 1e6 + children * (
        express["per_million_requests"] / 1e6 + seconds * memory * express["per_gb_second"]
    )


def table(rows: Sequence[tuple[str, Simulation]], per_million: Mapping[str, float]) -> str:
    """The rows as a table of Markdown. per_million: what the transactions of a row cost, by its name."""
    lines = ["| settings | time | lines a second | limited by | entrance | transactions |", "|---|---|---|---|---|---|"]
    for name, each in rows:
        limits = ", ".join(f"{limit} ({share / each.seconds:.0%})" for limit, share in each.limited_by)
        lines.append(
            f"| {name} | {each.seconds / 3600:.1f} h | {each.per_second:,.0f} | {limits} | ${each.usd:,.2f}"
            f" | ${per_million[name] * each.lines / 1e6:,.0f} |"
        )
    return "\n".join(lines)
