"""Parse the reports of the tools strictly, and compare them with the justified exceptions."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A failed check. resource: its logical id."""

    check: str
    name: str
    resource: str
    template: str


@dataclass(frozen=True, slots=True)
class Justified:
    """A check that certain resources may fail. resources: logical ids, with ``*`` as a wildcard."""

    check: str
    resources: tuple[str, ...]
    reason: str

    def covers(self, finding: Finding) -> bool:
        return finding.check == self.check and any(
            fnmatch.fnmatchcase(finding.resource, each) for each in self.resources
        )


def read_exceptions(path: Path) -> tuple[Justified, ...]:
    """Raises ValueError for an exception without a reason."""
    found = tuple(
        Justified(each["check"], tuple(each["resources"]), each["reason"].strip())
        for each in tomllib.loads(path.read_text())["exception"]
    )
    for each in found:
        if len(each.reason) < 20:
            raise ValueError(f"{each.check} is not justified: {each.reason!r}")
    return found


def failed_checks(report: Any) -> list[Finding]:
    """The failed checks of checkov's JSON report, which is a list if it ran several frameworks."""
    return [
        Finding(each["check_id"], each["check_name"], each["resource"].rpartition(".")[2], each["file_path"])
        for part in (report if isinstance(report, list) else [report])
        for each in part.get("results", {}).get("failed_checks", [])
    ]


def unexplained(found: Sequence[Finding], exceptions: Sequence[Justified]) -> list[Finding]:
    return [each for each in found if not any(exception.covers(each) for exception in exceptions)]


def unneeded(found: Sequence[Finding], exceptions: Sequence[Justified]) -> list[Justified]:
    return [exception for exception in exceptions if not any(exception.covers(each) for each in found)]


def read_advisories(lock: str, output: str) -> tuple[list[str], str]:
    """(advisories of a lock, the packages that were not looked up or "").

    pip-audit silently skips a package that the database does not have, and all packages if the database cannot be
    reached through a mirror of the index.
    """
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], "any package"
    problems = [
        f"{lock}: {each['name']} {each['version']} has {advisory['id']}, fixed in"
        f" {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for each in dependencies
        for advisory in each.get("vulns", [])
    ]
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    if not dependencies or len(skipped) == len(dependencies):
        return problems, "any package"
    return problems, ", ".join(skipped)
