"""Parse YAML written by people, as the JSON value that it stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

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

    Raises ValueError, also for a repeated key and for a value that JSON does not have.
    """
    try:
        if findings := repeated_keys(content):
            raise ValueError("; ".join(findings))
        value = yaml.load(content, _Loader)  # noqa: S506  (a SafeLoader)
        return json.loads(json.dumps(value, allow_nan=False))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:500]) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except TypeError as error:
        raise ValueError(f"it has a value that JSON does not have: {error}") from error


def repeated_keys(content: str) -> list[str]:
    """The keys that a mapping has twice, with their lines. PyYAML takes the last. Raises yaml.YAMLError."""
    root = yaml.compose(content, yaml.SafeLoader)
    return [*_repeated(root, set())] if root is not None else []


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
