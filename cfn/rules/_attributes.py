"""Key attributes of tables that cfn-lint's E3039 does not check.

E3039 compares AttributeDefinitions with the keys of an AWS::DynamoDB::Table, but not if a name is an intrinsic
function. This rule covers global tables, and names built with Ref, Fn::Sub or Fn::If.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._template import Finding, Resource, TemplateRule, View, as_dict, as_list

_TABLES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")


class AttributeDefinitionsDiffer(TemplateRule):
    id = "E9570"
    shortdesc = "AttributeDefinitions are not exactly the key attributes of the table and its indexes"
    description = (
        "DynamoDB rejects an attribute definition that no key uses, and a key without a definition: 'Number of "
        "attributes in AttributeDefinitions does not exactly match'. Extends E3039 to global tables and computed names."
    )
    source_url = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-dynamodb-globaltable.html"
    tags = ("resources", "dynamodb")
    concerns = _TABLES

    def find(self, view: View) -> Iterator[Finding]:
        for table in view.resources(*_TABLES):
            if table.type == _TABLES[0] and not _has_computed_names(table):
                continue
            defined = _names(table.get("AttributeDefinitions"))
            used = _names(table.get("KeySchema"))
            for name in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes"):
                indexes = table.get(name)
                keys = [_names(as_dict(i).get("KeySchema")) for i in as_list(indexes)] if _is_list(indexes) else [None]
                used = None if used is None or None in keys else used.union(*(k for k in keys if k is not None))
            if defined is None or used is None:
                continue
            for names, fault in (
                (used - defined, "is used as a key but not defined"),
                (defined - used, "is defined but no key uses it"),
            ):
                for attribute in sorted(names):
                    yield Finding(table.at("AttributeDefinitions"), f"The attribute {attribute!r} {fault}")


def _is_list(value: Any) -> bool:
    return value is None or isinstance(value, list)


def _names(entries: Any) -> set[str] | None:
    """The attribute names; None if one is missing. Tokens count as names, because equal tokens are equal names."""
    if not isinstance(entries, list):
        return None
    names = [as_dict(entry).get("AttributeName") for entry in entries]
    return {str(name) for name in names} if all(isinstance(name, str) for name in names) else None


def _has_computed_names(node: Any) -> bool:
    if isinstance(node, Resource):
        return _has_computed_names(node.raw.get("Properties"))
    if isinstance(node, dict):
        return not isinstance(node.get("AttributeName", ""), str) or any(map(_has_computed_names, node.values()))
    return isinstance(node, list) and any(map(_has_computed_names, node))
