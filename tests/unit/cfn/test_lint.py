"""What is synthesised is clean under cfn-lint, warnings included, and fits into TemplateBody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint
from troposphere import Parameter, Template

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import TEMPLATE_BODY_MAX, render
from cfn.settings import Call, FunctionDefinition, Settings
from pipeline.errors import SettingsError
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD

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
)
ONE_MORE = (*FUNCTIONS, FunctionDefinition("device-check", description="Looks at the device of a transaction"))


def findings(text: str) -> list[str]:
    return [f"{match.rule.id} {match.message}" for match in lint(text, config=ManualArgs(regions=["us-east-1"]))]


@pytest.mark.parametrize("build", [registry_template, pipeline_template])
@pytest.mark.parametrize(
    ("settings", "functions"),
    [(DEV, FUNCTIONS), (PROD, FUNCTIONS), (replace(DEV, zones=1), CALLING_ALL), (DEV, ONE_MORE)],
    ids=["dev", "prod", "calling-all", "one-more"],
)
def test_template_is_clean(build: Any, settings: Settings, functions: Sequence[FunctionDefinition]) -> None:
    text = render(build(settings, functions))
    assert findings(text) == []
    assert len(text.encode()) <= TEMPLATE_BODY_MAX


def test_the_linter_of_this_test_bites() -> None:
    template = json.loads(render(registry_template(DEV, FUNCTIONS)))
    template["Resources"]["FraudDetectionRepository"]["Properties"]["ImageTagMutability"] = "SOMETIMES"
    assert any(finding.startswith("E3030") for finding in findings(json.dumps(template)))


def test_a_template_that_is_too_large_says_its_size() -> None:
    template = Template(Description="Large.")
    for number in range(200):
        template.add_parameter(Parameter(f"P{number}", Type="String", Description="d" * 300))
    with pytest.raises(SettingsError, match=r"it has 6\d,\d{3} bytes, and CloudFormation takes at most 51,200"):
        render(template)


def test_rendering_is_canonical() -> None:
    text = render(registry_template(DEV, FUNCTIONS))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert text == render(registry_template(DEV, FUNCTIONS))
