"""Run the audit: ``python -m audit TOOLS``, where TOOLS is the folder with checkov and pip-audit.

Exit code 0 if every finding is justified and every lock was looked up; 1 otherwise, with all findings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from audit.findings import Finding, failed_checks, read_advisories, read_exceptions, unexplained, unneeded
from cfn.settings import Entrance, Jwt, Settings
from pipeline.assembly.sources import find_sources
from pipeline.environment.synth import build_templates

ROOT = Path(__file__).resolve().parent.parent
# Two environments, to cover resources that only one of them has.
ENVIRONMENTS = (
    Settings("dev"),
    Settings(
        "prod",
        protect_data=True,
        encryption="KMS",
        release="LambdaCanary10Percent5Minutes",
        find_lost_claims=True,
        entrances=tuple(Entrance),
        queue_fifo=True,
        jwt=Jwt("https://login.example.com", ("payments",), ("submit",)),
    ),
)
_STACKS = ("registry", "pipeline")
LOCKS = (
    "requirements.lock",
    "requirements-uv.lock",
    "requirements-audit.lock",
    "pipeline/assembly/dependencies/runtime-requirements.txt",
)
WITHOUT_ADVISORIES = "AUDIT_WITHOUT_ADVISORIES"


def main() -> int:
    parser = argparse.ArgumentParser(prog="audit", description="Audit the templates and the locks.")
    parser.add_argument("tools", type=Path, help="the folder with the programs checkov and pip-audit")
    tools = parser.parse_args().tools
    problems = [*audit_templates(tools), *audit_locks(tools)]
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)  # noqa: T201 - a command-line program
    return 1 if problems else 0


def audited_templates() -> dict[str, Any]:
    """The templates of the environments, such as ``pipeline-prod``."""
    found: dict[str, Any] = {}
    for settings in ENVIRONMENTS:
        sources = find_sources(ROOT / "images", entrances=settings.entrances)
        templates = build_templates(settings, [source.definition for source in sources])
        found |= {f"{name}-{settings.environment}": json.loads(getattr(templates, name)) for name in _STACKS}
    return found


def audit_templates(tools: Path) -> list[str]:
    """Unjustified findings of checkov, and exceptions that match no finding."""
    exceptions = read_exceptions(ROOT / "audit" / "exceptions.toml")
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        for name, document in audited_templates().items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(document, indent=1))
        done = _run(
            [tools / "checkov", "--directory", folder, "--framework", "cloudformation", "--output", "json", "--quiet"],
            # Otherwise it requests guidelines and versions from its vendor.
            LOG_LEVEL="ERROR", BC_SKIP_MAPPING="TRUE", CKV_IGNORE_HIDDEN_DIRECTORIES="false",
        )  # fmt: skip
        try:
            report: Any = json.loads(done.stdout)
        except ValueError:
            return [f"checkov did not run: {done.stderr.strip() or done.stdout.strip()}"]
        found = failed_checks(report)
        checked = sum(each["summary"]["resource_count"] for each in (report if isinstance(report, list) else [report]))
    _say(f"checkov checked {checked} resources: {len(found)} findings, {len(exceptions)} exceptions")
    return [
        *(f"{each.check} {each.resource} in {each.template}: {each.name}" for each in unexplained(found, exceptions)),
        *(
            f"the exception of {each.check} for {', '.join(each.resources)} matches no finding"
            for each in unneeded(found, exceptions)
        ),
    ]


def audit_locks(tools: Path) -> list[str]:
    """Advisories for the locked versions. An unreachable advisory database is a finding, too."""
    locks = [*LOCKS, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("images/*/requirements.txt")))]
    problems: list[str] = []
    for lock in locks:
        done = _run(
            [tools / "pip-audit", "--requirement", lock, "--require-hashes", "--disable-pip", "--format", "json",
             "--progress-spinner", "off", "--timeout", "20"]
        )  # fmt: skip
        advisories, missing = read_advisories(lock, done.stdout)
        problems += advisories
        if missing:
            said = f"{lock} was not audited: the advisory database returned nothing for {missing}"
            if os.environ.get(WITHOUT_ADVISORIES) != "1":
                problems.append(f"{said}. Run it where the database is reachable, or set {WITHOUT_ADVISORIES}=1")
                break
            _say(f"{said}. Accepted by {WITHOUT_ADVISORIES}=1")
        else:
            _say(f"pip-audit looked up every package of {lock}")
    return problems


def _run(command: list[Any], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def _say(text: str) -> None:
    print(f"audit: {text}")  # noqa: T201 - a command-line program


if __name__ == "__main__":
    sys.exit(main())
