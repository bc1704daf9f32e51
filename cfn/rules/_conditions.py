"""The scenarios of a template: combinations of condition results, found by trying parameter values.

CloudFormation evaluates conditions before it creates anything, so a rule that sees one scenario at a time need not
handle ``Fn::If``. Each scenario comes from one assignment of parameter values, so a deployment can have it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_SCENARIOS = 64
_MAX_TRIES = 4096


def token(name: str) -> str:
    """The placeholder for a value that only the deployment knows: ``${Name}``."""
    return "${" + name + "}"


@dataclass(frozen=True)
class Scenario:
    """One combination of condition results.

    assignment  the parameter values that lead to it
    opaque      assumed results of comparisons that cannot be computed
    """

    decisions: Mapping[str, bool] = field(default_factory=dict)
    assignment: Mapping[str, Any] = field(default_factory=dict)
    opaque: Mapping[str, bool] = field(default_factory=dict)


Resolve = Callable[[Any, Scenario], Any]


def conditions_in(node: Any) -> set[str]:
    """Names of the conditions that ``Fn::If`` and ``Condition`` use anywhere inside a node."""
    found: set[str] = set()
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            chosen = here.get("Fn::If")
            if isinstance(chosen, list) and chosen and isinstance(chosen[0], str):
                found.add(str(chosen[0]))
            named = here.get("Condition")
            if isinstance(named, str):
                found.add(str(named))
            stack.extend(here.values())
        elif isinstance(here, list):
            stack.extend(here)
    return found


def scenarios(template: Mapping[str, Any], wanted: set[str], resolve: Resolve) -> list[Scenario]:
    """All distinct results of the ``wanted`` conditions, defaults first, at most MAX_SCENARIOS."""
    conditions = _mapping(template.get("Conditions"))
    names = sorted(name for name in _closure(conditions, wanted) if name in conditions)
    if not names:
        return [Scenario()]
    variables = _variables(template, [conditions[name] for name in names], resolve)
    seen: dict[tuple[bool | None, ...], Scenario] = {}
    for values in itertools.islice(_assignments(list(variables.values())), _MAX_TRIES):
        chosen = dict(zip(variables, values, strict=True))
        base = Scenario(
            assignment={k[1]: v for k, v in chosen.items() if k[0] == "parameter"},
            opaque={k[1]: v for k, v in chosen.items() if k[0] == "opaque"},
        )
        verdicts = {name: _decide(conditions[name], conditions, base, resolve, frozenset((name,))) for name in names}
        key = tuple(verdicts[name] for name in names)
        if key not in seen:
            decided = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
            seen[key] = Scenario(decided, base.assignment, base.opaque)
        if len(seen) >= MAX_SCENARIOS:
            break
    return list(seen.values())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _closure(conditions: Mapping[str, Any], wanted: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(conditions_in(conditions.get(name)))
    return reached


def _decide(
    node: Any, conditions: Mapping[str, Any], base: Scenario, resolve: Resolve, inside: frozenset[str]
) -> bool | None:
    """The result of a condition; None if it is malformed or refers to itself."""
    if not isinstance(node, dict) or len(node) != 1:
        return None
    ((operator, operand),) = node.items()
    if operator == "Condition" and isinstance(operand, str):
        if operand in inside or operand not in conditions:
            return None
        return _decide(conditions[operand], conditions, base, resolve, inside | {operand})
    if not isinstance(operand, list):
        return None
    if operator == "Fn::Equals" and len(operand) == 2:
        return _equal(operand, base, resolve)
    parts = [_decide(part, conditions, base, resolve, inside) for part in operand]
    if operator == "Fn::Not" and len(parts) == 1:
        return None if parts[0] is None else not parts[0]
    if operator == "Fn::And":
        return False if False in parts else None if None in parts else True
    if operator == "Fn::Or":
        return True if True in parts else None if None in parts else False
    return None


def _equal(operands: Sequence[Any], base: Scenario, resolve: Resolve) -> bool:
    left, right = (resolve(operand, base) for operand in operands)
    known = _compare(left, right, base)
    return base.opaque.get(_key(operands), False) if known is None else known


def _compare(left: Any, right: Any, base: Scenario) -> bool | None:
    if isinstance(left, (list, dict)) or isinstance(right, (list, dict)):
        return None
    left, right = _text(left), _text(right)
    if left == right:
        return True
    others = {value for name, value in base.assignment.items() if value == token(name)}
    if "${" in left and "${" in right:
        return None
    if left in others or right in others:
        return False  # "another value" stands for any value that no condition compares with
    return None if "${" in left or "${" in right else False


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(operands: Sequence[Any]) -> str:
    return json.dumps(list(operands), sort_keys=True, default=str)


def _equals_in(node: Any) -> Iterator[list[Any]]:
    if isinstance(node, dict):
        for operator, operand in node.items():
            if operator == "Fn::Equals" and isinstance(operand, list) and len(operand) == 2:
                yield operand
            else:
                yield from _equals_in(operand)
    elif isinstance(node, list):
        for part in node:
            yield from _equals_in(part)


def _refs_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, operand in node.items():
            if name == "Ref" and isinstance(operand, str):
                yield str(operand)
            else:
                yield from _refs_in(operand)
    elif isinstance(node, list):
        for part in node:
            yield from _refs_in(part)


def _variables(
    template: Mapping[str, Any], conditions: Sequence[Any], resolve: Resolve
) -> dict[tuple[str, str], list[Any]]:
    """The variables of a scenario: parameters with their values, and comparisons that cannot be computed."""
    parameters, mappings = _mapping(template.get("Parameters")), _mapping(template.get("Mappings"))
    comparisons = [pair for condition in conditions for pair in _equals_in(condition)]
    literals = {_text(side) for pair in comparisons for side in pair if isinstance(side, (str, int, float, bool))}
    variables: dict[tuple[str, str], list[Any]] = {}
    for pair in comparisons:
        for name in _refs_in(pair):
            definition = _mapping(parameters.get(name))
            allowed = definition.get("AllowedValues")
            values: list[Any] = [definition["Default"]] if "Default" in definition else []
            if isinstance(allowed, list) and allowed:
                values += allowed
            else:
                compared = sorted(literals) if _is_compared(pair, name) else []
                keys = sorted(str(key) for table in mappings.values() for key in _mapping(table))
                values += [token(name), *compared] + (keys if "Fn::FindInMap" in _key(pair) else [])
            scalars = [_text(value) for value in values if isinstance(value, (str, int, float, bool))]
            variables[("parameter", name)] = list(dict.fromkeys([*variables.get(("parameter", name), []), *scalars]))
    trial = Scenario(assignment={name: values[0] for (_, name), values in variables.items() if values})
    for pair in comparisons:
        if _compare(resolve(pair[0], trial), resolve(pair[1], trial), trial) is None:
            variables[("opaque", _key(pair))] = [False, True]
    return {name: values for name, values in variables.items() if values}


def _is_compared(pair: Sequence[Any], name: str) -> bool:
    """Whether one side of a comparison is the parameter itself, so the literals are possible values of it."""
    return any(isinstance(side, dict) and side.get("Ref") == name for side in pair)


def _assignments(choices: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield the defaults, then each variable varied alone, then each pair, then all combinations."""
    first = tuple(values[0] for values in choices)
    yield first
    for count in (1, 2):
        for indices in itertools.combinations(range(len(choices)), count):
            for values in itertools.product(*(choices[index][1:] for index in indices)):
                varied = list(first)
                for index, value in zip(indices, values, strict=True):
                    varied[index] = value
                yield tuple(varied)
    yield from itertools.product(*choices)
