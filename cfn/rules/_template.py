"""Resolve a template for the rules: one scenario at a time, with intrinsic functions evaluated as far as possible.

Resolved values are plain JSON. Values that only the deployment knows become tokens: ``Ref: Topic`` becomes
``${Topic}``, ``Fn::GetAtt: [Role, Arn]`` becomes ``${Role.Arn}``, whether written with Ref, Fn::Sub or Fn::Join. Texts
with the same tokens are equal; otherwise a text with a token is unknown, and rules report nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from ._conditions import Scenario, conditions_in, scenarios, token

_TOKEN = re.compile(r"\$\{([^}]*)\}")
_MAX_DEPTH = 60
# Transforms whose effect is visible in the raw template; any other macro may add, change or remove anything.
_READABLE_TRANSFORMS = frozenset({"AWS::Serverless-2016-10-31", "AWS::LanguageExtensions"})
_SAM_GLOBALS = {"AWS::Serverless::Function": "Function", "AWS::Serverless::StateMachine": "StateMachine"}

FUNCTIONS = ("AWS::Lambda::Function", "AWS::Serverless::Function")
STATE_MACHINES = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
CUSTOM_RESOURCE = "AWS::CloudFormation::CustomResource"


class _Nothing:
    """``AWS::NoValue``: the property is absent."""


NOTHING = _Nothing()


def is_known(value: Any) -> bool:
    """Whether a resolved text contains no token, so the template alone determines it."""
    return not isinstance(value, str) or "${" not in value


def tokens(value: Any) -> set[str]:
    """Logical ids and parameters that a resolved value depends on: ``arn:${A::B}:x/${Table.Arn}`` → ``Table``."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return {name.split(".", 1)[0] for name in _TOKEN.findall(text)}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """A resolved scalar as text; "" for anything else."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else ""


def is_true(value: Any) -> bool:
    return text(value).lower() == "true"


def number(value: Any) -> int | None:
    return int(text(value)) if re.fullmatch(r"-?\d{1,12}", text(value)) else None


@dataclass(frozen=True)
class Resource:
    """A resource in a scenario. properties: resolved; raw: as written."""

    id: str
    type: str
    properties: dict[str, Any]
    raw: Mapping[str, Any]

    @property
    def path(self) -> list[str | int]:
        return ["Resources", self.id]

    def at(self, *inside: str | int) -> list[str | int]:
        return ["Resources", self.id, "Properties", *inside]

    def get(self, name: str) -> Any:
        return self.properties.get(name)

    @property
    def depends_on(self) -> set[str]:
        """Logical ids that this resource refers to or names in DependsOn."""
        return tokens(self.properties) | {text(name) for name in as_list(self.raw.get("DependsOn"))}


@dataclass(frozen=True)
class Finding:
    path: list[str | int]
    message: str


@dataclass
class View:
    """A template in one scenario."""

    template: Mapping[str, Any]
    scenario: Scenario = field(default_factory=Scenario)

    @cached_property
    def all(self) -> dict[str, Resource]:
        found = {}
        for name, raw in as_dict(self.template.get("Resources")).items():
            if not isinstance(raw, dict) or not isinstance(raw.get("Type"), str):
                continue
            if self.scenario.decisions.get(str(raw.get("Condition")), True):
                properties = {**self._globals(raw), **as_dict(self.resolve(raw.get("Properties")))}
                found[str(name)] = Resource(str(name), str(raw["Type"]), properties, raw)
        return found

    def _globals(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Properties that SAM adds from Globals, except those that the resource ignores."""
        section = _SAM_GLOBALS.get(str(raw["Type"]))
        shared = as_dict(as_dict(self.template.get("Globals")).get(section)) if section else {}
        ignored = as_list(raw.get("IgnoreGlobals"))
        return {k: v for k, v in as_dict(self.resolve(shared)).items() if k not in ignored and "*" not in ignored}

    def resources(self, *types: str) -> list[Resource]:
        return [resource for resource in self.all.values() if resource.type in types]

    def target(self, value: Any, *types: str) -> Resource | None:
        """The resource that a value refers to, by reference or attribute, if it has one of these types."""
        match = _TOKEN.fullmatch(value) if isinstance(value, str) else None
        found = self.all.get(match[1].split(".", 1)[0]) if match else None
        return found if found and (not types or found.type in types) else None

    def named(self, value: Any, name_property: str, *types: str) -> Resource | None:
        """Like ``target``, but also by the value of the property ``name_property``."""
        found = self.target(value, *types)
        if found or not isinstance(value, str) or not value:
            return found
        return next((r for r in self.resources(*types) if r.get(name_property) == value), None)

    @cached_property
    def is_complete(self) -> bool:
        """Whether no macro, include or module can add resources or properties."""
        transforms = {text(name) for name in as_list(self.template.get("Transform"))}
        resources = as_dict(self.template.get("Resources"))
        return (
            transforms <= _READABLE_TRANSFORMS
            and not any("::MODULE" in text(as_dict(r).get("Type")) for r in resources.values())
            and '"Fn::Transform"' not in json.dumps(resources, default=str)
        )

    def depends(self, resource: Resource) -> set[str]:
        """The transitive dependencies of a resource."""
        reached: set[str] = set()
        waiting = [resource.id]
        while waiting:
            here = self.all.get(waiting.pop())
            for name in (here.depends_on if here else set()) - reached:
                reached.add(name)
                waiting.append(name)
        return reached

    def resolve(self, node: Any, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            return token("too-deep")
        if isinstance(node, dict):
            if len(node) == 1:
                ((name, operand),) = node.items()
                if name == "Ref" or name == "Condition" or str(name).startswith("Fn::"):
                    return self._intrinsic(str(name), operand, depth + 1)
            pairs = ((str(key), self.resolve(value, depth + 1)) for key, value in node.items())
            return {key: value for key, value in pairs if value is not NOTHING}
        if isinstance(node, list):
            return [item for item in (self.resolve(part, depth + 1) for part in node) if item is not NOTHING]
        if isinstance(node, str):
            return str(node)
        return node if isinstance(node, (bool, int, float)) or node is None else str(node)

    def _intrinsic(self, name: str, operand: Any, depth: int) -> Any:
        if name == "Condition":
            # {"Condition": …} may also be an ordinary object, such as in a state machine.
            return {"Condition": self.resolve(operand, depth)}
        handler = _INTRINSICS.get(name)
        value = handler(self, operand, depth) if handler else None
        return self._unknown(name, operand) if value is None else value

    def _unknown(self, name: str, operand: Any) -> str:
        # Equal expressions give equal tokens.
        written = json.dumps(operand, sort_keys=True, default=str)
        return token(f"{name}#{hashlib.sha256(written.encode()).hexdigest()[:12]}")

    def _ref(self, operand: Any, _depth: int) -> Any:
        if not isinstance(operand, str):
            return None
        if operand == "AWS::NoValue":
            return NOTHING
        definition = as_dict(as_dict(self.template.get("Parameters")).get(operand))
        kind = text(definition.get("Type"))
        value = self.scenario.assignment.get(operand, definition.get("Default"))
        # The default of an SSM parameter type is the name of the parameter, not its value.
        if kind.startswith("AWS::SSM::Parameter::Value") or not isinstance(value, (str, int, float)):
            return token(operand)
        value = text(value)
        is_list = kind == "CommaDelimitedList" or kind.startswith("List<")
        return [part.strip() for part in value.split(",")] if is_list and is_known(value) else value

    def _get_att(self, operand: Any, depth: int) -> Any:
        parts = operand.split(".", 1) if isinstance(operand, str) else self.resolve(operand, depth)
        return token(".".join(map(text, parts))) if isinstance(parts, list) and len(parts) == 2 else None

    def _if(self, operand: Any, depth: int) -> Any:
        if not isinstance(operand, list) or len(operand) != 3 or not isinstance(operand[0], str):
            return None
        decided = self.scenario.decisions.get(operand[0])
        return None if decided is None else self.resolve(operand[1 if decided else 2], depth)

    def _sub(self, operand: Any, depth: int) -> Any:
        local: dict[str, Any] = {}
        if isinstance(operand, list) and len(operand) == 2:
            local, operand = as_dict(operand[1]), operand[0]
        if not isinstance(operand, str):
            return None

        def put(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name.startswith("!"):
                return token(name[1:])
            value = self.resolve(local.get(name, {"Ref": name}), depth)
            return text(value) if isinstance(value, (str, int, float)) else token(name)

        return _TOKEN.sub(put, operand)

    def _join(self, operand: Any, depth: int) -> Any:
        parts = self.resolve(operand, depth)
        if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[1], list):
            return None
        if not all(isinstance(part, (str, int, float)) for part in parts[1]):
            return None
        return text(parts[0]).join(map(text, parts[1]))

    def _select(self, operand: Any, depth: int) -> Any:
        parts = self.resolve(operand, depth)
        if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[1], list):
            return None
        index = number(parts[0])
        return parts[1][index] if index is not None and 0 <= index < len(parts[1]) else None

    def _split(self, operand: Any, depth: int) -> Any:
        parts = self.resolve(operand, depth)
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            return None
        return parts[1].split(parts[0]) if is_known(parts[1]) else None

    def _find_in_map(self, operand: Any, depth: int) -> Any:
        keys = self.resolve(operand, depth)
        if not isinstance(keys, list) or len(keys) < 3:
            return None
        found: Any = self.template.get("Mappings")
        for key in keys[:3]:
            found = {str(k): v for k, v in as_dict(found).items()}.get(text(key))
        return self.resolve(found, depth) if found is not None else None

    def _to_json(self, operand: Any, depth: int) -> Any:
        return json.dumps(self.resolve(operand, depth), default=str)


_INTRINSICS: dict[str, Callable[[View, Any, int], Any]] = {
    "Ref": View._ref,
    "Fn::GetAtt": View._get_att,
    "Fn::If": View._if,
    "Fn::Sub": View._sub,
    "Fn::Join": View._join,
    "Fn::Select": View._select,
    "Fn::Split": View._split,
    "Fn::FindInMap": View._find_in_map,
    "Fn::ToJsonString": View._to_json,
}


def conditions_of(template: Mapping[str, Any], concerns: tuple[str, ...]) -> set[str]:
    """Conditions that affect resources of these types; () means all types, and ``AWS::IAM::*`` a family."""
    wanted: set[str] = set()
    for resource in as_dict(template.get("Resources")).values():
        kind = text(as_dict(resource).get("Type"))
        if not concerns or any(kind == c or (c.endswith("*") and kind.startswith(c[:-1])) for c in concerns):
            wanted |= conditions_in(resource)
    return wanted


def views(template: Mapping[str, Any], conditions: set[str]) -> list[View]:
    """One view for each combination of these conditions."""
    found = scenarios(template, conditions, lambda node, scenario: View(template, scenario).resolve(node))
    return [View(template, scenario) for scenario in found]


# Most rules need the views of the same conditions.
_SEEN: WeakKeyDictionary[Any, dict[frozenset[str], list[View]]] = WeakKeyDictionary()


class TemplateRule(CloudFormationLintRule):  # type: ignore[misc]
    """Base of the rules. ``find`` is called per scenario; ``concerns`` are the resource types that it reads.

    A finding that depends on conditions names them. A rule that needs all scenarios at once overrides ``find_all``.
    """

    concerns: tuple[str, ...] = ()

    def find(self, view: View) -> Iterator[Finding]:  # noqa: ARG002 (what rules override)
        yield from ()

    def find_all(self, seen: list[View]) -> Iterator[tuple[View, Finding]]:
        for view in seen:
            for finding in self.find(view):
                yield view, finding

    def match(self, cfn: Any) -> list[Any]:
        template = as_dict(cfn.template)
        conditions = conditions_of(template, self.concerns)
        kept = _SEEN.setdefault(cfn, {})
        seen = kept.get(frozenset(conditions)) or views(template, conditions)
        kept[frozenset(conditions)] = seen
        where: dict[tuple[str, str], tuple[Finding, list[View]]] = {}
        for view, finding in self.find_all(seen):
            key = (json.dumps(finding.path), finding.message)
            where.setdefault(key, (finding, []))[1].append(view)
        return [
            RuleMatch(finding.path, finding.message + _circumstances(firing, len(seen)))
            for finding, firing in where.values()
        ]


def _circumstances(firing: list[View], total: int) -> str:
    if len(firing) >= total:
        return ""
    common = set(firing[0].scenario.decisions.items())
    for view in firing[1:]:
        common &= set(view.scenario.decisions.items())
    named = [f"{name} is {'true' if decided else 'false'}" for name, decided in sorted(common)]
    return f" (when {' and '.join(named[:4])})" if named else ""
