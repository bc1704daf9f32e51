"""DynamoDB's UpdateExpression: SET, REMOVE, ADD and DELETE, all read from the item as it was before.

Source: DynamoDB developer guide, "Using update expressions in DynamoDB".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from pipeline.verification.table.conditions import (
    Item,
    Names,
    Operand,
    Path,
    Tokens,
    ValidationError,
    at,
    kind,
    operand,
    path,
)

Change = tuple[Path, Callable[[Item], Any]]
"""Where, and what the attribute becomes; None removes it."""

_CLAUSES = ("SET", "REMOVE", "ADD", "DELETE")


def update(text: str, names: Names) -> Callable[[Item], dict[str, Any]]:
    """A function from an item to the updated item. Raises ValidationError for what DynamoDB refuses."""
    tokens, changes = Tokens(text), list[Change]()
    seen: set[str] = set()
    while tokens.peek():
        clause = tokens.take().upper()
        if clause not in _CLAUSES or clause in seen:
            raise ValidationError(f"Invalid UpdateExpression: syntax error at token {clause!r}")
        seen.add(clause)
        changes += _clause(clause, tokens, names)
    if not changes:
        raise ValidationError("Invalid UpdateExpression: the expression can not be empty")
    _check_overlap([place for place, _change in changes])

    def apply(item: Item) -> dict[str, Any]:
        after = copy.deepcopy(dict(item))
        # Values come from the item before the update; indexes of a list shift only after all were read.
        for place, value in [(place, change(item)) for place, change in changes]:
            _put(after, place, value)
        return {name: _without_holes(each) for name, each in after.items()}

    return apply


def _clause(clause: str, tokens: Tokens, names: Names) -> Iterator[Change]:
    while True:
        place = path(tokens, names)
        match clause:
            case "SET":
                tokens.take("=")
                yield place, _value(tokens, names)
            case "REMOVE":
                yield place, lambda _item: None
            case _:
                yield place, _arithmetic(clause, place, operand(tokens, names))
        if not tokens.taken(","):
            return


def _value(tokens: Tokens, names: Names) -> Operand:
    left = _term(tokens, names)
    if tokens.peek() not in ("+", "-"):
        return left
    sign = 1 if tokens.take() == "+" else -1
    right = _term(tokens, names)
    return lambda item: _number(_decimal(left(item)) + sign * _decimal(right(item)))


def _term(tokens: Tokens, names: Names) -> Operand:
    if tokens.peek() in ("if_not_exists", "list_append") and tokens.peek(1) == "(":
        function = tokens.take()
        tokens.take("(")
        first = _term(tokens, names)
        tokens.take(",")
        second = _term(tokens, names)
        tokens.take(")")
        if function == "if_not_exists":
            return lambda item: _or(first(item), second(item))
        return lambda item: {"L": [*_list(first(item)), *_list(second(item))]}
    read = operand(tokens, names)

    def given(item: Item) -> Any:
        return read(item)

    return given


def _or(first: Any, second: Any) -> Any:
    return second if first is None else first


def _list(value: Any) -> list[Any]:
    if value is None or kind(value) != "L":
        raise ValidationError("An operand in the update expression has an incorrect data type")
    return list(value["L"])


def _decimal(value: Any) -> Decimal:
    if value is None:
        raise ValidationError("The provided expression refers to an attribute that does not exist in the item")
    if kind(value) != "N":
        raise ValidationError("An operand in the update expression has an incorrect data type")
    return Decimal(value["N"])


def _number(value: Decimal) -> dict[str, str]:
    text = format(value, "f")
    return {"N": text.rstrip("0").rstrip(".") if "." in text else text}


def _arithmetic(clause: str, place: Path, given: Operand) -> Operand:
    def change(item: Item) -> Any:
        old, value = at(item, place), given(item)
        if clause == "ADD" and kind(value) == "N":
            return _number((_decimal(old) if old is not None else Decimal(0)) + Decimal(value["N"]))
        which = kind(value)
        if which not in ("SS", "NS", "BS") or (old is not None and kind(old) != which):
            raise ValidationError("An operand in the update expression has an incorrect data type")
        before = set(old[which]) if old is not None else set()
        after = before | set(value[which]) if clause == "ADD" else before - set(value[which])
        return {which: sorted(after)} if after else None

    return change


def _check_overlap(places: list[Path]) -> None:
    for number, one in enumerate(places):
        for other in places[number + 1 :]:
            if one[: len(other)] == other or other[: len(one)] == one:
                places_text = f"{list(one)} and {list(other)}"
                raise ValidationError(f"Invalid UpdateExpression: Two document paths overlap: {places_text}")


def _put(item: dict[str, Any], place: Path, value: Any) -> None:
    target: Any = item
    for number, step in enumerate(place[:-1]):
        below: Any = target[step] if isinstance(step, int) and step < len(target) else None
        below = target.get(step) if isinstance(target, dict) else below
        which = "L" if isinstance(place[number + 1], int) else "M"
        if below is None or which not in below:
            if value is None:
                return
            raise ValidationError("The document path provided in the update expression is invalid for update")
        target = below[which]
    last = place[-1]
    if isinstance(last, int):
        if last < len(target):
            target[last] = value
        elif value is not None:
            target.append(value)
    elif value is None:
        target.pop(last, None)
    else:
        target[last] = value


def _without_holes(value: Any) -> Any:
    """Lists without the elements that were removed."""
    if isinstance(value, dict):
        return {name: _without_holes(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_holes(each) for each in value if each is not None]
    return value
