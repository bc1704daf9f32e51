"""State machine definitions of a template, in any form.

``Definition`` as an object, ``DefinitionString`` as a literal or built with Fn::Sub, Fn::Join or Fn::ToJsonString, with
or without ``DefinitionSubstitutions``, become a parsed definition, or None if only the deployment knows it. Structure:
Amazon States Language, https://states-language.net/spec.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._template import FUNCTIONS, STATE_MACHINES, Resource, View, as_dict, as_list, is_known, text

_UNQUOTED = re.compile(r"(?<=[:\[,\s])(\$\{[^}]*\})(?=\s*[,\]}])")
_INTEGRATION = re.compile(r"arn:(?:aws[a-z-]*|\$\{AWS::Partition\}):states:::(.+)")
_FUNCTION_ARN = re.compile(r"arn:[^:]+(?:::Partition\})?:lambda:.*:function:.+")


@dataclass(frozen=True)
class Integration:
    """The parts of ``arn:aws:states:::aws-sdk:dynamodb:query.waitForTaskToken``."""

    service: str
    action: str
    sdk: bool
    pattern: str  # "", "sync", "sync:2" or "waitForTaskToken"


@dataclass(frozen=True)
class State:
    """One state. is_caught: it, or a Parallel or Map around it, has a Catch."""

    name: str
    body: dict[str, Any]
    path: list[str | int]
    is_jsonata: bool
    is_caught: bool

    @property
    def type(self) -> str:
        return text(self.body.get("Type"))

    @property
    def where(self) -> str:
        """The location in AWS's notation: ``/States/Check/Branches/0/States/Screen``."""
        return "/" + "/".join(map(str, self.path[self.path.index("States") :]))

    @property
    def resource(self) -> str:
        return text(self.body.get("Resource"))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a Task. A JSONPath name like ``TableName.$`` loses its suffix and has an unknown value."""
        given = self.body.get("Arguments" if self.is_jsonata else "Parameters")
        dynamic = "${at run time}"
        return {
            key.removesuffix(".$"): dynamic if key.endswith(".$") or _is_expression(value) else value
            for key, value in as_dict(given).items()
        }

    @property
    def has_computed_arguments(self) -> bool:
        return isinstance(self.body.get("Arguments" if self.is_jsonata else "Parameters"), str)

    @property
    def integration(self) -> Integration | None:
        match = _INTEGRATION.fullmatch(self.resource)
        if not match or not is_known(match[1]):
            return None
        call, _, pattern = match[1].partition(".")
        parts = call.split(":")
        sdk = parts[0] == "aws-sdk"
        service, _, action = ":".join(parts[1:] if sdk else parts).partition(":")
        return Integration(service, action, sdk, pattern)

    def calls_function(self, view: View) -> bool:
        integration = self.integration
        if integration:
            return integration.service == "lambda"
        return self.function_in_resource(view) is not None or bool(_FUNCTION_ARN.fullmatch(self.resource))

    def function_in_resource(self, view: View) -> Resource | None:
        return view.target(self.resource, *FUNCTIONS, "AWS::Lambda::Alias", "AWS::Lambda::Version")


@dataclass(frozen=True)
class Level:
    """A set of states with a StartAt: the machine itself, a branch of a Parallel, or the processor of a Map."""

    definition: dict[str, Any]
    states: list[State]
    path: list[str | int]
    is_jsonata: bool


@dataclass(frozen=True)
class Machine:
    """A state machine. fault: why its definition cannot be parsed; is_plain: cfn-lint's E3601 reads it too."""

    resource: Resource
    definition: dict[str, Any] | None
    fault: str
    is_plain: bool
    path: list[str | int]

    @property
    def is_express(self) -> bool:
        return text(self.resource.get("StateMachineType") or self.resource.get("Type")) == "EXPRESS"

    @property
    def levels(self) -> Iterator[Level]:
        if self.definition is not None:
            yield from _levels(self.definition, self.path, False, False)

    @property
    def states(self) -> Iterator[State]:
        for level in self.levels:
            yield from level.states

    @property
    def tasks(self) -> Iterator[State]:
        return (state for state in self.states if state.type == "Task")


def machines(view: View) -> Iterator[Machine]:
    for resource in view.resources(*STATE_MACHINES):
        yield _read(view, resource)


def _read(view: View, resource: Resource) -> Machine:
    substitutions = as_dict(resource.get("DefinitionSubstitutions"))
    raw = as_dict(resource.raw.get("Properties"))
    is_native = resource.type == STATE_MACHINES[0]
    written, path = resource.get("Definition"), resource.at("Definition")
    is_plain = is_native and isinstance(raw.get("Definition"), dict) and "States" in raw["Definition"]
    if isinstance(written, dict):
        return Machine(resource, as_dict(_substituted(written, substitutions)), "", is_plain, path)
    written, path = resource.get("DefinitionString"), resource.at("DefinitionString")
    if not isinstance(written, str):
        return Machine(resource, None, "", False, path)
    has_sam = "AWS::Serverless-2016-10-31" in as_list(view.template.get("Transform"))
    is_plain = isinstance(raw.get("DefinitionString"), str) and not has_sam
    filled = str(_substituted(written, substitutions))
    for attempt in (filled, _UNQUOTED.sub(r'"\1"', filled)):
        try:
            parsed = json.loads(attempt, strict=False)
        except (ValueError, RecursionError) as exc:
            fault = str(exc)
        else:
            fault = "" if isinstance(parsed, dict) else "it is not an object"
            return Machine(resource, parsed if isinstance(parsed, dict) else None, fault, is_plain, path)
    # With a token in the text, the deployed definition may be well-formed.
    return Machine(resource, None, fault if is_known(filled) else "", False, path)


def _substituted(node: Any, values: dict[str, Any]) -> Any:
    if isinstance(node, str):
        return re.sub(r"\$\{([\w-]+)\}", lambda m: text(values[m[1]]) if _is_scalar(values.get(m[1])) else m[0], node)
    if isinstance(node, dict):
        return {key: _substituted(value, values) for key, value in node.items()}
    return [_substituted(value, values) for value in node] if isinstance(node, list) else node


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{%")


def _levels(definition: dict[str, Any], path: list[str | int], is_jsonata: bool, is_caught: bool) -> Iterator[Level]:
    language = definition.get("QueryLanguage")
    is_jsonata = is_jsonata if language is None else language == "JSONata"
    states = [
        State(
            name,
            body,
            [*path, "States", name],
            is_jsonata if body.get("QueryLanguage") is None else body["QueryLanguage"] == "JSONata",
            is_caught or bool(body.get("Catch")),
        )
        for name, body in as_dict(definition.get("States")).items()
        if isinstance(body, dict)
    ]
    yield Level(definition, states, path, is_jsonata)
    for state in states:
        inner: list[tuple[list[str | int], Any]]
        inner = [(["Branches", i], branch) for i, branch in enumerate(as_list(state.body.get("Branches")))]
        inner += [([name], state.body.get(name)) for name in ("ItemProcessor", "Iterator")]
        for where, branch in inner:
            if isinstance(branch, dict):
                yield from _levels(branch, [*state.path, *where], is_jsonata, state.is_caught)
