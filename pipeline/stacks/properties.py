"""Evaluate properties of a template from its text and parameters.

CloudFormation reports old and new values of a change only in part, and the embedded AWS none. Values that only a
deployment knows (``Fn::GetAtt``, references to resources) stay as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_REFERENCE = re.compile(r"\$\{([^!}][^}]*)\}")


@dataclass(frozen=True, slots=True)
class Values:
    """A template and the values of its parameters. names: parameters and pseudo parameters."""

    template: Mapping[str, Any]
    names: Mapping[str, Any]

    @classmethod
    def of(cls, template_body: str, parameters: Mapping[str, str], stack_id: str) -> Values:
        """``stack_id`` (an ARN) gives account and region. A template that is not JSON evaluates to nothing."""
        try:
            template = json.loads(template_body)
        except ValueError:
            template = {}
        defaults = {name: each.get("Default", "") for name, each in template.get("Parameters", {}).items()}
        return cls(template, {**_pseudo_parameters(stack_id), **defaults, **parameters})

    def property(self, logical_id: str, name: str) -> Any:
        """One property of a resource; None if absent."""
        properties = self.template.get("Resources", {}).get(logical_id, {}).get("Properties", {})
        value = self.evaluate(properties.get(name))
        return None if value is _NO_VALUE else value

    def exists(self, logical_id: str) -> bool:
        """Whether the stack has the resource; False if its condition does not hold or is unknown."""
        condition = self.template.get("Resources", {}).get(logical_id, {}).get("Condition")
        return condition is None or self._holds({"Condition": condition}) is True

    def evaluate(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self.evaluate, value) if each is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), = value.items()  # fmt: skip
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, argument, value)
        evaluated = {key: self.evaluate(each) for key, each in value.items()}
        return {key: each for key, each in evaluated.items() if each is not _NO_VALUE}

    def _call(self, function: str, argument: Any, written: Any) -> Any:
        """The result of an intrinsic function, or ``written`` if only a deployment knows it."""
        match function, argument:
            case "Ref", "AWS::NoValue":
                return _NO_VALUE
            case "Ref", str():
                return self.names.get(argument, written)
            case "Fn::If", [str() as condition, yes, no]:
                holds = self._holds({"Condition": condition})
                return written if holds is None else self.evaluate(yes if holds else no)
            case "Fn::Sub", str():
                text = _REFERENCE.sub(lambda match: str(self.names.get(match[1], match[0])), argument)
                return {"Fn::Sub": text} if _REFERENCE.search(text) else text
            case "Fn::Join", [str() as separator, _]:
                parts = self.evaluate(argument[1])
                known = isinstance(parts, list) and all(isinstance(part, str | int) for part in parts)
                return separator.join(map(str, parts)) if known else {function: [separator, parts]}
            case "Fn::Split", [str() as separator, _]:
                text = self.evaluate(argument[1])
                return text.split(separator) if isinstance(text, str) else {function: [separator, text]}
            case "Fn::Select", [index, _]:
                choices = self.evaluate(argument[1])
                number = re.fullmatch("[0-9]{1,9}", str(index))
                known = isinstance(choices, list) and number is not None and int(index) < len(choices)
                return choices[int(index)] if known else {function: [index, choices]}
        return written

    def _holds(self, condition: Any) -> bool | None:
        """Whether a condition holds; None if unknown."""
        match condition:
            case {"Condition": str() as name}:
                return self._holds(self.template.get("Conditions", {}).get(name))
            case {"Fn::Equals": [left, right]}:
                left, right = self.evaluate(left), self.evaluate(right)
                return None if isinstance(left, dict) or isinstance(right, dict) else str(left) == str(right)
            case {"Fn::Not": [inner]}:
                holds = self._holds(inner)
                return None if holds is None else not holds
            case {"Fn::And": [*inner]}:
                return _combine([self._holds(each) for each in inner], decisive=False)
            case {"Fn::Or": [*inner]}:
                return _combine([self._holds(each) for each in inner], decisive=True)
        return None


def differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield (path, old, new) of the innermost differences, as text; None for an absent value."""
    if isinstance(before, dict) and isinstance(after, dict) and not is_call(before) and not is_call(after):
        for key in sorted({*before, *after}):
            yield from differences(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(f"{path}.{index}", old, new)
    elif before != after:
        yield path, _text(before), _text(after)


class _NoValue:
    """The value of ``AWS::NoValue``, which removes a property."""


_NO_VALUE = _NoValue()


def _combine(holds: list[bool | None], *, decisive: bool) -> bool | None:
    if decisive in holds:
        return decisive
    return None if None in holds else not decisive


def is_call(value: Mapping[str, Any]) -> bool:
    """Whether a value is an intrinsic function, which ``Values`` left as it is written."""
    return len(value) == 1 and all(key == "Ref" or key.startswith("Fn::") for key in value)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def _pseudo_parameters(stack_id: str) -> dict[str, str]:
    parts = stack_id.split(":")
    if len(parts) != 6:
        return {}
    _, partition, _, region, account, stack = parts
    return {
        "AWS::AccountId": account,
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::StackId": stack_id,
        "AWS::StackName": stack.split("/")[1] if "/" in stack else stack,
        "AWS::URLSuffix": "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
    }
