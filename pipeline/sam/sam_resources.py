"""The other resources of a SAM template as ``resources.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.sam.sam_template import FUNCTION, Template
from pipeline.sam.sam_values import Note, references, renamed, shown_json

_TABLE = "AWS::Serverless::SimpleTable"
_PSEUDO = (
    "AWS::AccountId", "AWS::NoValue", "AWS::NotificationARNs", "AWS::Partition", "AWS::Region", "AWS::StackId",
    "AWS::StackName", "AWS::URLSuffix",
)  # fmt: skip
# What a resource of SAM is in a project.
_BY_HAND = {
    FUNCTION: "It is a zip file: give it a Dockerfile and PackageType: Image, or use init --from FOLDER.",
    "AWS::Serverless::StateMachine": "Write its definition into workflow.asl.yaml (docs/own-workflow.md).",
    "AWS::Serverless::Api": "Routes are in [[events]] of function.toml; write the rest into resources.yaml.",
    "AWS::Serverless::HttpApi": "Routes are in [[events]] of function.toml; write the rest into resources.yaml.",
    "AWS::Serverless::LayerVersion": "Put its files into the functions' folders.",
    "AWS::Serverless::Connector": "Write what the function calls into [[calls]] of function.toml.",
}
_OTHERWISE = "Write it into resources.yaml as plain CloudFormation (docs/resources.md)."


@dataclass(frozen=True, slots=True)
class OwnResources:
    """sections: of ``resources.yaml``, {} for none."""

    sections: Mapping[str, Any]
    notes: tuple[Note, ...]


def plain_resources(template: Template) -> dict[str, dict[str, Any]]:
    """The resources that CloudFormation has itself, with simple tables as tables of DynamoDB."""
    found = {}
    for name, each in template.resources.items():
        if each["Type"] == _TABLE and (table := _table(each)) is not None:
            found[name] = table
        elif not each["Type"].startswith("AWS::Serverless::") and not name.startswith("Fn::"):
            found[name] = dict(each)
    return found


def carry_over(
    template: Template, candidates: Mapping[str, dict[str, Any]], ids: Mapping[str, str], left: Mapping[str, Note]
) -> OwnResources:
    """What of ``candidates`` and the other sections refers to what a project has.

    ids   logical ids of functions and what SAM makes of them → those of the pipeline stack
    left  notes on the resources that become something else, by logical id
    """
    notes = list(left.values())
    for name, each in template.resources.items():
        if (
            name not in candidates
            and name not in left
            and name not in {image.logical_id for image in template.functions}
        ):
            do = _BY_HAND.get(each["Type"], _OTHERWISE)
            notes.append(Note(name, f"{each['Type']} is not carried over", do))
    parameters = {name: each for name, each in template.sections.get("Parameters", {}).items() if "Default" in each}
    conditions = _table_of(template, "Conditions")
    resources = {name: each for name, each in candidates.items() if name not in left}
    outputs = template.sections.get("Outputs", {})
    while True:
        known = {*ids, *parameters, *resources, *_PSEUDO}
        lost = [
            (section, name, sorted(missing))
            for section, table in (("Conditions", conditions), ("Resources", resources), ("Outputs", outputs))
            for name, each in table.items()
            if (missing := _needs(each, section) - known - {f"Conditions.{key}" for key in conditions})
        ]
        if not lost:
            break
        for section, name, lacking in lost:
            names = ", ".join(each.rpartition(".")[2] if each.startswith("Conditions.") else each for each in lacking)
            why = f"not carried over: it refers to {names[:200]}, which is not"
            do = "The address of the HTTP API is the output ApiUrl." if "ServerlessRestApi" in lacking else _OTHERWISE
            notes.append(Note(name if section == "Resources" else f"{section}.{name}", why, do))
        gone = {(section, name) for section, name, _ in lost}
        conditions = {name: each for name, each in conditions.items() if ("Conditions", name) not in gone}
        resources = {name: each for name, each in resources.items() if ("Resources", name) not in gone}
        outputs = {name: each for name, each in outputs.items() if ("Outputs", name) not in gone}
    used = {name for each in (conditions, resources, outputs) for name in references(each)}
    kept = {
        "Parameters": {name: each for name, each in parameters.items() if name in used},
        "Mappings": _table_of(template, "Mappings") if resources or outputs else {},
        "Conditions": renamed(conditions, ids),
        "Resources": {name: _renamed(each, ids) for name, each in resources.items()},
        "Outputs": renamed(outputs, ids),
    }
    for name, each in template.sections.get("Parameters", {}).items():
        if "Default" not in each:
            do = "Give it a Default and import again, or write its value where it is used."
            notes.append(
                Note(f"Parameters.{name}", "not carried over: it has no Default, and nothing gives it a value", do)
            )
    notes += _of_sections(template)
    return OwnResources({section: each for section, each in kept.items() if each}, tuple(notes))


def _renamed(resource: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = renamed(resource, ids)
    match made.get("DependsOn"):
        case str(name):
            made["DependsOn"] = ids.get(name, name)
        case list(names):
            made["DependsOn"] = [ids.get(name, name) for name in names]
    return made


def _table_of(template: Template, section: str) -> dict[str, Any]:
    found = template.sections.get(section, {})
    return dict(found) if isinstance(found, dict) else {}


def _needs(value: Any, section: str) -> set[str]:
    """What an entry refers to; conditions as ``Conditions.NAME``."""
    found = set(references(value))
    if isinstance(value, dict):
        depends = value.get("DependsOn", []) if section == "Resources" else []
        found |= {str(each) for each in (depends if isinstance(depends, list) else [depends])}
    return found | {f"Conditions.{name}" for name in _conditions_in(value)}


def _conditions_in(value: Any) -> set[str]:
    found: set[str] = set()
    match value:
        case {"Fn::If": [str(name), *rest]}:
            found = {name}.union(*(_conditions_in(each) for each in rest))
        case dict():
            condition = value.get("Condition")
            own = {condition} if isinstance(condition, str) else set()
            found = own.union(*(_conditions_in(each) for each in value.values()))
        case list():
            found = found.union(*(_conditions_in(each) for each in value))
    return found


def _table(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    """A simple table as SAM makes it; None for one with a property that this does not know."""
    properties = dict(resource.get("Properties", {}))
    key = properties.pop("PrimaryKey", {"Name": "id", "Type": "String"})
    if not isinstance(key, dict) or key.get("Type") not in ("String", "Number", "Binary"):
        return None
    known = ("PointInTimeRecoverySpecification", "ProvisionedThroughput", "SSESpecification", "TableName", "Tags")
    if set(properties) - set(known):
        return None
    tags = properties.pop("Tags", None)
    made = {
        "AttributeDefinitions": [{"AttributeName": key.get("Name"), "AttributeType": key["Type"][0]}],
        "KeySchema": [{"AttributeName": key.get("Name"), "KeyType": "HASH"}],
        **({} if "ProvisionedThroughput" in properties else {"BillingMode": "PAY_PER_REQUEST"}),
        **properties,
        **({"Tags": [{"Key": name, "Value": value} for name, value in tags.items()]} if isinstance(tags, dict) else {}),
    }
    return {**resource, "Type": "AWS::DynamoDB::Table", "Properties": made}


def _of_sections(template: Template) -> list[Note]:
    read = (
        "AWSTemplateFormatVersion", "Conditions", "Globals", "Mappings", "Outputs", "Parameters", "Resources",
        "Transform",
    )  # fmt: skip
    notes = [
        Note(
            str(section),
            f"{shown_json(value)} is not carried over",
            "Put what people should know into README.md.",
        )
        for section, value in template.sections.items()
        if section not in read
    ]
    transforms = template.sections.get("Transform", [])
    for each in transforms if isinstance(transforms, list) else []:
        if each != "AWS::Serverless-2016-10-31":
            notes.append(Note("Transform", f"{shown_json(each)} is not carried over", "Write out what it makes."))
    for kind, properties in template.sections.get("Globals", {}).items():
        if kind != "Function":
            notes.append(Note(f"Globals.{kind}", f"{shown_json(properties)} is not carried over", _OTHERWISE))
    return notes
