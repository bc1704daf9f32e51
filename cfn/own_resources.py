"""The project's own resources in stack 2: what ``resources.yaml`` adds, and how functions name it.

A call or an event names an own resource by its logical id: ``Reports``, ``Reports/*``. Before the templates are built
that becomes the text of a substitution, such as ``${Reports.Arn}/*``. A variable names it as Fn::Sub does:
``${Reports}``, ``${Reports.Arn}``, and ``${!Reports}`` for the text itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from cfn.calls import PSEUDO_PARAMETERS
from cfn.events.kinds import DataStream, Event, Queue, TableStream, Topic
from cfn.problems import SettingsError
from cfn.settings import Call, FunctionDefinition, Settings

# What a template of this project takes from the file.
SECTIONS = ("Conditions", "Mappings", "Outputs", "Parameters", "Resources")
_NAMED = re.compile(r"(?P<id>[A-Z][A-Za-z0-9]*)(?P<rest>/.*)?")
# In the text of a variable.
_REFERENCE = re.compile(r"\$\{(?P<literal>!?)(?P<name>[A-Za-z0-9:]+)(?P<attribute>\.[A-Za-z0-9.]+)?\}")
_OPENED = re.compile(r"\$\{!?")
# A logical id as people write it; ${HOME} and ${user} are text, unless resources.yaml has them.
_LOGICAL_ID = re.compile(r"[A-Z]+[a-z][A-Za-z0-9]*")
# Types whose Ref is their ARN (CloudFormation template reference, return values); the others have an attribute Arn.
REF_IS_ARN = (
    "AWS::SNS::Topic", "AWS::StepFunctions::StateMachine", "AWS::SecretsManager::Secret",
    "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::Lambda::Alias", "AWS::Lambda::Version",
)  # fmt: skip


def own_document(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """The sections of ``resources.yaml``; {} without one."""
    document: Mapping[str, Mapping[str, Any]] = json.loads(settings.resources) if settings.resources else {}
    return document


def resolve_own(settings: Settings, functions: Sequence[FunctionDefinition]) -> list[FunctionDefinition]:
    """The functions with each logical id of an own resource replaced by its ARN, as the text of a substitution.

    Raises SettingsError with every logical id that ``resources.yaml`` does not have.
    """
    ids = _Ids(settings)
    resolved = [
        replace(
            function,
            calls=ids.calls(function.name, function.calls),
            events=tuple(ids.event(function.name, event) for event in function.events),
        )
        for function in functions
    ]
    for function in functions:
        ids.judge_variables(function)
    ids.require_known("function.toml")
    return resolved


def variable_value(settings: Settings, text: str) -> str | dict[str, str]:
    """The value of a variable: a substitution if ``text`` names own resources or pseudo parameters, else the text.

    >>> variable_value(Settings("dev"), "${HOME} ${!AWS::Region}")
    '${HOME} ${AWS::Region}'
    """
    known = {*own_types(settings), *PSEUDO_PARAMETERS}
    if all(each["literal"] or each["name"] not in known for each in _REFERENCE.finditer(text)):
        return text.replace("${!", "${")
    # Fn::Sub fails on any other ${ that is not escaped.
    escaped = _OPENED.sub(
        lambda each: each[0] if (name := _REFERENCE.match(text, each.start())) and name["name"] in known else "${!",
        text,
    )
    # Written as JSON, because every command reads this module, and few need the library of templates.
    return {"Fn::Sub": escaped}


def resolve_calls(settings: Settings, owner: str, calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls of the file ``owner`` with each logical id replaced in the same way. Raises SettingsError."""
    ids = _Ids(settings)
    resolved = ids.calls(owner, calls)
    ids.require_known(owner)
    return resolved


def own_types(settings: Settings) -> dict[str, str]:
    """The types of the own resources, by logical id."""
    return {name: str(each.get("Type")) for name, each in own_document(settings).get("Resources", {}).items()}


class _Ids:
    """Replaces logical ids of own resources, and collects the unknown ones."""

    def __init__(self, settings: Settings) -> None:
        self._resources = own_document(settings).get("Resources", {})
        self._types = own_types(settings)
        self._findings: list[str] = []

    def require_known(self, file: str) -> None:
        if self._findings:
            raise SettingsError(
                "the templates cannot be made", "; ".join(self._findings), f"Add it there, or write an ARN in {file}."
            )

    def judge_variables(self, function: FunctionDefinition) -> None:
        for variable, text in function.environment:
            for each in _REFERENCE.finditer(text):
                name = each["name"]
                if not each["literal"] and name not in self._types and _LOGICAL_ID.fullmatch(name):
                    self._findings.append(
                        f"{variable} of {function.name} names {name}, which is not in resources.yaml"
                        f" (${{!{name}}} is the text itself)"
                    )

    def calls(self, owner: str, calls: Sequence[Call]) -> tuple[Call, ...]:
        return tuple(replace(call, resource=self.arn(owner, call.resource)) for call in calls)

    def event(self, owner: str, event: Event) -> Event:
        match event:
            case Queue() if event.queue:
                fifo = event.fifo or self._properties(event.queue).get("FifoQueue") in (True, "true")
                return msgspec.structs.replace(event, queue=self.arn(owner, event.queue), fifo=fifo)
            case Topic() if event.topic:
                return msgspec.structs.replace(event, topic=self.arn(owner, event.topic))
            case TableStream():
                return msgspec.structs.replace(event, stream=self.arn(owner, event.stream, "StreamArn"))
            case DataStream():
                return msgspec.structs.replace(event, stream=self.arn(owner, event.stream))
        return event

    def _properties(self, name: str) -> Mapping[str, Any]:
        properties: Mapping[str, Any] = self._resources.get(name, {}).get("Properties", {})
        return properties

    def arn(self, owner: str, text: str, attribute: str = "Arn") -> str:
        named = _NAMED.fullmatch(text)
        if named is None:
            return text
        if named["id"] not in self._types:
            self._findings.append(f"{owner} names {named['id']}, which is not in resources.yaml")
            return text
        is_ref = attribute == "Arn" and self._types[named["id"]] in REF_IS_ARN
        value = named["id"] if is_ref else f"{named['id']}.{attribute}"
        return f"${{{value}}}{named['rest'] or ''}"


def merge_own(document: dict[str, Any], own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A template with the own sections in it. Raises SettingsError for a name that both have."""
    taken = [
        f"{name} in {section}"
        for section, entries in own.items()
        for name in entries
        if name in document.get(section, {})
    ]
    if taken:
        raise SettingsError(
            "resources.yaml cannot be used", f"the stack has {', '.join(taken)} itself", "Choose other names there."
        )
    return {**document, **{section: {**document.get(section, {}), **entries} for section, entries in own.items()}}
