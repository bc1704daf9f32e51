"""Parse YAML written by people, as the JSON value that it stands for."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

# Values in a document with its aliases written out. A kilobyte of nested aliases can stand for billions.
_VALUES_MAX = 1_000_000
_BOOLEAN, _TIMESTAMP = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads 2026-12-01, yes, no, on and off as text, like YAML 1.2, and true and false as booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] not in (_BOOLEAN, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def parse_yaml(content: str) -> Any:
    """The value of a document, which JSON can have, too.

    Raises ValueError, also for a repeated key, for a value that JSON does not have, and for more than a million values.
    """
    try:
        if findings := findings_in(content):
            raise ValueError("; ".join(findings))
        value = yaml.load(content, _Loader)  # noqa: S506  (a SafeLoader)
        return json.loads(json.dumps(value, allow_nan=False))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:500]) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except TypeError as error:
        raise ValueError(f"it has a value that JSON does not have: {error}") from error


def parse_cloudformation(content: str) -> Any:
    """The value of a template in JSON, or in YAML with the short tags, which become their long forms.

    Raises ValueError, also for a repeated key, for a value that JSON does not have, and for more than a million values.
    """
    from cfn_flip import load, load_yaml

    try:
        # load gives JSON's error for everything that is neither.
        document, kind = load(content) if content.lstrip().startswith("{") else (load_yaml(content), "yaml")
        # Before it is written out, which nested aliases could make last for ever.
        if kind == "yaml" and (unclear := findings_in(content)):
            raise ValueError("; ".join(unclear))
        return json.loads(json.dumps(document, allow_nan=False, default=_date_as_text))
    except Exception as problem:
        # Of the decoder and of the YAML library below it, which have no common root.
        raise ValueError(" ".join(str(problem).split())[:500]) from problem


def _date_as_text(value: Any) -> str:
    """2010-09-09 and 2012-10-17, the versions of templates and policies, are dates in YAML 1.1."""
    if type(value) is datetime.date:
        return value.isoformat()
    raise TypeError(f"it has the value {value!s}, which JSON does not have; write it in quotes")


def findings_in(content: str) -> list[str]:
    """What a loader would accept, and should not: repeated keys, with their lines, and aliases without bounds.

    Raises yaml.YAMLError.
    """
    root = yaml.compose(content, yaml.SafeLoader)
    if root is None:
        return []
    if _count(root, {}) > _VALUES_MAX:
        return [f"with its aliases written out it has more than {_VALUES_MAX:,} values"]
    return [*_repeated(root, set())]


def _count(node: yaml.Node, known: dict[int, float]) -> float:
    """The values in a node with its aliases written out; infinite for one that contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = () if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]


def _repeated(node: yaml.Node, seen: set[int]) -> Iterator[str]:
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    yield f"{key.value[:80]!a} is there twice (line {key.start_mark.line + 1})"
                keys.add(key.value)
            yield from _repeated(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _repeated(each, seen)
