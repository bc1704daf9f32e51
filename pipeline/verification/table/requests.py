"""A DynamoDB table as the model has it: requests are pure functions from a table to a result and the next table.

Modelled: GetItem, PutItem, UpdateItem, DeleteItem with their conditions, updates and ReturnValues, on a table with a
partition key. Reads are taken as consistent. Not modelled: Query, Scan, batches and transactions of several items,
sort keys, indexes, sizes and quotas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.verification.table.conditions import Names, ValidationError, condition
from pipeline.verification.table.updates import update

ACTIONS = ("getItem", "putItem", "updateItem", "deleteItem")
CONDITION_FAILED, VALIDATION = "ConditionalCheckFailedException", "ValidationException"

Table = Mapping[str, Mapping[str, Any]]
"""Items by their key's text; see ``key_text``."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What DynamoDB answers instead of a result. error: the exception's name without its service."""

    error: str
    cause: str


def key_text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"))


def request_key(action: str, arguments: Mapping[str, Any], key_names: tuple[str, ...]) -> Mapping[str, Any]:
    """The key that a request is about. Raises ValidationError where it has none."""
    if action != "putItem":
        key = arguments.get("Key")
    else:
        item = arguments.get("Item")
        key = {name: item[name] for name in key_names if name in item} if isinstance(item, dict) else None
    if not isinstance(key, dict) or set(key) != set(key_names):
        raise ValidationError(f"The provided key element does not match the schema, saw: {key!r}")
    for value in key.values():
        if (
            not isinstance(value, dict)
            or list(value) not in (["S"], ["N"], ["B"])
            or not all(isinstance(each, str) for each in value.values())
        ):
            raise ValidationError(f"The provided key is no text, number or binary value, saw: {value!r}")
        if value in ({"S": ""}, {"B": ""}):
            raise ValidationError("One or more parameter values are not valid. The key has an empty string value")
    return key


def run(
    action: str, arguments: Mapping[str, Any], table: Table, key_names: tuple[str, ...]
) -> tuple[Any | Refusal, Table]:
    """The response of one request and the table after it."""
    try:
        return _run(action, arguments, table, key_names)
    except ValidationError as error:
        return Refusal(VALIDATION, str(error)), table


def _run(
    action: str, arguments: Mapping[str, Any], table: Table, key_names: tuple[str, ...]
) -> tuple[Any | Refusal, Table]:
    key = request_key(action, arguments, key_names)
    place = key_text(key)
    old = table.get(place)
    if action == "getItem":
        return ({"Item": old} if old is not None else {}), table
    names = Names(arguments.get("ExpressionAttributeNames", {}), arguments.get("ExpressionAttributeValues", {}))
    for value in names.values.values():
        _check_value(value)
    holds = condition(arguments["ConditionExpression"], names) if "ConditionExpression" in arguments else None
    change = (
        update(arguments["UpdateExpression"], names)
        if action == "updateItem" and "UpdateExpression" in arguments
        else None
    )
    names.check_all_used()
    if holds is not None and not holds(old or {}):
        return Refusal(CONDITION_FAILED, "The conditional request failed"), table
    new: Mapping[str, Any] | None
    match action:
        case "putItem":
            for value in arguments["Item"].values():
                _check_value(value)
            new = arguments["Item"]
        case "deleteItem":
            new = None
        case _:
            new = {**key, **(change(old or key) if change else old or {})}
            if any(new.get(name) != key[name] for name in key_names):
                raise ValidationError("Cannot update attribute that is part of the key")
    after = {name: item for name, item in table.items() if name != place}
    if new is not None:
        after[place] = dict(sorted(new.items()))
    returned = {"ALL_NEW": new, "ALL_OLD": old, "UPDATED_NEW": new, "UPDATED_OLD": old}.get(
        arguments.get("ReturnValues", "NONE")
    )
    return ({"Attributes": returned} if returned else {}), dict(sorted(after.items()))


_TYPES: dict[str, Any] = {
    "S": str, "N": str, "B": str, "BOOL": bool, "NULL": bool, "M": dict, "L": list, "SS": list, "NS": list, "BS": list,
}  # fmt: skip


def _check_value(value: Any) -> None:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _TYPES:
        raise ValidationError(f"Supplied AttributeValue has no supported datatype, saw: {value!r}")
    ((which, inner),) = value.items()
    if not isinstance(inner, _TYPES[which]):
        raise ValidationError(f"Supplied AttributeValue is no {which}, saw: {inner!r}")
