"""Both templates of an environment as text, cached by everything that they are made from.

Importing the template library takes longer than the rest of a run without changes, so the text is cached under a key of
the template code, the library's version, the settings and the functions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cfn
from cfn.settings import FunctionDefinition, Settings
from pipeline.core.files import write_atomically

_LINES = ",\n"


@dataclass(frozen=True, slots=True)
class Templates:
    """The two templates, as canonical JSON that CloudFormation takes, in a request or from a bucket."""

    registry: str
    pipeline: str


def synthesise(settings: Settings, functions: Sequence[FunctionDefinition], store: Path) -> Templates:
    """Templates for ``settings`` and ``functions``, cached in the folder ``store``, which may be deleted any time."""
    path = store / "templates" / f"{_key(settings, functions)}.json"
    try:
        kept = json.loads(path.read_bytes())
        return Templates(registry=kept["registry"], pipeline=kept["pipeline"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not cached yet, or damaged
    templates = build_templates(settings, functions)
    with contextlib.suppress(OSError):  # without a cache they are built each time
        write_atomically(path, json.dumps(dataclasses.asdict(templates)).encode())
    return templates


def build_templates(settings: Settings, functions: Sequence[FunctionDefinition]) -> Templates:
    """The same, without the cache."""
    from cfn.pipeline import pipeline_template
    from cfn.registry import registry_template
    from cfn.render import render

    return Templates(
        registry=render(registry_template(settings, functions)), pipeline=render(pipeline_template(settings, functions))
    )


def as_file(template_body: str) -> str:
    """A template with one line per resource, parameter and output: readable, comparable, and hardly larger.

    An indented one would be a quarter larger, and past what tools send without a bucket.
    """
    template: dict[str, Any] = json.loads(template_body)

    def line(key: str, value: Any) -> str:
        return f"{json.dumps(key)}:{json.dumps(value, sort_keys=True, separators=(',', ':'))}"

    sections = [
        f"{json.dumps(section)}:{{\n{_LINES.join(line(*each) for each in sorted(content.items()))}\n}}"
        if isinstance(content, dict) and content
        else line(section, content)
        for section, content in sorted(template.items())
    ]
    return f"{{{_LINES.join(sections)}}}\n"


def _key(settings: Settings, functions: Sequence[FunctionDefinition]) -> str:
    return hashlib.sha256(f"{_code_version()} {(settings, tuple(functions))!r}".encode()).hexdigest()


@cache
def _code_version(folder: Path = Path(cfn.__file__).parent) -> str:
    """Changes with the code and the documents that templates are made from, and with the library that they use."""
    hasher = hashlib.sha256(_library_version().encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {"rules", "__pycache__"} & set(path.relative_to(folder).parts):
            hasher.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def _library_version() -> str:
    """troposphere's. Its metadata's folder is named by it, and is found sooner than ``importlib.metadata`` loads."""
    spec = find_spec("troposphere")
    if spec is not None and spec.origin is not None:
        for found in Path(spec.origin).parent.parent.glob("troposphere-*.dist-info"):
            return found.name
    from importlib.metadata import version

    return version("troposphere")
