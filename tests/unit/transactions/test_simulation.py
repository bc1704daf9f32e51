"""The simulation of a file against AWS's quotas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cfn.concurrency import reservation
from cfn.entrances.files_entrance import concurrency
from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import Settings
from cfn.workflow.limits import CALLED_FUNCTIONS, FILE_BATCH, FILE_SECONDS
from pipeline.transactions.capacity import Capacity, Limit, capacity
from pipeline.transactions.cost import compute_cost
from pipeline.transactions.files.simulation import CHILDREN_MAX, ITEMS_MAX, Simulation, file_cost, simulate, table
from pipeline.transactions.prices import Prices
from tests.unit.cfn.examples import FUNCTIONS

PAGE = Path(__file__).parents[3] / "docs" / "entrances.md"
LINES = 10_000_000
LOADS = (10_000, 60_000, 240_000)
PRICES = Prices.load()


def simulated(settings: Settings) -> Simulation:
    called = [each for each in FUNCTIONS if each.name in CALLED_FUNCTIONS]
    load = capacity(called, reservation(settings, FUNCTIONS), 0)
    return simulate(LINES, concurrency(settings), load, PRICES)


def page_table() -> str:
    """The table of docs/entrances.md."""
    rows, per_million = [], {}
    for load in LOADS:
        settings = Settings("dev", transactions_per_minute=load)
        name = f"`transactions_per_minute = {load:_}`"
        template = json.loads(render(pipeline_template(settings, FUNCTIONS)))
        per_million[name] = compute_cost(template, PRICES).per_million
        rows.append((name, simulated(settings)))
    return table(rows, per_million)


def test_the_page_has_the_table() -> None:
    assert page_table() in PAGE.read_text(), f"put this into {PAGE}:\n{page_table()}"


def test_the_settings_limit_a_file_before_any_quota_does() -> None:
    found = simulated(Settings("dev"))
    assert [name for name, _seconds in found.limited_by] == ["MaxConcurrency"]
    assert found.seconds == pytest.approx(LINES / (10_000 / 60), rel=0.01)


def test_a_new_table_slows_a_large_load_until_it_has_grown() -> None:
    load = Capacity((Limit("EXPRESS starts", 10**9, ""),))
    fast = simulate(LINES, 1_000, load, PRICES)
    assert fast.limited_by[0][0] == "DynamoDB writes"
    constant = LINES / (4_000 / 4)
    assert constant / 4 < fast.seconds < constant
    # Twice the lines take less than twice the time.
    assert simulate(2 * LINES, 1_000, load, PRICES).seconds < 2 * fast.seconds


def test_no_quota_of_aws_is_passed() -> None:
    unlimited = Capacity(())
    found = simulate(1_000, 10**6, unlimited, PRICES)
    assert found.per_second <= CHILDREN_MAX * FILE_BATCH / FILE_SECONDS
    with pytest.raises(ValueError, match="at most 100,000,000 items"):
        simulate(ITEMS_MAX + 1, 1, unlimited, PRICES)
    assert simulate(0, 1, unlimited, PRICES).seconds == 0


def test_the_entrance_costs_what_its_executions_cost() -> None:
    prices = replace(
        PRICES,
        table={
            **PRICES.table,
            "standard": {"per_million_transitions": 0.0},
            "express": {**PRICES.table["express"], "per_million_requests": 1_000_000.0, "per_gb_second": 0.0},
        },
    )
    assert file_cost(21, prices) == 3  # batches
