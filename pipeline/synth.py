"""Both templates of an environment as text, remembered by everything that they are made from.

Importing the template library takes longer than all else that a run with nothing changed does, so the text is kept
under a key of the template code, the library's version, the settings and the functions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cfn
from cfn.settings import FunctionDefinition, Settings

_LINES = ",\n"


@dataclass(frozen=True, slots=True)
class Templates:
    """The two templates, as canonical JSON that CloudFormation takes, in a request or from a bucket."""

    registry: str
    pipeline: str


def synthesise(settings: Settings, functions: Sequence[FunctionDefinition], cache: Path) -> Templates:
    """Templates for ``settings`` and ``functions``; kept in the folder ``cache``, which may be deleted at any time."""
    path = cache / "templates" / f"{_key(settings, functions)}.json"
    try:
        kept = json.loads(path.read_bytes())
        return Templates(registry=kept["registry"], pipeline=kept["pipeline"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # not made yet, or damaged: make it anew
    templates = build_templates(settings, functions)
    write_atomically(path, json.dumps(dataclasses.asdict(templates)).encode())
    return templates


def build_templates(settings: Settings, functions: Sequence[FunctionDefinition]) -> Templates:
    """The same without the memory."""
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
    hasher = hashlib.sha256(repr((settings, tuple(functions))).encode())
    hasher.update(importlib.metadata.version("troposphere").encode())
    folder = Path(cfn.__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", ".json", ".toml"} and "rules" not in path.relative_to(folder).parts:
            hasher.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
