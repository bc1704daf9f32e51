"""What ministack is told of replacements is what the resource schemas say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from pipeline.local.emulator.replacements import CREATE_ONLY

GOLDEN = Path(__file__).parents[3] / "golden"


@pytest.mark.parametrize("kind", sorted(CREATE_ONLY))
def test_the_table_is_that_of_the_schemas(kind: str) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = [path.split("/")[2:] for path in schema.get("createOnlyProperties", [])]
    assert sorted(names[0] for names in paths if len(names) == 1) == list(CREATE_ONLY[kind])


def test_every_type_of_the_templates_is_known_by_one_or_the_other() -> None:
    from ministack.services.cloudformation import provisioners

    kinds = {
        resource["Type"]
        for path in GOLDEN.glob("*.json")
        for resource in json.loads(path.read_text()).get("Resources", {}).values()
    }
    assert len(kinds) > 20
    known = provisioners._REPLACING_PROPERTIES.keys() | CREATE_ONLY.keys()
    assert {kind for kind in kinds if not kind.startswith("Custom::")} - known == set()
