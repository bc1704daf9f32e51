"""The load that an environment carries, and which of AWS's limits ends it. Pure: numbers in, a table out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cfn.concurrency import INVOCATIONS_PER_EXECUTION
from cfn.settings import FunctionDefinition

# Step Functions quotas: StartExecution of EXPRESS workflows, per second, in the largest regions.
EXECUTIONS_STARTED = 6_000
# DynamoDB developer guide, on-demand capacity: what a new table takes at once; it grows with twice its former peak.
TABLE_WRITES = 4_000
# The claim and the record, each with an entry in the index of customers.
WRITES_PER_TRANSACTION = 4
# Amazon SNS quotas: Publish per second in the smaller regions; the largest take 30,000.
ALERTS_PUBLISHED = 300
# One transaction in twenty is declined, reviewed or in conflict, and alerted about (see ``cost.Traffic``).
ALERTS_PER_TRANSACTION = 0.05


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, as the transactions per minute that it lets through. cause: the limit itself, with its numbers."""

    name: str
    per_minute: int
    cause: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """Every limit, the lowest first."""

    limits: tuple[Limit, ...]

    @property
    def narrowest(self) -> Limit:
        return self.limits[0]

    @property
    def per_minute(self) -> int:
        return self.narrowest.per_minute


def capacity(
    functions: Sequence[FunctionDefinition],
    reserved: int,
    unreserved: int,
    overrides: Mapping[str, float] | None = None,
) -> Capacity:
    """What the limits let through, when each transaction invokes each function once.

    reserved    executions reserved for each function; 0 where they share the account's unreserved ones
    unreserved  executions of the account that no function reserves
    overrides   milliseconds by function, where they were measured
    """
    milliseconds = {each.name: (overrides or {}).get(each.name, each.milliseconds) for each in functions}
    limits = [
        Limit("EXPRESS starts", EXECUTIONS_STARTED * 60, f"{EXECUTIONS_STARTED:,} executions are started a second"),
        Limit(
            "DynamoDB writes",
            TABLE_WRITES * 60 // WRITES_PER_TRANSACTION,
            f"a new on-demand table takes {TABLE_WRITES:,} writes a second, {WRITES_PER_TRANSACTION} a transaction",
        ),
        Limit(
            "SNS alerts",
            int(ALERTS_PUBLISHED * 60 / ALERTS_PER_TRANSACTION),
            f"{ALERTS_PUBLISHED} alerts are published a second, {ALERTS_PER_TRANSACTION:g} a transaction",
        ),
    ]
    if reserved:
        limits += [_of_executions(name, reserved, duration, 1, "reserved") for name, duration in milliseconds.items()]
    elif milliseconds:
        limits.append(
            _of_executions(
                "all functions", unreserved, sum(milliseconds.values()), len(milliseconds), "unreserved in the account"
            )
        )
    return Capacity(tuple(sorted(limits, key=lambda limit: limit.per_minute)))


def _of_executions(name: str, executions: int, milliseconds: float, invocations: int, whose: str) -> Limit:
    """What executions let through; ``invocations`` of one transaction take ``milliseconds`` together."""
    by_duration = executions * 60_000 / milliseconds
    by_rate = executions * INVOCATIONS_PER_EXECUTION * 60 / invocations
    if by_rate <= by_duration:
        cause = f"{executions} executions {whose} take {INVOCATIONS_PER_EXECUTION} invocations a second each"
        return Limit(f"Lambda rate, {name}", int(by_rate), cause)
    cause = f"{executions} executions {whose} are busy for {milliseconds:g} ms each time"
    return Limit(f"Lambda concurrency, {name}", int(by_duration), cause)
