"""The audit reads its tools strictly: nothing that they did not say is taken for good news."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit.__main__ import audited_templates
from audit.findings import Finding, Justified, failed_checks, read_advisories, read_exceptions, unexplained, unneeded

EXCEPTIONS = Path(__file__).resolve().parents[3] / "audit" / "exceptions.toml"


def test_every_exception_names_something_that_the_templates_have() -> None:
    import fnmatch

    resources = {name for template in audited_templates().values() for name in template["Resources"]}
    for each in read_exceptions(EXCEPTIONS):
        for pattern in each.resources:
            assert fnmatch.filter(resources, pattern), f"{each.check}: {pattern}"


def test_an_exception_needs_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text('[[exception]]\ncheck = "CKV_1"\nresources = ["*"]\nreason = "because"\n')
    with pytest.raises(ValueError, match="CKV_1 is not justified"):
        read_exceptions(path)


def test_unjustified_findings_and_unused_exceptions_are_listed() -> None:
    report = {
        "results": {
            "failed_checks": [
                {"check_id": "CKV_1", "check_name": "n", "resource": "AWS::SQS::Queue.Mine", "file_path": "/p.json"},
                {"check_id": "CKV_1", "check_name": "n", "resource": "AWS::SQS::Queue.Other", "file_path": "/p.json"},
            ]
        }
    }
    exceptions = (Justified("CKV_1", ("Mine*",), "a reason"), Justified("CKV_2", ("*",), "a reason"))
    found = failed_checks([report])
    assert unexplained(found, exceptions) == [Finding("CKV_1", "n", "Other", "/p.json")]
    assert unneeded(found, exceptions) == [exceptions[1]]


def dependency(name: str, *advisories: str) -> dict[str, object]:
    vulns = [{"id": each, "fix_versions": ["2.0"]} for each in advisories]
    return {"name": name, "version": "1.0", "vulns": vulns}


@pytest.mark.parametrize(
    ("output", "problems", "missing"),
    [
        ({"dependencies": [dependency("a"), dependency("b")]}, [], ""),
        ({"dependencies": [dependency("a", "PYSEC-1")]}, ["lock: a 1.0 has PYSEC-1, fixed in 2.0"], ""),
        ({"dependencies": [dependency("a"), {"name": "b", "skip_reason": "not found"}]}, [], "b"),
        ({"dependencies": [{"name": "a", "skip_reason": "not found"}]}, [], "any package"),
        ({"dependencies": []}, [], "any package"),
        ("Connection refused", [], "any package"),
    ],
)
def test_a_package_that_was_not_looked_up_is_no_good_news(output: object, problems: list[str], missing: str) -> None:
    text = output if isinstance(output, str) else json.dumps(output)
    assert read_advisories("lock", text) == (problems, missing)
