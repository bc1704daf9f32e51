"""Advisories in OSV's format, and the versions that they affect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.assembly.vulnerabilities.osv import Severity, affects, parse_advisory


def advisory(*events: dict[str, str], versions: list[str] | None = None, kind: str = "ECOSYSTEM") -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "Some.Package"}
    ranges = [{"type": kind, "events": list(events)}] if events else []
    return {"id": "GHSA-1", "affected": [{"package": package, "ranges": ranges, "versions": versions or []}]}


def is_affected(document: dict[str, Any], version: str) -> bool:
    (affected,) = parse_advisory(json.dumps(document).encode()).affected
    assert affected.package == "some-package"
    return affects(affected, version)


FIXED = advisory({"introduced": "0"}, {"fixed": "2.0"})
LATER = advisory({"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"fixed": "2.3"})
LAST = advisory({"introduced": "1.0"}, {"last_affected": "1.4"})
SHUFFLED = advisory({"fixed": "2.3"}, {"introduced": "2.0"}, {"fixed": "1.5"}, {"introduced": "1.0"})
LIMITED = advisory({"introduced": "0"}, {"limit": "2.0"})
LISTED = advisory(versions=["1.0", "1.1.0"])
COMMITS = advisory({"introduced": "0"}, kind="GIT")
UNREADABLE = advisory({"introduced": "0"}, {"fixed": "2.0-of-spring"})


@pytest.mark.parametrize(
    ("document", "version", "expected"),
    [
        (FIXED, "1.9", True), (FIXED, "2.0", False), (FIXED, "2.0rc1", True), (FIXED, "0.dev0", True),
        (FIXED, "10.0", False), (FIXED, "2.0.post1", False), (FIXED, "1!0.1", False),
        (LATER, "0.9", False), (LATER, "1.4", True), (LATER, "1.5", False), (LATER, "2.0", True), (LATER, "2.3", False),
        (SHUFFLED, "1.4", True), (SHUFFLED, "1.7", False), (SHUFFLED, "2.2", True),
        (LAST, "1.4", True), (LAST, "1.4.1", False), (LAST, "0.1", False),
        (LIMITED, "1.9", True), (LIMITED, "2.0", False),
        (LISTED, "1.0.0", True), (LISTED, "1.1", True), (LISTED, "1.2", False),
        (FIXED, "1.9+cpu", True), (FIXED, "2.0+cpu", False), (LAST, "1.4+cpu", True), (LAST, "1.4.1+cpu", False),
        (LISTED, "1.0+local.1", True), (LISTED, "1.2+cpu", False), (FIXED, "1!1.0+cpu", False),
        (COMMITS, "1.0", False),
        (UNREADABLE, "3.0", True), (FIXED, "not a version", True), (LISTED, "not a version", False),
    ],
)  # fmt: skip
def test_which_versions_are_affected(document: dict[str, Any], version: str, expected: bool) -> None:
    assert is_affected(document, version) is expected


V3 = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
V3_LOW = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}
V4 = {"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:N/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"}


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({}, None),
        ({"severity": [V3]}, Severity.CRITICAL),
        ({"severity": [V4]}, Severity.MEDIUM),
        ({"severity": [V3_LOW, V3]}, Severity.CRITICAL),
        ({"severity": [V3_LOW], "database_specific": {"severity": "MODERATE"}}, Severity.MEDIUM),
        ({"database_specific": {"severity": "HIGH"}}, Severity.HIGH),
        ({"database_specific": {"severity": ["HIGH"]}}, None),
        ({"database_specific": "HIGH"}, None),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:X"}]}, None),
        ({"severity": [{"type": "Ubuntu", "score": "high"}]}, None),
    ],
)  # fmt: skip
def test_the_highest_known_severity_counts(more: dict[str, Any], severity: Severity | None) -> None:
    assert parse_advisory(json.dumps({**FIXED, **more}).encode()).severity is severity


@pytest.mark.parametrize(
    "more", [{"withdrawn": "2026-01-01T00:00:00Z"}, {"affected": None}, {"affected": [{"versions": ["1.0"]}]}]
)
def test_an_advisory_that_was_withdrawn_or_is_about_no_package_affects_nothing(more: dict[str, Any]) -> None:
    assert parse_advisory(json.dumps({**FIXED, **more}).encode()).affected == ()


def test_packages_of_other_ecosystems_are_left_out() -> None:
    other = {"package": {"ecosystem": "npm", "name": "some-package"}, "versions": ["1.0"]}
    document = {**FIXED, "affected": [other, *FIXED["affected"]]}
    assert len(parse_advisory(json.dumps(document).encode()).affected) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"null", b"{}", b'{"id": 1}', b'{"id": "x", "affected": {}}', b"\xff\xfe", b"[" * 100_000,
        b'{"id": "x", "affected": [{"package": "name"}]}',
        b'{"id": "x", "affected": [{"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": 0}]}]}]}',
    ],
)  # fmt: skip
def test_what_is_no_advisory_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (msgspec's)
        parse_advisory(content)
