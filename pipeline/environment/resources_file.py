"""Reads ``resources.yaml``: plain CloudFormation in YAML with short tags, or JSON, that becomes part of stack 2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cfn.own_resources import SECTIONS
from pipeline.core.errors import SettingsError
from pipeline.core.files import read_optional

RESOURCES_FILE = "resources.yaml"
_FILE_MAX = 1_000_000  # bytes, as a template of CloudFormation


def read_resources(root: Path) -> str:
    """The file's sections as canonical JSON; "" where there is no file. Raises SettingsError with every finding."""
    # Many commands never read the file, and YAML takes time to load.
    from pipeline.core.yaml_documents import parse_cloudformation

    path = root / RESOURCES_FILE
    try:
        found = read_optional(path, _FILE_MAX)
        if found is None:
            return ""
        content = found.decode("utf-8")
    except OSError as problem:
        raise _refused(path, str(problem.strerror)) from problem
    except UnicodeDecodeError as problem:
        raise _refused(path, str(problem)) from problem
    try:
        plain = parse_cloudformation(content)
    except ValueError as problem:
        raise _refused(path, str(problem)) from problem
    if findings := [*_findings(plain)]:
        raise _refused(path, "; ".join(findings))
    plain.pop("AWSTemplateFormatVersion", None)
    plain.pop("Description", None)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def _refused(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path.name} cannot be used", why, f"Correct {path}; docs/resources.md describes it.")


def _findings(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        yield "it is no template: it has no sections"
        return
    for section, entries in document.items():
        if section in ("AWSTemplateFormatVersion", "Description"):
            continue
        if section not in SECTIONS:
            yield f"the section {section[:80]!a} is not taken; there are {', '.join(SECTIONS)}"
        elif not isinstance(entries, Mapping) or not all(isinstance(each, Mapping) for each in entries.values()):
            if section != "Conditions" or not isinstance(entries, Mapping):
                yield f"{section} is not a table of tables"
        elif section == "Resources":
            yield from (f"the resource {name} has no Type" for name, each in entries.items() if "Type" not in each)
        elif section == "Parameters":
            yield from (
                f"the parameter {name} has no Default, and nothing gives it a value"
                for name, each in entries.items()
                if "Default" not in each
            )
