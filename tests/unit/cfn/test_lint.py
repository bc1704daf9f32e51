"""What is synthesised is clean under cfn-lint, warnings included, and fits into TemplateBody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint
from troposphere import Parameter

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import TEMPLATE_BODY_MAX, render
from cfn.settings import Call, Entrance, FunctionDefinition, Settings
from cfn.template import OpenTemplate
from pipeline.core.errors import SettingsError
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD
from tests.unit.cfn.test_entrances import functions as entrance_functions

CALLING_ALL = (
    replace(
        FUNCTIONS[0],
        environment=(("LIMIT", "5"),),
        calls=(
            Call("dynamodb", ("GetItem",), "state-table"),
            Call("sns", ("Publish",), "alert-topic"),
            Call("sqs", ("SendMessage",), "dead-letter-queue"),
            Call("states", ("StartSyncExecution",), "state-machine"),
        ),
    ),
    *FUNCTIONS[1:],
    FunctionDefinition("device-check", description="Looks at the device of a transaction"),
)
ONE_MORE = (*FUNCTIONS, FunctionDefinition("device-check", description="Looks at the device of a transaction"))


def findings(text: str) -> list[str]:
    return [f"{match.rule.id} {match.message}" for match in lint(text, config=ManualArgs(regions=["us-east-1"]))]


@pytest.mark.parametrize(
    ("build", "settings", "functions"),
    [
        (registry_template, DEV, ONE_MORE),
        (registry_template, PROD, FUNCTIONS),
        (pipeline_template, DEV, FUNCTIONS),
        (pipeline_template, PROD, FUNCTIONS),
        (pipeline_template, replace(DEV, zones=1, entrances=(Entrance.FILES,)), CALLING_ALL),
        (
            pipeline_template,
            replace(PROD, entrances=(Entrance.HTTP, Entrance.QUEUE)),
            entrance_functions(Entrance.HTTP, Entrance.QUEUE),
        ),
    ],
    ids=["registry-dev", "registry-prod", "dev", "prod", "calling-all-and-files", "http-and-queue"],
)
def test_template_is_clean(build: Any, settings: Settings, functions: Sequence[FunctionDefinition]) -> None:
    text = render(build(settings, functions))
    assert findings(text) == []
    # With the shipped functions and the default settings no bucket is needed.
    assert (settings, functions) != (DEV, FUNCTIONS) or len(text.encode()) <= TEMPLATE_BODY_MAX


def test_the_linter_of_this_test_bites() -> None:
    template = json.loads(render(registry_template(DEV, FUNCTIONS)))
    template["Resources"]["FraudDetectionRepository"]["Properties"]["ImageTagMutability"] = "SOMETIMES"
    assert any(finding.startswith("E3030") for finding in findings(json.dumps(template)))


def many(count: int) -> tuple[FunctionDefinition, ...]:
    """The workflow's functions, and others up to ``count``."""
    return (*FUNCTIONS, *(FunctionDefinition(f"signal-{number}") for number in range(count - len(FUNCTIONS))))


@pytest.mark.parametrize(
    ("build", "most", "said"),
    [(registry_template, 100, "it has 202 outputs"), (pipeline_template, 66, "it has 501 resources")],
    ids=["registry", "pipeline"],
)
def test_the_most_functions_that_a_template_takes(build: Any, most: int, said: str) -> None:
    render(build(DEV, many(most)))
    with pytest.raises(SettingsError, match=said):
        render(build(DEV, many(most + 1)))


def test_a_template_that_cloudformation_refuses_says_every_limit() -> None:
    template = OpenTemplate(Description="Large.")
    for number in range(201):
        template.add_parameter(Parameter(f"P{number}", Type="String", Description="d" * 5_000))
    with pytest.raises(SettingsError) as raised:
        render(template)
    assert raised.value.why.startswith("it has 201 parameters, and CloudFormation takes at most 200; it has 1,0")
    assert raised.value.why.endswith("bytes, and CloudFormation takes at most 1,000,000")


def test_rendering_is_canonical() -> None:
    text = render(registry_template(DEV, FUNCTIONS))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert text == render(registry_template(DEV, FUNCTIONS))
