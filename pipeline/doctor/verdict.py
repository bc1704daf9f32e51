"""What a check comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """From good to bad. UNKNOWN stops nothing: it could not be found out."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    ERROR = "error"


_RANK = list(Status)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``evidence``: what was seen, with its values. ``cure``: what to do, "" when there is nothing to do."""

    status: Status
    evidence: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check's name and verdict, and the seconds that it took."""

    name: str
    status: Status
    evidence: str
    cure: str = ""
    seconds: float = 0.0


def ok(evidence: str) -> Verdict:
    return Verdict(Status.OK, evidence)


def unknown(evidence: str, cure: str = "") -> Verdict:
    return Verdict(Status.UNKNOWN, evidence, cure)


def warning(evidence: str, cure: str) -> Verdict:
    return Verdict(Status.WARNING, evidence, cure)


def error(evidence: str, cure: str) -> Verdict:
    return Verdict(Status.ERROR, evidence, cure)


def together(verdicts: Iterable[Verdict], otherwise: str) -> Verdict:
    """One verdict of several: the worst status, and what every verdict of that status or worse than OK says.

    otherwise  the evidence when there are none

    >>> together([ok("a"), error("b", "mend b")], "").evidence
    'b'
    """
    found = list(verdicts)
    bad = [each for each in found if each.status is not Status.OK]
    if not bad:
        return ok("; ".join(dict.fromkeys(each.evidence for each in found)) or otherwise)
    worst = max(bad, key=lambda each: _RANK.index(each.status))
    bad.sort(key=lambda each: -_RANK.index(each.status))
    return Verdict(
        worst.status,
        "; ".join(dict.fromkeys(each.evidence for each in bad)),
        " ".join(dict.fromkeys(each.cure for each in bad if each.cure)),
    )
