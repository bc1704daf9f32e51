"""The load that is carried, and the limit that ends it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.load import simulate
from cfn.concurrency import executions_for, loaded, reservation
from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import FunctionDefinition, Settings
from cfn.workflow.limits import CALLED_FUNCTIONS, FRAUD
from pipeline.transactions.capacity import capacity
from pipeline.transactions.ways import read_definition
from tests.unit.cfn.examples import FUNCTIONS as SHIPPED

FUNCTIONS = tuple(FunctionDefinition(name, milliseconds=20) for name in CALLED_FUNCTIONS)


@pytest.mark.parametrize(
    ("per_second", "milliseconds", "executions"),
    [
        (166.7, 12, 17),  # ten invocations a second for each execution, however short they are
        (166.7, 100, 17),
        (166.7, 101, 17),
        (166.7, 1000, 167),
        (0.1, 1, 1),
    ],
)
def test_executions_are_limited_by_rate_and_by_duration(
    per_second: float, milliseconds: float, executions: int
) -> None:
    assert executions_for(per_second, milliseconds) == executions


def test_the_defaults_carry_ten_thousand_a_minute_three_times_over() -> None:
    settings = Settings("dev")
    reserved = reservation(settings, FUNCTIONS)
    assert reserved == 60
    carried = capacity(FUNCTIONS, reserved, unreserved=850)
    assert carried.per_minute >= 3 * 10_000


def test_ten_reserved_executions_carry_six_thousand_a_minute() -> None:
    carried = capacity(FUNCTIONS, 10, unreserved=970)
    assert (carried.per_minute, carried.narrowest.name) == (6_000, "Lambda rate, transaction-validation")


def test_a_slow_function_is_limited_by_its_concurrency() -> None:
    slow = (*FUNCTIONS[:2], replace(FUNCTIONS[2], milliseconds=500))
    carried = capacity(slow, 10, unreserved=970)
    assert (carried.per_minute, carried.narrowest.name) == (1_200, "Lambda concurrency, compliance-checking")


def test_measured_durations_count_instead_of_declared_ones() -> None:
    assert capacity(FUNCTIONS, 10, 970, {FRAUD: 600}).per_minute == 1_000


def test_without_a_reservation_the_functions_share_the_account() -> None:
    carried = capacity(FUNCTIONS, 0, unreserved=10)
    assert (carried.per_minute, carried.narrowest.name) == (2_000, "Lambda rate, all functions")


def test_a_new_table_limits_the_load() -> None:
    carried = capacity(FUNCTIONS, 900, unreserved=100)
    assert (carried.per_minute, carried.narrowest.name) == (60_000, "DynamoDB writes")


def test_what_is_set_is_reserved_whatever_the_load() -> None:
    assert reservation(Settings("dev", reserved_concurrency=7), FUNCTIONS) == 7
    assert reservation(Settings("dev", reserved_concurrency=0), FUNCTIONS) == 0
    assert reservation(Settings("dev"), ()) == 0


def test_a_function_that_no_transaction_invokes_reserves_nothing() -> None:
    slow = replace(FUNCTIONS[0], name="monthly-report", milliseconds=60_000)
    assert loaded(Settings("dev"), [*FUNCTIONS, slow]) == list(FUNCTIONS)
    assert reservation(Settings("dev"), [*FUNCTIONS, slow]) == reservation(Settings("dev"), FUNCTIONS)


def test_the_load_and_its_burst_are_reserved_for() -> None:
    assert reservation(Settings("dev", transactions_per_minute=60_000, burst=1), FUNCTIONS) == 120
    assert reservation(Settings("dev", transactions_per_minute=600, burst=1), FUNCTIONS) == 2


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    return read_definition(json.loads(render(pipeline_template(Settings("dev"), SHIPPED))))


def test_nothing_is_parked_at_the_defaults_on_the_limits_of_lambda(definition: dict[str, Any]) -> None:
    reserved = reservation(Settings("dev"), FUNCTIONS)
    found = simulate(definition, reserved=reserved, milliseconds=50, per_minute=10_000, burst=3, minutes=2)
    assert found.submitted > 20_000
    assert found.parked == 0


def test_ten_executions_park_the_excess(definition: dict[str, Any]) -> None:
    found = simulate(definition, reserved=10, milliseconds=50, per_minute=10_000, burst=1, minutes=2)
    assert found.parked > 0.3 * found.submitted
