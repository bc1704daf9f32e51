"""The whole templates, so that a change shows itself in a review.

Renew them after a change that is meant:

    .venv/bin/python -m tests.unit.cfn.test_golden
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cfn.examples import DEV, PROD, pipeline, registry

FOLDER = Path(__file__).parents[2] / "golden"
TEMPLATES = {
    "registry-dev": lambda: registry(DEV),
    "registry-prod": lambda: registry(PROD),
    "pipeline-dev": lambda: pipeline(DEV),
    "pipeline-prod": lambda: pipeline(PROD),
}


def text(template: dict[str, Any]) -> str:
    for resource in template["Resources"].values():
        if "DefinitionString" in resource["Properties"]:  # readable, state by state
            resource["Properties"]["DefinitionString"] = json.loads(resource["Properties"]["DefinitionString"])
    return json.dumps(template, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_the_golden_one(name: str) -> None:
    expected = (FOLDER / f"{name}.json").read_text()
    assert text(TEMPLATES[name]()) == expected, "if the change is meant: python -m tests.unit.cfn.test_golden"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, make in TEMPLATES.items():
        (FOLDER / f"{name}.json").write_text(text(make()))
