"""The templates of fifty functions under cfn-lint, which takes seconds for each."""

from __future__ import annotations

from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import TEMPLATE_BODY_MAX, TEMPLATE_URL_MAX, render
from tests.unit.cfn.examples import DEV
from tests.unit.cfn.test_lint import findings, many


@pytest.mark.parametrize("build", [registry_template, pipeline_template])
def test_fifty_functions_make_a_clean_template(build: Any) -> None:
    text = render(build(DEV, many(50)))
    assert findings(text) == []
    assert TEMPLATE_BODY_MAX < len(text) < TEMPLATE_URL_MAX
