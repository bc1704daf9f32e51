"""The bills before and after a release, from the deployed and the new template."""

from __future__ import annotations

from typing import Any

import pytest

from cfn.names import Names
from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import DEFAULT_MILLISECONDS, FunctionDefinition, Settings
from pipeline.forecast.money import CostChange, cost_change
from pipeline.transactions.prices import Prices

NAMES = Names("dev", "shop")
HELLO = {"name": "hello", "milliseconds": 100, "duration_known": True}


def functions(**changed: Any) -> list[FunctionDefinition]:
    return [FunctionDefinition(**{**HELLO, **changed}), FunctionDefinition("untimed")]


def template(*definitions: FunctionDefinition) -> str:
    return render(pipeline_template(Settings("dev", project="shop", workflow=None), list(definitions)))


def change(before: str, after: list[FunctionDefinition]) -> CostChange:
    found = cost_change(before, template(*after), after, NAMES, transactions=False)
    assert found is not None
    return found


def test_twice_the_memory_costs_twice_the_duration() -> None:
    found = change(template(*functions(memory=1024)), functions(memory=2048))
    assert found.before is not None
    requests = Prices.load().table["lambda"]["per_million_requests"]
    old, new = (each.functions["shop-hello-dev"] for each in (found.before, found.after))
    assert old is not None
    assert new is not None
    assert new - requests == pytest.approx(2 * (old - requests))


def test_without_a_known_duration_no_cost_is_invented() -> None:
    assert FunctionDefinition("untimed").milliseconds == DEFAULT_MILLISECONDS
    assert change("", functions()).after.functions["shop-untimed-dev"] is None


def test_a_new_function_had_no_cost() -> None:
    found = change(template(FunctionDefinition("untimed")), functions())
    assert found.before is not None
    assert set(found.before.functions) == {"shop-untimed-dev"}


def test_executions_that_are_kept_initialised_cost_every_month() -> None:
    found = change(template(*functions()), functions(memory=2048, provisioned_concurrency=3))
    assert found.before is not None
    price = Prices.load().table["lambda"]["provisioned_per_gb_second_arm64"]
    assert found.after.per_month - found.before.per_month == pytest.approx(3 * 2 * 730 * 3600 * price)


@pytest.mark.parametrize("before", ["", "Resources: {}"])
def test_a_template_that_has_no_cost_leaves_it_unknown(before: str) -> None:
    assert change(before, functions()).before is None


def test_a_pipeline_whose_functions_are_missing_has_no_known_cost() -> None:
    assert cost_change("", template(*functions()), functions(), NAMES, transactions=True) is None
