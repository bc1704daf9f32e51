"""What is imported is what the resource schemas identify, and the template of an import has nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render
from pipeline.stacks.existing import IMPORTABLE, find_identifier, import_template
from pipeline.stacks.plan import ExistingResource
from tests.unit.cfn.examples import FUNCTIONS, PROD


class Everything:
    """Clients of an account where every name exists."""

    def __getattr__(self, call: str) -> Any:
        return lambda **given: {
            "QueueUrl": "https://queue",
            "logGroups": [{"logGroupName": given.get("logGroupNamePrefix")}],
        }


def schema(kind: str) -> dict[str, Any]:
    return dict(PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema)


@pytest.mark.parametrize("kind", IMPORTABLE)
def test_an_identifier_is_the_primary_one_of_the_schema(kind: str) -> None:
    identifier = find_identifier(lambda _: Everything(), kind, "name")
    assert identifier is not None
    assert [f"/properties/{name}" for name in identifier] == schema(kind)["primaryIdentifier"]


def test_only_a_queue_could_not_be_adopted_by_its_name() -> None:
    read_only = {
        kind
        for kind in IMPORTABLE
        if set(schema(kind)["primaryIdentifier"]) & set(schema(kind).get("readOnlyProperties", []))
    }
    assert read_only == {"AWS::SQS::Queue"}


@pytest.mark.parametrize("template", [registry_template, pipeline_template])
def test_everything_of_production_that_is_kept_can_be_imported_with_its_required_properties(template: Any) -> None:
    body = render(template(PROD, FUNCTIONS))
    kept = [
        ExistingResource(logical_id, each["Type"], {})
        for logical_id, each in json.loads(body)["Resources"].items()
        if each.get("DeletionPolicy") == "Retain"
    ]
    assert {each.resource_type for each in kept} <= set(IMPORTABLE)
    imported = json.loads(import_template(body, kept))
    assert imported.keys() == {"Resources"}
    assert imported["Resources"].keys() == {each.logical_id for each in kept}
    for resource in imported["Resources"].values():
        assert resource["DeletionPolicy"] == "Retain"
        assert "Ref" not in json.dumps(resource)
        assert "Fn::" not in json.dumps(resource)
        assert resource["Properties"].keys() >= set(schema(resource["Type"]).get("required", []))


def test_a_property_that_refers_to_something_waits_for_the_update() -> None:
    properties = {
        "QueueName": "parked",
        "KmsMasterKeyId": {"Ref": "Key"},
        "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Other", "Arn"]}},
        "Tags": [{"Key": "Ref", "Value": "1"}],
    }
    body = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": properties}, "Key": {}}})
    reduced = json.loads(import_template(body, [ExistingResource("Queue", "AWS::SQS::Queue", {"QueueUrl": "u"})]))
    assert reduced["Resources"]["Queue"]["Properties"] == {
        "QueueName": "parked",
        "Tags": [{"Key": "Ref", "Value": "1"}],
    }
