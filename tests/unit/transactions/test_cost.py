"""The cost estimate, computed from the synthesised template."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import Architecture, Call, FunctionDefinition, Settings
from pipeline.core.errors import SettingsError, SubmissionError
from pipeline.transactions.cost import Cost, compute_cost
from pipeline.transactions.prices import PRICES, Prices, Traffic
from pipeline.transactions.ways import TURNS, follow, read_definition

QUERY = Call("dynamodb", ("Query",), "state-table/index/customer")


def template(**settings: Any) -> dict[str, Any]:
    functions = [
        FunctionDefinition("compliance-checking"),
        FunctionDefinition("fraud-detection", calls=(QUERY,)),
        FunctionDefinition("transaction-validation"),
    ]
    document: dict[str, Any] = json.loads(render(pipeline_template(Settings("dev", **settings), functions)))
    return document


TEMPLATE = template()
PRICE_LIST = Prices.load()


def usd(name: str, **traffic: Any) -> float:
    return next(
        line.usd
        for line in compute_cost(TEMPLATE, PRICE_LIST, Traffic(**traffic)).variable
        if line.name.startswith(name)
    )


def test_a_million_transactions_cost_less_than_five_dollars() -> None:
    assert compute_cost(TEMPLATE, PRICE_LIST).per_million < 5


@pytest.mark.parametrize(
    ("architecture", "said"),
    [(Architecture.ARM64, r"arm64, a million transactions cost about ([\d.]+) USD"),
     (Architecture.X86_64, r"on x86_64 about ([\d.]+) USD")],
)  # fmt: skip
def test_docs_state_the_cost_of_the_default_settings(architecture: Architecture, said: str) -> None:
    page = " ".join((Path(__file__).parents[3] / "docs" / "workflow.md").read_text().split())
    bill = compute_cost(template(architecture=architecture), PRICE_LIST)
    assert re.findall(said, page) == [f"{bill.per_million:.2f}"]


def test_the_cost_of_an_approval() -> None:
    approved = {"shares": {"approved": 1.0}}
    assert usd("Lambda requests", **approved) == pytest.approx(3 * 0.20)
    assert usd("Lambda duration", **approved) == pytest.approx((3 + 4 + 4) / 1000 * 1769 / 1024 * 13.3334)
    # A claim, and the record with its entry of the index.
    assert usd("DynamoDB writes", **approved) == pytest.approx(3 * 0.625)
    assert usd("DynamoDB reads", **approved) == pytest.approx(0.5 * 0.125)
    assert usd("Step Functions EXPRESS requests", **approved) == 1.0
    assert usd("Step Functions EXPRESS duration", **approved) == pytest.approx(0.1 * 64 / 1024 * 16.67)
    assert usd("SNS", **approved) == 0
    assert usd("CloudWatch Logs", **approved) == pytest.approx((676 + 661 + 811) / 1000 * 0.50)


def test_a_repeat_invokes_no_function() -> None:
    repeats = {"shares": {"repeat": 1.0}}
    assert usd("Lambda requests", **repeats) == 0
    assert usd("DynamoDB writes", **repeats) == pytest.approx(0.625)
    assert usd("DynamoDB reads", **repeats) == pytest.approx(0.125)


def test_a_flagged_transaction_keeps_details_and_alerts() -> None:
    assert usd("DynamoDB writes", shares={"flagged": 1.0}) == pytest.approx(4 * 0.625)
    assert usd("SNS", shares={"flagged": 1.0}) == pytest.approx(0.50)


def test_a_record_beyond_a_kilobyte_costs_another_unit() -> None:
    assert usd("DynamoDB writes", shares={"approved": 1.0}, record_bytes=1_025) == pytest.approx(5 * 0.625)


def test_express_is_billed_in_steps_of_100_milliseconds() -> None:
    slow = {"transaction-validation": 60, "fraud-detection": 60, "compliance-checking": 10}
    assert usd("Step Functions EXPRESS duration", shares={"approved": 1.0}, milliseconds=slow) == pytest.approx(
        0.2 * 64 / 1024 * 16.67
    )


def test_platform_log_lines_are_billed() -> None:
    loud = copy.deepcopy(TEMPLATE)
    for resource in loud["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            resource["Properties"]["LoggingConfig"].pop("SystemLogLevel", None)
    assert compute_cost(loud, PRICE_LIST).per_million > compute_cost(TEMPLATE, PRICE_LIST).per_million + 0.5


def test_the_architecture_is_read_from_the_template() -> None:
    x86 = compute_cost(template(architecture=Architecture.X86_64), PRICE_LIST)
    assert any("x86_64" in line.name for line in x86.variable)
    assert x86.per_million > compute_cost(TEMPLATE, PRICE_LIST).per_million


def test_a_standard_workflow_costs_by_transitions() -> None:
    cost = compute_cost(TEMPLATE, PRICE_LIST, Traffic(shares={"approved": 1.0}))
    assert cost.standard_transitions == 13
    assert cost.standard_usd == 325
    assert cost.to_json()["standard"]["times"] > 30


def test_fixed_costs_are_separate() -> None:
    cost = compute_cost(TEMPLATE, PRICE_LIST, transactions=2_000_000)
    assert "Interface endpoints" not in [line.name for line in cost.fixed]
    assert cost.total == pytest.approx(2 * cost.per_million + cost.per_month)


def test_an_interface_endpoint_costs_by_the_hour_and_zone() -> None:
    cost = compute_cost(template(endpoints=("states", "sqs")), PRICE_LIST)
    assert cost.fixed[0].name == "Interface endpoints"
    assert cost.fixed[0].usd == pytest.approx(2 * 3 * 730 * 0.01)
    assert cost.per_month - compute_cost(TEMPLATE, PRICE_LIST).per_month == pytest.approx(cost.fixed[0].usd)


def test_the_table_states_the_date_of_its_prices() -> None:
    cost = compute_cost(TEMPLATE, PRICE_LIST)
    assert PRICE_LIST.date in cost.text()
    assert cost.to_json()["prices_date"] == PRICE_LIST.date
    assert json.loads(json.dumps(cost.to_json()))["variable_per_million"] == round(cost.per_million, 4)


def test_a_payload_that_looks_like_card_data_costs_a_look_at_the_key() -> None:
    assert usd("Secrets Manager requests", sealed=1.0) == pytest.approx(5.0)
    assert usd("Secrets Manager requests", sealed=0.0) == 0
    assert [line.usd for line in compute_cost(TEMPLATE, PRICE_LIST).fixed if line.name == "Secrets"] == [0.40]
    with pytest.raises(SettingsError, match="sealed is 2"):
        Traffic(sealed=2)


def test_an_index_of_running_claims_costs_two_writes() -> None:
    def writes(document: dict[str, Any], kind: str) -> float:
        return next(
            line.usd
            for line in compute_cost(document, PRICE_LIST, Traffic(shares={kind: 1.0})).variable
            if line.name == "DynamoDB writes"
        )

    found = template(find_lost_claims=True)
    for kind in ("approved", "flagged", "rejected"):
        assert writes(found, kind) - writes(TEMPLATE, kind) == pytest.approx(2 * 0.625)
    for kind in ("repeat", "conflict", "too large"):
        assert writes(found, kind) == writes(TEMPLATE, kind)
    bill, usual = compute_cost(found, PRICE_LIST), compute_cost(TEMPLATE, PRICE_LIST)
    assert bill.per_million - usual.per_million == pytest.approx(usual.leases_usd)
    assert f"to which find_lost_claims would add {usual.leases_usd:.2f}" in usual.text()
    assert f"of which find_lost_claims costs {usual.leases_usd:.2f}" in bill.text()
    assert bill.to_json()["find_lost_claims"] == {"deployed": True, "variable_per_million": round(usual.leases_usd, 4)}
    assert compute_cost(found, PRICE_LIST).storage.gigabytes == compute_cost(TEMPLATE, PRICE_LIST).storage.gigabytes


def test_infrequent_access_pays_where_storage_costs_more_than_requests() -> None:
    infrequent = compute_cost(template(table_class="STANDARD_INFREQUENT_ACCESS"), PRICE_LIST)
    usual = compute_cost(TEMPLATE, PRICE_LIST)
    million = 10**6
    from_here = usual.storage.break_even(million)
    assert from_here is not None
    assert from_here == infrequent.storage.break_even(million)

    def total(cost: Cost, gigabytes: float) -> float:
        return cost.per_million + gigabytes * cost.storage.usd_per_month

    assert total(infrequent, from_here) == pytest.approx(total(usual, from_here))
    assert total(infrequent, from_here + 1) < total(usual, from_here + 1)
    assert f"costs less from {from_here:,.0f} GB on" in usual.text()
    assert infrequent.to_json()["storage"]["table_class"] == "STANDARD_INFREQUENT_ACCESS"


def test_infrequent_access_that_is_not_cheaper_never_pays(tmp_path: Path) -> None:
    other = tmp_path / "prices.toml"
    other.write_text(PRICES.read_text().replace("per_gb_month = 0.10\n\n[sqs]", "per_gb_month = 0.25\n\n[sqs]"))
    cost = compute_cost(TEMPLATE, Prices.load(other))
    assert cost.to_json()["storage"]["infrequent_access_from_gigabytes"] is None
    assert "costs less from" not in cost.text()


def test_another_price_list_can_be_given(tmp_path: Path) -> None:
    other = tmp_path / "prices.toml"
    other.write_text(PRICES.read_text().replace("per_million_writes = 0.625", "per_million_writes = 1.25"))
    dearer = compute_cost(TEMPLATE, Prices.load(other)).per_million
    assert dearer == pytest.approx(compute_cost(TEMPLATE, PRICE_LIST).per_million + usd("DynamoDB writes"))


@pytest.mark.parametrize(
    ("broken", "why"),
    [("date = 3\n", "lacks"), ("not toml", "prices.toml"), ("", "dynamodb.per_million_writes")],
)
def test_a_broken_price_list_is_explained(tmp_path: Path, broken: str, why: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(broken)
    with pytest.raises(SettingsError, match=why):
        Prices.load(path)


@pytest.mark.parametrize("shares", [{"approved": 0.5}, {"unheard of": 1.0}, {"approved": 2.0, "repeat": -1.0}, {}])
def test_invalid_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="shares"):
        Traffic(shares=shares)


@pytest.mark.parametrize("document", [{"Resources": {}}, {}])
def test_another_template_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SubmissionError, match="state machine"):
        compute_cost(document, PRICE_LIST)


@pytest.mark.parametrize("kind", TURNS)
def test_every_path_ends(kind: str) -> None:
    assert follow(read_definition(TEMPLATE), TURNS[kind])[-1] == "Answered"


def test_records_are_kept_and_their_storage_grows() -> None:
    storage = compute_cost(
        TEMPLATE, PRICE_LIST, Traffic(shares={"approved": 0.5, "rejected": 0.25, "repeat": 0.25})
    ).storage
    assert storage.gigabytes == pytest.approx(0.75 * 1.0 + 0.5 * 0.216)
    assert storage.after(12, 2_000_000) == pytest.approx((storage.gigabytes * 24, storage.gigabytes * 24 * 0.45))
    assert storage.first_year(1_000_000) == pytest.approx(storage.gigabytes * 0.45 * 78)


def test_docs_state_what_a_year_of_the_default_load_stores() -> None:
    page = " ".join((Path(__file__).parents[3] / "docs" / "workflow.md").read_text().split())
    month = Settings("dev").transactions_per_minute * 60 * 730
    storage = compute_cost(TEMPLATE, PRICE_LIST).storage
    gigabytes, usd = storage.after(12, month)
    assert re.findall(r"([\d.]+) GB per million", page) == [f"{storage.gigabytes:.2f}"]
    assert f"after a year of {month / 1e6:.0f} million a month {gigabytes / 1000:.1f} TB" in page
    assert f"which cost {usd:,.0f} USD a month" in page
    assert f"pays from {storage.break_even(month):,.0f} GB on" in page
