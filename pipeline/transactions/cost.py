"""Estimate what a million transactions cost, from the synthesised template, a price list and measured traffic.

Pure: no AWS call is made. Prices are a dated snapshot, in ``prices.toml``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cfn.calls import CUSTOMER, LEASES, STATE_TABLE
from pipeline.core.errors import NextStep, SettingsError
from pipeline.transactions.prices import Prices, Traffic
from pipeline.transactions.storage import CLAIMED, INDEXED, INFREQUENT_ACCESS, STANDARD, Storage, prices_of, storage_of
from pipeline.transactions.ways import TURNS, follow, read_definition, tasks

HOURS_PER_MONTH = 730
MILLION = 1_000_000

_FUNCTION_OF_STATE = {
    "Validate": "transaction-validation",
    "FraudDetection": "fraud-detection",
    "Compliance": "compliance-checking",
}


# Lambda's own log lines per invocation in JSON at level INFO: platform.start and platform.report.
PLATFORM_LOG_BYTES = 550


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill; ``quantity`` is in ``unit`` per million transactions, or per month for a fixed cost."""

    name: str
    quantity: float
    unit: str
    usd: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill: variable costs per million transactions, and fixed costs per month.

    express_usd   the EXPRESS workflow's part of the variable costs
    standard_usd  what a STANDARD workflow of the same shape would cost instead, per million transactions
    leases_usd    the part of an index of running claims (``find_lost_claims``); has_leases: whether the bill has it
    entrances     what a million transactions cost in addition, by the entrance that they come through
    """

    variable: tuple[Line, ...]
    fixed: tuple[Line, ...]
    express_usd: float
    standard_usd: float
    standard_transitions: float
    prices_date: str
    region: str
    storage: Storage
    leases_usd: float
    has_leases: bool
    transactions: int = MILLION
    entrances: tuple[Line, ...] = ()

    @property
    def per_million(self) -> float:
        return sum(line.usd for line in self.variable)

    @property
    def per_month(self) -> float:
        return sum(line.usd for line in self.fixed)

    @property
    def total(self) -> float:
        """USD for ``transactions`` in one month, including the fixed costs."""
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

        break_even = self.storage.break_even(self.transactions)
        return {
            "region": self.region,
            "prices_date": self.prices_date,
            "transactions": self.transactions,
            "variable": lines(self.variable),
            "variable_per_million": round(self.per_million, 4),
            "entrances": lines(self.entrances),
            "fixed": lines(self.fixed),
            "fixed_per_month": round(self.per_month, 4),
            "total": round(self.total, 4),
            "storage": {
                "gigabytes_per_million": round(self.storage.gigabytes, 4),
                "gigabytes_after_a_year": round(self.storage.after(12, self.transactions)[0], 2),
                "usd_per_month_after_a_year": round(self.storage.after(12, self.transactions)[1], 2),
                "usd_in_the_first_year": round(self.storage.first_year(self.transactions), 2),
                "table_class": self.storage.table_class,
                "infrequent_access_from_gigabytes": None if break_even is None else round(break_even, 2),
            },
            "find_lost_claims": {"deployed": self.has_leases, "variable_per_million": round(self.leases_usd, 4)},
            "standard": {
                "transitions_per_transaction": round(self.standard_transitions, 2),
                "variable_per_million": round(self.per_million_standard, 4),
                "times": round(self.per_million_standard / self.per_million, 1),
            },
        }

    def text(self) -> str:
        """The bill as a text table."""
        rows = [f"{'USD per million transactions':<44}{'quantity':>14}  {'unit':<14}{'USD':>9}"]
        rows += [row(line) for line in self.variable]
        rows += [f"{'':<74}{'-' * 7:>7}", f"{'variable':<74}{self.per_million:>7.2f}", ""]
        if self.entrances:
            rows += ["in addition, for those that come", *(row(line) for line in self.entrances), ""]
        rows += [f"{'USD per month, fixed':<44}"]
        rows += [row(line) for line in self.fixed]
        rows += [f"{'fixed':<74}{self.per_month:>7.2f}", ""]
        rows.append(f"{f'{self.transactions:,} transactions in a month':<74}{self.total:>7.2f}")
        gigabytes, usd = self.storage.after(12, self.transactions)
        rows.append(
            f"Records are kept: {gigabytes:,.0f} GB after a year, which cost {usd:,.2f} a month then and"
            f" {self.storage.first_year(self.transactions):,.2f} in the first year."
        )
        if (break_even := self.storage.break_even(self.transactions)) is not None:
            rows.append(
                f"The table class is {self.storage.table_class}. {INFREQUENT_ACCESS} costs less from"
                f" {break_even:,.0f} GB on."
            )
        leases = "of which find_lost_claims costs" if self.has_leases else "to which find_lost_claims would add"
        rows.append(f"{self.per_million:.2f} USD per million, {leases} {self.leases_usd:.2f}.")
        rows.append(
            f"As a STANDARD workflow: {self.per_million_standard:.2f} per million variable"
            f" ({self.standard_transitions:.1f} transitions each),"
            f" {self.per_million_standard / self.per_million:.0f} times as much."
        )
        rows.append(f"Prices of {self.prices_date}, {self.region}. Excludes cold starts, data transfer and taxes.")
        return "\n".join(rows)


def row(line: Line) -> str:
    """A line of the bill as text."""
    return f"  {line.name:<42}{line.quantity:>14,.3f}  {line.unit:<14}{line.usd:>9.3f}"


def compute_cost(
    template: Mapping[str, Any],
    prices: Prices,
    traffic: Traffic | None = None,
    transactions: int = MILLION,
) -> Cost:
    """The bill of a pipeline template.

    template      the synthesised pipeline stack as a dictionary
    traffic       measured traffic; the defaults are those of docs/workflow.md
    transactions  transactions per month, for the total
    """
    traffic = traffic or Traffic()
    definition, table = read_definition(template), _table(template)
    deployed = _Deployed(
        definition,
        _functions(template),
        frozenset(each["IndexName"] for each in table.get("GlobalSecondaryIndexes", [])),
        table.get("TableClass", STANDARD),
    )
    paths = {kind: follow(deployed.definition, TURNS[kind]) for kind in traffic.shares}
    usage = _average_usage(deployed, paths, prices, traffic)
    variable = tuple(_variable(usage, deployed, prices))
    express = sum(line.usd for line in variable if line.name.startswith("Step Functions"))
    transitions = sum(share * len(paths[kind]) for kind, share in traffic.shares.items())
    return Cost(
        variable=variable,
        fixed=tuple(fixed_costs(template, prices, traffic.metrics)),
        express_usd=express,
        standard_usd=transitions * prices.table["standard"]["per_million_transitions"],
        standard_transitions=transitions,
        prices_date=prices.date,
        region=prices.region,
        storage=storage_of(deployed.table_class, prices, traffic, writes=usage["writes"], reads=usage["reads"]),
        leases_usd=2
        * sum(traffic.shares.get(kind, 0) for kind in CLAIMED)
        * prices_of(deployed.table_class, prices)["per_million_writes"],
        has_leases=LEASES in deployed.indexes,
        transactions=transactions,
    )


@dataclass(frozen=True, slots=True)
class _Deployed:
    """The parts of a template that its variable cost depends on.

    functions    properties of each function that the workflow calls, by folder name
    indexes      the names of the table's secondary indexes
    table_class  the table's
    """

    definition: Mapping[str, Any]
    functions: Mapping[str, Mapping[str, Any]]
    indexes: frozenset[str]
    table_class: str

    @property
    def architecture(self) -> str:
        properties = next(iter(self.functions.values()))
        return str(properties.get("Architectures", ["x86_64"])[0])


def _average_usage(
    deployed: _Deployed, paths: Mapping[str, tuple[str, ...]], prices: Prices, traffic: Traffic
) -> Mapping[str, float]:
    """What one transaction uses on average, by the names of ``_state_usage``, and "express_gb_seconds"."""
    states = tasks(deployed.definition)
    express = prices.table["express"]
    usage = defaultdict[str, float](float, {"secrets": traffic.sealed})
    for kind, share in traffic.shares.items():
        milliseconds = 0.0
        for name in paths[kind]:
            milliseconds += _duration(deployed.definition, name, traffic)
            for quantity, amount in _state_usage(deployed, kind, name, states[name], prices, traffic).items():
                usage[quantity] += share * amount
        seconds = math.ceil(milliseconds / express["step_milliseconds"]) * express["step_milliseconds"] / 1000
        # The state of an execution is a few KB, so one step of memory holds it.
        usage["express_gb_seconds"] += share * seconds * express["step_megabytes"] / 1024
    return usage


def _state_usage(
    deployed: _Deployed, kind: str, name: str, state: Mapping[str, Any], prices: Prices, traffic: Traffic
) -> dict[str, float]:
    """What one entry into a state uses, on the way of a submission of ``kind``."""
    dynamodb = prices.table["dynamodb"]
    write_units = math.ceil(traffic.record_bytes / dynamodb["write_unit_bytes"])
    if function := _FUNCTION_OF_STATE.get(name):
        properties = deployed.functions[function]
        return {
            "invocations": 1,
            "function_gb_seconds": properties.get("MemorySize", 128) / 1024 * traffic.milliseconds[function] / 1000,
            "log_bytes": traffic.log_bytes[function] + _platform_log_bytes(properties),
        }
    match state.get("Resource", "").rpartition(":::")[2]:
        case "dynamodb:updateItem":
            # A write whose condition fails is billed too.
            return {"writes": write_units + _index_writes(deployed.indexes, kind, name)}
        case "dynamodb:putItem":
            return {"writes": write_units}
        case "dynamodb:getItem":
            return {"reads": math.ceil(traffic.record_bytes / dynamodb["read_unit_bytes"])}
        case "aws-sdk:dynamodb:query":
            return {"reads": traffic.reads}
        case "sns:publish":
            return {"alerts": 1}
    return {}


def _index_writes(indexes: frozenset[str], kind: str, name: str) -> int:
    """Entries of indexes that an update writes or removes: a customer's history, and the leases of running claims."""
    written = CUSTOMER in indexes and name == "Record" and kind in INDEXED
    return written + (LEASES in indexes and name in ("Claim", "Record") and kind in CLAIMED)


def _variable(usage: Mapping[str, float], deployed: _Deployed, prices: Prices) -> Iterator[Line]:
    """The lines of the bill per million transactions."""
    table, architecture = prices.table, deployed.architecture
    express, gb_second = table["express"], table["lambda"][f"per_gb_second_{architecture}"]
    dynamodb = prices_of(deployed.table_class, prices)
    for name, quantity, unit, price in (
        ("Lambda requests", usage["invocations"], "million", table["lambda"]["per_million_requests"]),
        (f"Lambda duration ({architecture})", usage["function_gb_seconds"], "million GB-s", gb_second * MILLION),
        ("Step Functions EXPRESS requests", 1, "million", express["per_million_requests"]),
        (
            "Step Functions EXPRESS duration", usage["express_gb_seconds"], "million GB-s",
            express["per_gb_second"] * MILLION,
        ),
        ("DynamoDB writes", usage["writes"], "million", dynamodb["per_million_writes"]),
        ("DynamoDB reads", usage["reads"], "million", dynamodb["per_million_reads"]),
        ("Secrets Manager requests", usage["secrets"], "million", table["secrets"]["per_million_requests"]),
        ("SNS alerts", usage["alerts"], "million", table["sns"]["per_million_requests"]),
        ("CloudWatch Logs", usage["log_bytes"] * MILLION / 1e9, "GB", table["logs"]["per_gb"]),
    ):  # fmt: skip
        yield Line(name, quantity, unit, quantity * price)


def _functions(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Properties of the functions that the workflow calls, by folder name."""
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
            NextStep("Use the pipeline template, written by", ("synth", "--out", "DIR")),
        )
    return found


def _platform_log_bytes(properties: Mapping[str, Any]) -> float:
    return 0 if properties.get("LoggingConfig", {}).get("SystemLogLevel") == "WARN" else PLATFORM_LOG_BYTES


def _table(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of the state table; resources.yaml may add others."""
    resource = template["Resources"].get(STATE_TABLE, {"Properties": {}})
    properties: Mapping[str, Any] = resource["Properties"]
    return properties


def _duration(definition: Mapping[str, Any], name: str, traffic: Traffic) -> float:
    """Milliseconds that an execution spends in a state; a Parallel takes as long as its longest branch."""
    state = definition["States"].get(name)
    if state is None:
        return 0.0  # in a branch, counted with its Parallel
    if state["Type"] == "Parallel":
        return max(
            sum(traffic.milliseconds.get(_FUNCTION_OF_STATE.get(task, ""), 0) for task in branch["States"])
            for branch in state["Branches"]
        )
    if function := _FUNCTION_OF_STATE.get(name):
        return traffic.milliseconds[function]
    return traffic.table_milliseconds if state["Type"] == "Task" else 1.0


def fixed_costs(template: Mapping[str, Any], prices: Prices, metrics: int = 0) -> Iterator[Line]:
    """Costs that do not depend on the load. Excludes storage, which grows with the retained data.

    metrics  custom metrics that the functions emit
    """
    resources = list(template["Resources"].values())
    zones = sum(
        len(resource["Properties"].get("SubnetIds", []))
        for resource in resources
        if resource["Type"] == "AWS::EC2::VPCEndpoint" and resource["Properties"].get("VpcEndpointType") == "Interface"
    )
    lambda_prices = prices.table["lambda"]
    yield from (
        Line(
            f"Provisioned concurrency ({architecture})", gb * HOURS_PER_MONTH * 3600 / MILLION, "million GB-s",
            gb * HOURS_PER_MONTH * 3600 * lambda_prices[f"provisioned_per_gb_second_{architecture}"],
        )
        for architecture, gb in sorted(_provisioned(template).items())
    )  # fmt: skip
    for name, quantity, unit, price in (
        ("Interface endpoints", zones * HOURS_PER_MONTH, "zone-hours", prices.table["endpoints"]["per_zone_hour"]),
        ("KMS keys", _count(resources, "AWS::KMS::Key"), "keys", prices.table["kms"]["per_key_month"]),
        (
            "Secrets",
            _count(resources, "AWS::SecretsManager::Secret"),
            "secrets",
            prices.table["secrets"]["per_secret_month"],
        ),
        ("Custom metrics", metrics, "metrics", prices.table["alarms"]["per_metric_month"]),
        (
            "CloudWatch alarms",
            _count(resources, "AWS::CloudWatch::Alarm"),
            "alarms",
            prices.table["alarms"]["per_alarm_month"],
        ),
    ):
        if quantity:
            yield Line(name, quantity, unit, quantity * price)


def _provisioned(template: Mapping[str, Any]) -> dict[str, float]:
    """GB of executions that are kept initialised, by architecture. Excludes the aliases of resources.yaml."""
    resources: Mapping[str, Any] = template["Resources"]
    found: dict[str, float] = defaultdict(float)
    for resource in resources.values():
        match resource.get("Properties", {}):
            case {
                "FunctionName": {"Ref": str() as function},
                "ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": int() as executions},
            } if resource["Type"] == "AWS::Lambda::Alias" and function in resources:
                properties = resources[function]["Properties"]
                gigabytes = executions * properties.get("MemorySize", 128) / 1024
                found[properties.get("Architectures", ["x86_64"])[0]] += gigabytes
    return found


def _count(resources: list[Mapping[str, Any]], kind: str) -> int:
    return sum(resource["Type"] == kind for resource in resources)
