"""The load that an environment can carry, and the AWS limit that bounds it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cfn.concurrency import INVOCATIONS_PER_EXECUTION
from cfn.settings import FunctionDefinition

# Step Functions quotas: StartExecution of EXPRESS workflows, per second, in the largest regions.
EXECUTIONS_STARTED = 6_000
# DynamoDB developer guide, on-demand capacity: writes per second of a new table, which grows to twice its former peak.
TABLE_WRITES = 4_000
# The claim and the record, each with an entry in the customer index.
WRITES_PER_TRANSACTION = 4
# Amazon SNS quotas: Publish per second in the smaller regions; the largest take 30,000.
ALERTS_PUBLISHED = 300
# One transaction in twenty is declined, reviewed or in conflict, which sends an alert (see ``prices.Traffic``).
ALERTS_PER_TRANSACTION = 0.05


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, in transactions per minute. cause: the limit itself, with its numbers."""

    name: str
    per_minute: int
    cause: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """All limits, lowest first."""

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
    """The limits for transactions that invoke each function once.

    reserved    executions reserved per function; 0 if they share the account's unreserved ones
    unreserved  executions of the account that no function reserves
    overrides   measured milliseconds by function
    """
    milliseconds = {each.name: (overrides or {}).get(each.name, each.milliseconds) for each in functions}
    limits = [
        Limit("EXPRESS starts", EXECUTIONS_STARTED * 60, f"at most {EXECUTIONS_STARTED:,} executions start per second"),
        Limit(
            "DynamoDB writes",
            TABLE_WRITES * 60 // WRITES_PER_TRANSACTION,
            f"a new on-demand table accepts {TABLE_WRITES:,} writes a second, {WRITES_PER_TRANSACTION} per transaction",
        ),
        Limit(
            "SNS alerts",
            int(ALERTS_PUBLISHED * 60 / ALERTS_PER_TRANSACTION),
            f"at most {ALERTS_PUBLISHED} alerts are published per second, {ALERTS_PER_TRANSACTION:g} per transaction",
        ),
    ]
    if reserved:
        limits += [_of_executions(name, reserved, duration, 1, "reserved") for name, duration in milliseconds.items()]
    elif milliseconds:
        limits.append(
            _of_executions("all functions", unreserved, sum(milliseconds.values()), len(milliseconds), "unreserved")
        )
    return Capacity(tuple(sorted(limits, key=lambda limit: limit.per_minute)))


def _of_executions(name: str, executions: int, milliseconds: float, invocations: int, whose: str) -> Limit:
    """The limit of concurrent executions; ``invocations`` per transaction take ``milliseconds`` together."""
    by_duration = executions * 60_000 / milliseconds
    by_rate = executions * INVOCATIONS_PER_EXECUTION * 60 / invocations
    if by_rate <= by_duration:
        cause = f"{executions} {whose} executions accept {INVOCATIONS_PER_EXECUTION} invocations a second each"
        return Limit(f"Lambda rate, {name}", int(by_rate), cause)
    cause = f"{executions} {whose} executions are busy for {milliseconds:g} ms per invocation"
    return Limit(f"Lambda concurrency, {name}", int(by_duration), cause)
