"""Lint what a project adds to the pipeline stack, its resources and its workflow, with cfn-lint and the rules here.

The template as a whole is linted, since rules look across resources; findings elsewhere than in the project's own part
are left out. The result is cached by everything that it depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from cfn.names import STATE_MACHINE
from cfn.own_resources import own_document
from cfn.settings import Settings
from pipeline.core.errors import SettingsError
from pipeline.core.files import write_atomically


class Finding(msgspec.Struct, frozen=True):
    """A finding of a rule. where: the path in the template, as Resources/Orders/Properties."""

    rule: str
    where: str
    message: str

    @property
    def is_error(self) -> bool:
        return self.rule.startswith("E")

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.rule})"


def has_linter() -> bool:
    """Whether cfn-lint is installed, which is the extra ``rules``."""
    return find_spec("cfnlint") is not None


def lint_project(settings: Settings, template: str, region: str, store: Path) -> tuple[Finding, ...]:
    """The findings in the project's own part of the pipeline template; () for a project without one.

    store  the cache folder
    """
    own = _own_parts(settings)
    if not any(own.values()):
        return ()
    path = store / "lint" / f"{_key(template, region)}.json"
    with contextlib.suppress(OSError, msgspec.MsgspecError):  # not cached yet, or damaged
        return msgspec.json.decode(path.read_bytes(), type=tuple[Finding, ...])
    found = _lint(template, region, own)
    with contextlib.suppress(OSError):  # without a cache it is linted each time
        write_atomically(path, msgspec.json.encode(found))
    return found


def require_clean(findings: Sequence[Finding]) -> None:
    """Raise SettingsError with every error among the findings."""
    if errors := [str(each) for each in findings if each.is_error]:
        raise SettingsError(
            "the project's own resources cannot be deployed",
            "; ".join(errors),
            "Correct resources.yaml or the workflow. Metadata of a resource can silence a wrong finding: cfn-lint:"
            " {config: {ignore_checks: [RULE]}}.",
        )


def _own_parts(settings: Settings) -> dict[str, Collection[str]]:
    """The entries of each section of the template that are the project's own."""
    own: dict[str, Collection[str]] = {section: {*entries} for section, entries in own_document(settings).items()}
    if settings.own_workflow is not None:
        own["Resources"] = {*own.get("Resources", ()), STATE_MACHINE}
    return own


def _lint(template: str, region: str, own: Mapping[str, Collection[str]]) -> tuple[Finding, ...]:
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    matches = lint(template, config=ManualArgs(append_rules=[str(rules_folder())], regions=[region]))
    found = {
        Finding(match.rule.id, "/".join(map(str, match.path or ())), match.message): None
        for match in matches
        if _is_own(match.path or (), own)
    }
    return tuple(sorted(found, key=lambda each: (not each.is_error, each.where, each.rule, each.message)))


def _is_own(path: Sequence[Any], own: Mapping[str, Collection[str]]) -> bool:
    # A finding in no entry of a section is about the template as a whole.
    return len(path) > 1 and path[1] in own.get(str(path[0]), ())


def _key(template: str, region: str) -> str:
    return hashlib.sha256(json.dumps([_linter_version(), region, template]).encode()).hexdigest()


@cache
def _linter_version() -> str:
    """Changes with cfn-lint and with the rules."""
    from importlib.metadata import version

    hasher = hashlib.sha256(version("cfn-lint").encode())
    for path in sorted(rules_folder().glob("*.py")):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def rules_folder() -> Path:
    """The folder of the rules, for cfn-lint's --append-rules."""
    found = find_spec("cfn.rules")
    if found is None or found.origin is None:
        raise AssertionError("the package has its rules")
    return Path(found.origin).parent
