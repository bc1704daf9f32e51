"""Running one rule on one template, written as YAML and again as JSON, through cfn-lint's own decoder."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from cfnlint.decode import decode_str
from cfnlint.template import Template

import cfn.rules

RULES = [getattr(cfn.rules, name) for name in cfn.rules.__all__]


def parse(text: str) -> Template:
    template, problems = decode_str(text)
    assert not problems, problems
    parsed = Template("template", template, ["us-east-1"])
    assert not parsed.transform()
    return parsed


def matches(rule: Any, text: str) -> list[Any]:
    """The matches as cfn-lint would print them, with their places in the text."""
    return list(rule.matchall("template", parse(text)))


class Parsed:
    """The parts of cfn-lint's Template that the rules read; creating a real one takes seconds for a large template."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.template = template


def all_findings(template: dict[str, Any]) -> list[str]:
    """The findings of every rule, each with its id in front."""
    parsed = Parsed(template)
    return [f"{rule.id} {match.message}" for rule in RULES for match in rule().match(parsed)]


def as_json(text: str) -> str:
    template, _ = decode_str(text)
    return json.dumps(template)


def findings(rule: type, text: str) -> list[str]:
    """The messages of a rule; the same for the template as YAML and as JSON, or the test fails."""
    text = textwrap.dedent(text)
    from_yaml, from_json = ([m.message for m in matches(rule(), form)] for form in (text, as_json(text)))
    assert from_yaml == from_json
    return from_yaml


def cases(**templates: str) -> pytest.MarkDecorator:
    """A table of templates by name: ``@cases(a_name="Resources: …")`` gives the test the argument ``template``."""
    return pytest.mark.parametrize("template", list(templates.values()), ids=list(templates))


def failing(**rows: tuple[str, str]) -> pytest.MarkDecorator:
    """A table of templates with a part of the message that each must give: arguments ``template`` and ``message``."""
    return pytest.mark.parametrize(("template", "message"), list(rows.values()), ids=list(rows))
