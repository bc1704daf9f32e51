"""Known vulnerabilities stop `build` and `up`, and `plan` shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine, copy_project

ACCEPTED = '[[ignored]]\nid = "CVE-2026-1"\nreason = "only our own expressions"\nuntil = 2999-12-31\n'


def advisory(identifier: str, package: str, severity: str, alias: str = "") -> bytes:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}]
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}
    return json.dumps(
        {
            "id": identifier,
            "modified": "2026-01-02T00:00:00Z",
            "aliases": [alias],
            "affected": [affected],
            "database_specific": {"severity": severity},
        }
    ).encode()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    project = copy_project(tmp_path / "project")
    (project / "osv").mkdir()
    (project / "osv" / "GHSA-1.json").write_bytes(advisory("GHSA-1", "JMESPath", "HIGH", "CVE-2026-1"))
    (project / "osv" / "GHSA-2.json").write_bytes(advisory("GHSA-2", "typing_extensions", "LOW"))
    (project / "osv" / "GHSA-3.json").write_bytes(advisory("GHSA-3", "never-used", "CRITICAL"))
    line = CommandLine(tmp_path / "local", tmp_path / "cache", project)
    yield line
    line.run("down", "--yes")


def set_up(line: CommandLine, place: str, *more: str) -> None:
    settings = "\n".join(
        ["[project]", 'workflow = "transactions"', "[defaults]", f'vulnerabilities = "{place}"', *more]
    )
    (line.project / "environments.toml").write_text(settings)


def test_known_vulnerabilities_stop_a_release_and_are_planned(line: CommandLine) -> None:
    set_up(line, "osv", 'refuse_vulnerabilities = "high"')
    for command in ("build", "up"):
        refused = line.run(command, code=1).stderr
        assert "packages with known vulnerabilities are not released" in refused
        assert "jmespath 1.1.0 has GHSA-1 (high; fixed in 99), in compliance-checking, fraud-detection" in refused
        assert "typing-extensions 4.16.0 has GHSA-2 (low; fixed in 99)" in refused
        assert "GHSA-3" not in refused
        assert "the data about vulnerabilities is" in refused
    line.run("infra")
    planned = line.json("plan", code=2)["vulnerabilities"]
    assert [(each["id"], each["severity"], each["stops"]) for each in planned] == [
        ("GHSA-1", "high", True), ("GHSA-2", "low", False),
    ]  # fmt: skip
    assert "; up refuses it" in line.run("plan", code=2).stdout

    (line.project / "vulnerabilities.toml").write_text(ACCEPTED)
    assert "GHSA-2" in line.run("build").stderr
    assert {each["id"]: each["ignored"] for each in line.json("plan", code=2)["vulnerabilities"]} == {
        "GHSA-1": "only our own expressions",
        "GHSA-2": None,
    }

    set_up(line, "http://127.0.0.1:1/all.zip", 'refuse_vulnerabilities = "high"')
    assert "packages were not looked up for vulnerabilities" in line.run("build", code=1).stderr
    assert "packages were not looked up for vulnerabilities" in line.run("plan", code=2).stderr
    set_up(line, "http://127.0.0.1:1/all.zip")
    assert "packages were not looked up for vulnerabilities" in line.run("build").stderr
