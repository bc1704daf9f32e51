"""Values of a template as text: parameters are replaced by their defaults, and references stay substitutions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfn.calls import PSEUDO_PARAMETERS

_IN_SUB = re.compile(r"\$\{(?P<literal>!?)(?P<name>[^}.!]+)(?P<attribute>\.[^}]+)?\}")


class Unknown(ValueError):
    """A value that only a deployment of the template has. The message is the rest of a sentence: "it …"."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is not carried over. place: its path in the template; why: a sentence; do: what to do by hand."""

    place: str
    why: str
    do: str


def shown_json(value: Any) -> str:
    """A value of a template for a message; YAML also has dates."""
    return json.dumps(value, default=str)[:200]


@dataclass(slots=True)
class Values:
    """Resolves values of one template.

    parameters  the defaults of its parameters, for those that have one
    ids         logical ids of the template → those of the same resources in the pipeline stack
    taken       the parameters whose default became part of a value
    """

    parameters: Mapping[str, Any]
    ids: Mapping[str, str]
    taken: set[str] = field(default_factory=set)

    def plain(self, value: Any) -> Any:
        """A value without references. Raises Unknown."""
        match value:
            case {"Ref": str(name), **rest} if not rest and name in self.parameters:
                self.taken.add(name)
                return self.parameters[name]
            case dict() if function := function_of(value):
                raise Unknown(f"it uses {function}")
            case dict():
                return {key: self.plain(each) for key, each in value.items()}
            case list():
                return [self.plain(each) for each in value]
        return value

    def text(self, value: Any) -> str:
        """A value as the text of a substitution, where ``${!`` is a literal ``${``. Raises Unknown."""
        match value:
            case bool():
                return "true" if value else "false"
            case str() | int() | float():
                return str(value).replace("${", "${!")
            case {"Ref": str(name), **rest} if not rest:
                return self._reference(name, "")
            case {"Fn::GetAtt": [str(name), *attribute], **rest} if not rest:
                return self._reference(name, "." + ".".join(map(self._attribute, attribute)))
            case {"Fn::Sub": str(text), **rest} if not rest:
                return self._substituted(text, {})
            case {"Fn::Sub": [str(text), dict(own)], **rest} if not rest:
                return self._substituted(text, own)
            case {"Fn::Join": [str(separator), list(parts)], **rest} if not rest:
                return separator.replace("${", "${!").join(map(self.text, parts))
        raise Unknown(f"it uses {function_of(value)}" if function_of(value) else "it is no text")

    def _attribute(self, value: Any) -> str:
        if not isinstance(value, str):
            raise Unknown("it uses an attribute that is not text")
        return value

    def _substituted(self, text: str, own: Mapping[str, Any]) -> str:
        def part(found: re.Match[str]) -> str:
            if found["literal"]:
                return found[0]
            if found["attribute"] is None and found["name"] in own:
                return self.text(own[found["name"]])
            return self._reference(found["name"], found["attribute"] or "")

        return _IN_SUB.sub(part, text)

    def _reference(self, name: str, attribute: str) -> str:
        if not attribute and name in self.parameters:
            self.taken.add(name)
            return self.text(self.parameters[name])
        if not attribute and name in PSEUDO_PARAMETERS:
            return f"${{{name}}}"
        if name not in self.ids:
            raise Unknown(f"it refers to {name}, which is not carried over")
        return f"${{{self.ids[name]}{attribute}}}"


def function_of(value: Any) -> str:
    """The intrinsic function that a value is a call of; "" for none."""
    if isinstance(value, dict) and len(value) == 1:
        (key,) = value
        if key in ("Ref", "Condition") or str(key).startswith("Fn::"):
            return str(key)
    return ""


def references(value: Any) -> Iterator[str]:
    """The names that a value refers to: by Ref, Fn::GetAtt, Fn::Sub and DependsOn."""
    match value:
        case {"Ref": str(name)} if len(value) == 1:
            yield name
        case {"Fn::GetAtt": [str(name), *_]} if len(value) == 1:
            yield name
        case {"Fn::Sub": [str(text), dict(own)]} if len(value) == 1:
            yield from (name for name in _names_in(text) if name not in own)
            yield from references(list(own.values()))
        case {"Fn::Sub": str(text)} if len(value) == 1:
            yield from _names_in(text)
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def renamed(value: Any, ids: Mapping[str, str]) -> Any:
    """A value whose references name the resources of the pipeline stack."""

    def part(found: re.Match[str]) -> str:
        if found["literal"]:
            return found[0]
        return f"${{{ids.get(found['name'], found['name'])}{found['attribute'] or ''}}}"

    match value:
        case {"Ref": str(name)} if len(value) == 1:
            return {"Ref": ids.get(name, name)}
        case {"Fn::GetAtt": [str(name), *attribute]} if len(value) == 1:
            return {"Fn::GetAtt": [ids.get(name, name), *attribute]}
        case {"Fn::Sub": [str(text), dict(own)]} if len(value) == 1:
            outer = {key: each for key, each in ids.items() if key not in own}
            return {"Fn::Sub": [_IN_SUB.sub(lambda each: each[0] if each["name"] not in outer else part(each), text),
                                renamed(own, ids)]}  # fmt: skip
        case {"Fn::Sub": str(text)} if len(value) == 1:
            return {"Fn::Sub": _IN_SUB.sub(part, text)}
        case dict():
            return {key: renamed(each, ids) for key, each in value.items()}
        case list():
            return [renamed(each, ids) for each in value]
    return value


def _names_in(text: str) -> Iterator[str]:
    yield from (found["name"] for found in _IN_SUB.finditer(text) if not found["literal"])
