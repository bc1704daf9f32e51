"""Advisories in OSV's format, and whether a version of a package is affected. Pure.

Source: the OSV schema, https://ossf.github.io/osv-schema/ (evaluation of ``affected``). Only packages of PyPI: an
image's bill of materials has no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ECOSYSTEM = "PyPI"
# One advisory; the longest of PyPI's have some hundred kB.
ADVISORY_MOST = 8 * 1024 * 1024


class Severity(IntEnum):
    """Ratings of CVSS, as GitHub's advisories have them, too."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Affected:
    """Versions of one package. ``ranges``: their events, as (kind, version), in the order of the document."""

    package: str
    versions: frozenset[str]
    ranges: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def fixed(self) -> tuple[str, ...]:
        return tuple(version for events in self.ranges for kind, version in events if kind == "fixed")


@dataclass(frozen=True, slots=True)
class Advisory:
    """One document. ``severity`` is None if it has none that is known, ``modified`` is "" if it does not say when."""

    id: str
    aliases: frozenset[str]
    severity: Severity | None
    affected: tuple[Affected, ...]
    modified: str = ""

    @property
    def names(self) -> frozenset[str]:
        return self.aliases | {self.id}


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Range(msgspec.Struct):
    type: str
    events: list[dict[str, str]]


class _Score(msgspec.Struct):
    type: str
    score: str


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Score] | None = None


class _Document(msgspec.Struct):
    id: str
    modified: str = ""
    withdrawn: str | None = None
    aliases: list[str] | None = None
    affected: list[_Affected] | None = None
    severity: list[_Score] | None = None
    database_specific: Any = None


_DECODER = msgspec.json.Decoder(_Document)
_RATINGS = {"LOW": Severity.LOW, "MODERATE": Severity.MEDIUM, "MEDIUM": Severity.MEDIUM} | {
    each.name: each for each in (Severity.HIGH, Severity.CRITICAL)
}


def parse_advisory(content: bytes) -> Advisory:
    """The advisory, without packages of other ecosystems; with none at all if it was withdrawn. Raises ValueError."""
    try:
        found = _DECODER.decode(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    affected = [] if found.withdrawn else [each for each in found.affected or () if _is_ours(each)]
    scores = [*(found.severity or ()), *(score for each in affected for score in each.severity or ())]
    return Advisory(
        found.id,
        frozenset(found.aliases or ()),
        _severity(scores, found.database_specific) if affected else None,
        tuple(map(_affected, affected)),
        found.modified,
    )


def _is_ours(affected: _Affected) -> bool:
    # "PyPI", or with a suffix after a colon, as the schema allows for every ecosystem.
    return affected.package is not None and affected.package.ecosystem.partition(":")[0] == ECOSYSTEM


def _affected(found: _Affected) -> Affected:
    assert found.package is not None  # noqa: S101  (see _is_ours)
    return Affected(
        canonicalize_name(found.package.name),
        frozenset(found.versions or ()),
        tuple(
            tuple(event for each in one.events for event in each.items())
            for one in found.ranges or ()
            if one.type in ("ECOSYSTEM", "SEMVER")  # GIT has commits
        ),
    )


def _severity(scores: Iterable[_Score], specific: Any) -> Severity | None:
    """The highest severity that the document has, by its CVSS vectors or by GitHub's rating."""
    found = [rating for score in scores if (rating := _rating(score)) is not None]
    given = specific.get("severity") if isinstance(specific, dict) else None
    if isinstance(given, str) and given.upper() in _RATINGS:
        found.append(_RATINGS[given.upper()])
    return max(found, default=None)


def _rating(score: _Score) -> Severity | None:
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    kinds = {"CVSS_V2": CVSS2, "CVSS_V3": CVSS3, "CVSS_V4": CVSS4}
    if score.type not in kinds:
        return None
    try:
        rating = kinds[score.type](score.score).severities()[0]
    except CVSSError:
        return None
    return _RATINGS.get(rating.upper())


def affects(affected: Affected, version: str) -> bool:
    """Whether a version of the package is affected; also if its ranges cannot be compared with the version."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return version in affected.versions or bool(affected.ranges)
    # "1.0+cpu" is above 1.0 and no other release (PEP 440, local version identifiers): advisories name public versions.
    public = Version(parsed.public)
    return any(_equal(each, one) for each in affected.versions for one in (parsed, public)) or any(
        _within(events, one) for events in affected.ranges for one in (parsed, public)
    )


def _equal(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _within(events: Sequence[tuple[str, str]], version: Version) -> bool:
    """The schema's evaluation: the last event at or below the version decides."""
    try:
        # "0" is before every version, also before 0.dev0.
        points = [(kind, None if text == "0" else Version(text)) for kind, text in events if kind != "limit"]
        limits = [Version(text) for kind, text in events if kind == "limit" and text != "*"]
    except InvalidVersion:
        return True
    if limits and all(version >= limit for limit in limits):
        return False
    inside = False
    for kind, point in sorted(points, key=lambda each: (each[1] is not None, each[1] or Version("0"))):
        match kind:
            case "introduced" if point is None or version >= point:
                inside = True
            case "fixed" if point is not None and version >= point:
                inside = False
            case "last_affected" if point is not None and version > point:
                inside = False
    return inside
