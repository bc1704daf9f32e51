"""What a million transactions cost, computed from the synthesised template, a price list and what was measured.

Nothing here asks anybody: a template in, a table out. Prices are data of one day, in ``prices.toml``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.transactions.ways import TURNS, follow, read_definition, tasks

HOURS_PER_MONTH = 730
MILLION = 1_000_000
PRICES = Path(__file__).with_name("prices.toml")

_FUNCTION_OF_STATE = {
    "Validate": "transaction-validation",
    "FraudDetection": "fraud-detection",
    "Compliance": "compliance-checking",
}


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list: USD, by service and unit, as ``prices.toml`` has it."""

    date: str
    region: str
    table: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, path: Path = PRICES) -> Prices:
        """Raises SettingsError for a file that is not a price list, naming what is missing."""
        try:
            document = tomllib.loads(path.read_text())
            base = tomllib.loads(PRICES.read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(
                "the prices were not read", f"{path}: {error}", "Start from pipeline/transactions/prices.toml."
            ) from error
        wanted = {(service, unit) for service, units in base.items() if isinstance(units, dict) for unit in units}
        missing = [
            f"{service}.{unit}"
            for service, unit in sorted(wanted)
            if not isinstance(document.get(service, {}).get(unit), int | float)
        ]
        missing += [name for name in ("date", "region") if not isinstance(document.get(name), str)]
        if missing:
            raise SettingsError("the prices were not read", f"{path} lacks {', '.join(missing)}", "Add them.")
        table = {service: units for service, units in document.items() if isinstance(units, dict)}
        return cls(document["date"], document["region"], table)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was measured, or is assumed, of the transactions.

    shares              parts of all submissions by kind (see ``pipeline.transactions.ways.TURNS``); they add up to 1
    milliseconds        billed duration of each function; INIT is billed too and comes on top for cold starts
    log_bytes           what each function writes to its log per invocation
    table_milliseconds  what a call of the table, topic or queue takes
    record_bytes        size of a decided record; its index entry is far below one unit
    reads               read units that fraud detection uses per transaction
    metrics             metrics that the functions write, each of which is billed by the month
    """

    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "approved": 0.93, "flagged": 0.03, "rejected": 0.01, "repeat": 0.02, "conflict": 0.01,
        }
    )  # fmt: skip
    milliseconds: Mapping[str, float] = field(
        default_factory=lambda: {"transaction-validation": 3, "fraud-detection": 12, "compliance-checking": 4}
    )
    log_bytes: Mapping[str, float] = field(
        default_factory=lambda: {"transaction-validation": 819, "fraud-detection": 790, "compliance-checking": 948}
    )
    table_milliseconds: float = 6
    record_bytes: int = 900
    reads: float = 0.5
    metrics: int = 15

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shares) - set(TURNS))
        total = sum(self.shares.values())
        if unknown or not math.isclose(total, 1, abs_tol=1e-6) or min(self.shares.values(), default=0) < 0:
            raise SettingsError(
                "the cost was not computed",
                f"the shares of the traffic {f'know no {unknown[0]!r}' if unknown else f'add up to {total:g}'}",
                f"Give shares of {', '.join(TURNS)} that add up to 1.",
            )


# What Lambda writes itself around an invocation in JSON at level INFO: platform.start and platform.report.
PLATFORM_LOG_BYTES = 550


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill. quantity in ``unit`` per million transactions, or per month for a fixed part."""

    name: str
    quantity: float
    unit: str
    usd: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill: what grows with the transactions, per million, and what is there anyway, per month.

    standard_usd  what a STANDARD workflow of the same shape would cost instead of EXPRESS, per million
    """

    variable: tuple[Line, ...]
    fixed: tuple[Line, ...]
    express_usd: float
    standard_usd: float
    standard_transitions: float
    prices_date: str
    region: str
    transactions: int = MILLION

    @property
    def per_million(self) -> float:
        return sum(line.usd for line in self.variable)

    @property
    def per_month(self) -> float:
        return sum(line.usd for line in self.fixed)

    @property
    def total(self) -> float:
        """``transactions`` in one month, with the fixed parts."""
        return self.per_million * self.transactions / MILLION + self.per_month

    @property
    def per_million_standard(self) -> float:
        return self.per_million - self.express_usd + self.standard_usd

    def to_json(self) -> dict[str, Any]:
        def lines(of: tuple[Line, ...]) -> list[dict[str, Any]]:
            return [
                {"name": line.name, "quantity": round(line.quantity, 4), "unit": line.unit, "usd": round(line.usd, 4)}
                for line in of
            ]

        return {
            "region": self.region,
            "prices_date": self.prices_date,
            "transactions": self.transactions,
            "variable": lines(self.variable),
            "variable_per_million": round(self.per_million, 4),
            "fixed": lines(self.fixed),
            "fixed_per_month": round(self.per_month, 4),
            "total": round(self.total, 4),
            "standard": {
                "transitions_per_transaction": round(self.standard_transitions, 2),
                "variable_per_million": round(self.per_million_standard, 4),
                "times": round(self.per_million_standard / self.per_million, 1),
            },
        }

    def text(self) -> str:
        """The bill as a table for people."""
        rows = [f"{'USD per million transactions':<44}{'quantity':>14}  {'unit':<14}{'USD':>9}"]
        rows += [_row(line) for line in self.variable]
        rows += [f"{'':<74}{'-' * 7:>7}", f"{'variable':<74}{self.per_million:>7.2f}", ""]
        rows += [f"{'USD per month, whatever the load':<44}"]
        rows += [_row(line) for line in self.fixed]
        rows += [f"{'fixed':<74}{self.per_month:>7.2f}", ""]
        rows.append(f"{f'{self.transactions:,} transactions in a month':<74}{self.total:>7.2f}")
        rows.append(
            f"As a STANDARD workflow: {self.per_million_standard:.2f} per million variable"
            f" ({self.standard_transitions:.1f} transitions each),"
            f" {self.per_million_standard / self.per_million:.0f} times as much."
        )
        rows.append(f"Prices of {self.prices_date}, {self.region}. Not in it: cold starts, data transfer, taxes.")
        return "\n".join(rows)


def _row(line: Line) -> str:
    return f"  {line.name:<42}{line.quantity:>14,.3f}  {line.unit:<14}{line.usd:>9.3f}"


def compute_cost(
    template: Mapping[str, Any],
    prices: Prices,
    traffic: Traffic | None = None,
    transactions: int = MILLION,
) -> Cost:
    """The bill of a pipeline template.

    template      the synthesised stack 2, as a dictionary
    traffic       what was measured; the defaults are those of docs/workflow.md
    transactions  for the total of one month
    """
    traffic = traffic or Traffic()
    definition = read_definition(template)
    ways = {kind: follow(definition, TURNS[kind]) for kind in traffic.shares}
    use = _Use.of(template, definition, ways, traffic, prices)
    variable = tuple(use.lines(prices))
    express = sum(line.usd for line in variable if line.name.startswith("Step Functions"))
    transitions = sum(share * len(ways[kind]) for kind, share in traffic.shares.items())
    return Cost(
        variable=variable,
        fixed=tuple(_fixed(template, prices, traffic)),
        express_usd=express,
        standard_usd=transitions * prices.table["standard"]["per_million_transitions"],
        standard_transitions=transitions,
        prices_date=prices.date,
        region=prices.region,
        transactions=transactions,
    )


@dataclass(slots=True)
class _Use:
    """What one transaction uses on average."""

    architecture: str
    invocations: float = 0
    function_gb_seconds: float = 0
    express_gb_seconds: float = 0
    writes: float = 0
    reads: float = 0
    alerts: float = 0
    log_bytes: float = 0

    @classmethod
    def of(
        cls,
        template: Mapping[str, Any],
        definition: Mapping[str, Any],
        ways: Mapping[str, tuple[str, ...]],
        traffic: Traffic,
        prices: Prices,
    ) -> _Use:
        functions = _functions(template)
        use = cls(next(iter(functions.values())).get("Architectures", ["x86_64"])[0])
        indexes = _indexes(template)
        states = tasks(definition)
        for kind, share in traffic.shares.items():
            milliseconds = 0.0
            for name in ways[kind]:
                milliseconds += _time(definition, name, traffic)
                use._add_state(name, states[name], share, functions, indexes, traffic, prices)
            steps = math.ceil(milliseconds / prices.table["express"]["step_milliseconds"])
            seconds = steps * prices.table["express"]["step_milliseconds"] / 1000
            # The state of a transaction is a few KB, so one step of memory holds it.
            use.express_gb_seconds += share * seconds * prices.table["express"]["step_megabytes"] / 1024
        return use

    def _add_state(
        self,
        name: str,
        state: Mapping[str, Any],
        share: float,
        functions: Mapping[str, Mapping[str, Any]],
        indexes: int,
        traffic: Traffic,
        prices: Prices,
    ) -> None:
        resource = state.get("Resource", "")
        units = math.ceil(traffic.record_bytes / prices.table["dynamodb"]["write_unit_bytes"])
        if function := _FUNCTION_OF_STATE.get(name):
            properties = functions[function]
            self.invocations += share
            self.function_gb_seconds += (
                share * properties.get("MemorySize", 128) / 1024 * traffic.milliseconds[function] / 1000
            )
            self.log_bytes += share * (traffic.log_bytes[function] + _platform_log_bytes(properties))
            self.reads += share * (traffic.reads if function == "fraud-detection" else 0)
        elif resource.endswith("dynamodb:updateItem"):
            # A refused condition costs what the write would have; only a claim writes the attributes of the indexes.
            self.writes += share * (units + (indexes if name == "Claim" else 0))
        elif resource.endswith("dynamodb:putItem"):
            self.writes += share * units
        elif resource.endswith("dynamodb:getItem"):
            self.reads += share * math.ceil(traffic.record_bytes / prices.table["dynamodb"]["read_unit_bytes"])
        elif resource.endswith("sns:publish"):
            self.alerts += share

    def lines(self, prices: Prices) -> Iterator[Line]:
        table = prices.table
        gigabytes = self.log_bytes * MILLION / 1e9
        seconds, lambda_price = self.function_gb_seconds, table["lambda"][f"per_gb_second_{self.architecture}"]
        express = self.express_gb_seconds
        yield Line(
            "Lambda requests", self.invocations, "million", self.invocations * table["lambda"]["per_million_requests"]
        )
        yield Line(f"Lambda duration ({self.architecture})", seconds, "million GB-s", seconds * MILLION * lambda_price)
        yield Line("Step Functions EXPRESS requests", 1, "million", table["express"]["per_million_requests"])
        yield Line(
            "Step Functions EXPRESS duration",
            express,
            "million GB-s",
            express * MILLION * table["express"]["per_gb_second"],
        )
        yield Line("DynamoDB writes", self.writes, "million", self.writes * table["dynamodb"]["per_million_writes"])
        yield Line("DynamoDB reads", self.reads, "million", self.reads * table["dynamodb"]["per_million_reads"])
        yield Line("SNS alerts", self.alerts, "million", self.alerts * table["sns"]["per_million_requests"])
        yield Line("CloudWatch Logs", gigabytes, "GB", gigabytes * table["logs"]["per_gb"])


def _functions(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The functions that the workflow calls, by the name of their folder."""
    found: dict[str, Mapping[str, Any]] = {}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            name = str(resource["Properties"].get("FunctionName", ""))
            for function in _FUNCTION_OF_STATE.values():
                if name.startswith(f"{function}-"):
                    found[function] = resource["Properties"]
    missing = sorted(set(_FUNCTION_OF_STATE.values()) - set(found))
    if missing:
        raise SettingsError(
            "the cost was not computed",
            f"the template has no function {', '.join(missing)}",
            "Give the pipeline template: `synth --out DIR` writes it.",
        )
    return found


def _platform_log_bytes(properties: Mapping[str, Any]) -> float:
    return 0 if properties.get("LoggingConfig", {}).get("SystemLogLevel") == "WARN" else PLATFORM_LOG_BYTES


def _indexes(template: Mapping[str, Any]) -> int:
    return sum(
        len(resource["Properties"].get("GlobalSecondaryIndexes", []))
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::DynamoDB::Table"
    )


def _time(definition: Mapping[str, Any], name: str, traffic: Traffic) -> float:
    """Milliseconds that the execution spends in a state; branches count once, as long as the longest."""
    state = definition["States"].get(name)
    if state is None:
        return 0.0  # inside a branch, counted with its Parallel
    if state["Type"] == "Parallel":
        return max(
            sum(traffic.milliseconds.get(_FUNCTION_OF_STATE.get(task, ""), 0) for task in branch["States"])
            for branch in state["Branches"]
        )
    if function := _FUNCTION_OF_STATE.get(name):
        return traffic.milliseconds[function]
    return traffic.table_milliseconds if state["Type"] == "Task" else 1.0


def _fixed(template: Mapping[str, Any], prices: Prices, traffic: Traffic) -> Iterator[Line]:
    """What is there whatever the load. Storage is not in it: it grows with what is kept."""
    resources = list(template["Resources"].values())
    zones = sum(
        len(resource["Properties"].get("SubnetIds", []))
        for resource in resources
        if resource["Type"] == "AWS::EC2::VPCEndpoint" and resource["Properties"].get("VpcEndpointType") == "Interface"
    )
    for name, quantity, unit, price in (
        ("Interface endpoints", zones * HOURS_PER_MONTH, "zone-hours", prices.table["endpoints"]["per_zone_hour"]),
        ("KMS keys", _count(resources, "AWS::KMS::Key"), "keys", prices.table["kms"]["per_key_month"]),
        ("Custom metrics", traffic.metrics, "metrics", prices.table["alarms"]["per_metric_month"]),
        (
            "CloudWatch alarms",
            _count(resources, "AWS::CloudWatch::Alarm"),
            "alarms",
            prices.table["alarms"]["per_alarm_month"],
        ),
    ):
        if quantity:
            yield Line(name, quantity, unit, quantity * price)


def _count(resources: list[Mapping[str, Any]], kind: str) -> int:
    return sum(resource["Type"] == kind for resource in resources)
