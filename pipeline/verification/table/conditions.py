"""DynamoDB's expressions, exactly: conditions and updates over items with typed attribute values.

    condition = Condition.parse("attribute_not_exists(id) OR version < :now")
    condition.holds(item, names, values)

An item maps attribute names to typed values as the API has them: ``{"status": {"S": "DECIDED"}}``. Every kind of
operand, comparison and function of the expression language is here; a text that DynamoDB would refuse raises
ValidationError, as would a value or a name that no expression uses.

Source: DynamoDB developer guide, "Condition and filter expressions, operators, and functions" and "Update expressions".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Item = Mapping[str, Any]
Path = tuple[str | int, ...]


class ValidationError(Exception):
    """``ValidationException``: a request that DynamoDB refuses whatever the table holds."""


_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>(),+\-.\[\]])|([#:]?[A-Za-z_][A-Za-z0-9_]*|[#:][0-9A-Za-z_]+)|(\d+))")
_CONDITION_FUNCTIONS = {
    "attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2, "size": 1,
}  # fmt: skip


@dataclass(slots=True)
class Names:
    """What ``#name`` and ``:value`` stand for; remembers which were used, because DynamoDB refuses the others."""

    names: Mapping[str, str]
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def name(self, token: str) -> str:
        if not token.startswith("#"):
            return token
        self.used.add(token)
        if token not in self.names:
            raise ValidationError(f"An expression attribute name used in the document path is not defined: {token}")
        return self.names[token]

    def value(self, token: str) -> Any:
        self.used.add(token)
        if token not in self.values:
            raise ValidationError(f"An expression attribute value used in expression is not defined: {token}")
        return self.values[token]

    def check_all_used(self) -> None:
        for what, given in (("Names", self.names), ("Values", self.values)):
            if unused := sorted(set(given) - self.used):
                raise ValidationError(
                    f"Value provided in ExpressionAttribute{what} unused in expressions: {', '.join(unused)}"
                )


class Tokens:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, _tokens(text), 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def word(self) -> str:
        return self.peek().upper()

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token.upper() != expected):
            raise ValidationError(
                f"Invalid expression: expected {expected or 'more'} at token {token!r} in {self.text!r}"
            )
        self.at += 1
        return token

    def taken(self, word: str) -> bool:
        if self.word() == word:
            self.at += 1
            return True
        return False


@functools.lru_cache
def _tokens(text: str) -> tuple[str, ...]:
    tokens, place = [], 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if not found:
            raise ValidationError(f"Invalid expression: syntax error at {text[place : place + 20]!r}")
        tokens.append(found[1] or found[2] or found[3])
        place = found.end()
    return tuple(tokens)


Operand = Callable[[Item], Any]
Test = Callable[[Item], bool]


def condition(text: str, names: Names) -> Test:
    """A test of an item. Raises ValidationError for a text that is no condition."""
    tokens = Tokens(text)
    test = _either(tokens, names)
    if tokens.peek():
        raise ValidationError(f"Invalid ConditionExpression: syntax error at token {tokens.peek()!r}")
    return test


def _either(tokens: Tokens, names: Names) -> Test:
    tests = [_both(tokens, names)]
    while tokens.taken("OR"):
        tests.append(_both(tokens, names))
    return tests[0] if len(tests) == 1 else lambda item: any(test(item) for test in tests)


def _both(tokens: Tokens, names: Names) -> Test:
    tests = [_not(tokens, names)]
    while tokens.taken("AND"):
        tests.append(_not(tokens, names))
    return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)


def _not(tokens: Tokens, names: Names) -> Test:
    if tokens.taken("NOT"):
        test = _not(tokens, names)
        return lambda item: not test(item)
    if tokens.peek() == "(":
        tokens.take()
        test = _either(tokens, names)
        tokens.take(")")
        return test
    return _comparison(tokens, names)


def _comparison(tokens: Tokens, names: Names) -> Test:
    function = tokens.peek()
    if tokens.peek(1) == "(" and function != "size":
        return _function(tokens, names)
    left = operand(tokens, names)
    if tokens.taken("BETWEEN"):
        low = operand(tokens, names)
        tokens.take("AND")
        high = operand(tokens, names)
        return lambda item: compare("<=", low(item), left(item)) and compare("<=", left(item), high(item))
    if tokens.taken("IN"):
        tokens.take("(")
        choices = [operand(tokens, names)]
        while tokens.taken(","):
            choices.append(operand(tokens, names))
        tokens.take(")")
        return lambda item: any(compare("=", left(item), choice(item)) for choice in choices)
    operator = tokens.take()
    if operator not in ("=", "<>", "<", "<=", ">", ">="):
        raise ValidationError(f"Invalid ConditionExpression: syntax error at token {operator!r}")
    right = operand(tokens, names)
    return lambda item: compare(operator, left(item), right(item))


def _function(tokens: Tokens, names: Names) -> Test:
    name = tokens.take()
    if name not in _CONDITION_FUNCTIONS:
        raise ValidationError(f"Invalid ConditionExpression: invalid function name: {name}")
    tokens.take("(")
    first = operand(tokens, names, path_only=name != "size")
    second: Operand | None = None
    if _CONDITION_FUNCTIONS[name] == 2:
        tokens.take(",")
        second = operand(tokens, names)
    tokens.take(")")
    match name:
        case "attribute_exists":
            return lambda item: first(item) is not None
        case "attribute_not_exists":
            return lambda item: first(item) is None
    wanted = second or first
    if name == "attribute_type":
        return lambda item: first(item) is not None and kind(first(item)) == wanted(item)["S"]
    if name == "begins_with":
        return lambda item: _begins(first(item), wanted(item))
    return lambda item: _contains(first(item), wanted(item))


def operand(tokens: Tokens, names: Names, *, path_only: bool = False) -> Operand:
    """A path, a ``:value``, or size(path); None where an item has no such attribute."""
    word = tokens.peek()
    if word.startswith(":") and not path_only:
        value = names.value(tokens.take())
        return lambda _item: value
    if word == "size" and tokens.peek(1) == "(":
        tokens.take()
        tokens.take("(")
        place = path(tokens, names)
        tokens.take(")")
        return lambda item: _size(at(item, place))
    place = path(tokens, names)
    return lambda item: at(item, place)


def path(tokens: Tokens, names: Names) -> Path:
    """``a.b[1]`` as ("a", "b", 1)."""
    token = tokens.take()
    if not re.fullmatch(r"#?[A-Za-z_0-9]+", token):
        raise ValidationError(f"Invalid expression: syntax error at token {token!r}")
    steps: list[str | int] = [names.name(token)]
    while tokens.peek() in (".", "["):
        if tokens.take() == ".":
            steps.append(names.name(tokens.take()))
        else:
            steps.append(int(tokens.take()))
            tokens.take("]")
    return tuple(steps)


# --- values -----------------------------------------------------------------------------------------------------------


def kind(value: Any) -> str:
    """The type of an attribute value: "S", "N", "M" …"""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValidationError(
            f"Supplied AttributeValue must contain exactly one of the supported datatypes, saw: {value!r}"
        )
    return str(next(iter(value)))


def at(item: Item, place: Path) -> Any:
    """The attribute value under ``place``, or None."""
    value: Any = item.get(str(place[0]))
    for step in place[1:]:
        if not isinstance(value, dict):
            return None
        if isinstance(step, int):
            inner = value.get("L", [])
            value = inner[step] if step < len(inner) else None
        else:
            value = value.get("M", {}).get(step)
    return value


def compare(operator: str, left: Any, right: Any) -> bool:
    """False where an attribute is missing, except for ``<>``; no order between two types."""
    if left is None or right is None:
        return operator == "<>" and (left is None) != (right is None)
    same = kind(left) == kind(right)
    if operator in ("=", "<>"):
        return (same and _plain(left) == _plain(right)) is (operator == "=")
    if not same or kind(left) not in ("S", "N", "B"):
        return False
    first, second = _plain(left), _plain(right)
    match operator:
        case "<":
            return bool(first < second)
        case "<=":
            return bool(first <= second)
        case ">":
            return bool(first > second)
        case _:
            return bool(first >= second)


def _plain(value: Any) -> Any:
    """Something that Python compares as DynamoDB does: numbers exactly, text by its UTF-8 bytes, sets without order."""
    match kind(value):
        case "N":
            return Decimal(value["N"])
        case "S":
            return value["S"].encode()
        case "SS" | "BS":
            return frozenset(value[kind(value)])
        case "NS":
            return frozenset(Decimal(each) for each in value["NS"])
        case "L":
            return [(kind(each), _plain(each)) for each in value["L"]]
        case "M":
            return {name: (kind(each), _plain(each)) for name, each in value["M"].items()}
        case other:
            return value[other]


def _size(value: Any) -> Any:
    if value is None:
        return None
    match kind(value):
        case "S":
            return {"N": str(len(value["S"].encode()))}
        case "N" | "BOOL" | "NULL":
            raise ValidationError(f"Invalid operand type for size: {kind(value)}")
        case other:
            return {"N": str(len(value[other]))}


def _begins(value: Any, prefix: Any) -> bool:
    if value is None or kind(value) != kind(prefix) or kind(value) not in ("S", "B"):
        return False
    return bool(value[kind(value)].startswith(prefix[kind(prefix)]))


def _contains(value: Any, part: Any) -> bool:
    if value is None:
        return False
    match kind(value):
        case "S":
            return kind(part) == "S" and part["S"] in value["S"]
        case "SS" | "NS" | "BS":
            return f"{kind(part)}S" == kind(value) and _plain(part) in {
                _plain({kind(part): each}) for each in value[kind(value)]
            }
        case "L":
            return any(compare("=", each, part) for each in value["L"])
        case _:
            return False
