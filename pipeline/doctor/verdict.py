"""The result of a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.errors import NextStep


class Status(StrEnum):
    """In order of severity. UNKNOWN: the check could not be made; it does not block a release."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    ERROR = "error"


_RANK = list(Status)
NOTHING = NextStep("")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``evidence``: what was found, with its values. ``cure``: what to do; without text if there is nothing to do."""

    status: Status
    evidence: str
    cure: NextStep = NOTHING


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The name, verdict and duration in seconds of a check."""

    name: str
    status: Status
    evidence: str
    cure: NextStep = NOTHING
    seconds: float = 0.0


def ok(evidence: str) -> Verdict:
    return Verdict(Status.OK, evidence)


def unknown(evidence: str, cure: NextStep | str = NOTHING) -> Verdict:
    return Verdict(Status.UNKNOWN, evidence, NextStep.of(cure))


def warning(evidence: str, cure: NextStep | str) -> Verdict:
    return Verdict(Status.WARNING, evidence, NextStep.of(cure))


def error(evidence: str, cure: NextStep | str) -> Verdict:
    return Verdict(Status.ERROR, evidence, NextStep.of(cure))


def combine(verdicts: Iterable[Verdict], otherwise: str) -> Verdict:
    """Combine verdicts: the worst status, and the evidence and cures of all that are not OK, or of all if all are.

    otherwise  the evidence if there are no verdicts

    >>> combine([ok("a"), error("b", "fix b")], "").evidence
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
        _joined(dict.fromkeys(each.cure for each in bad if each.cure.text)),
    )


def _joined(cures: Iterable[NextStep]) -> NextStep:
    """All texts as sentences, then all commands."""
    found = list(cures)
    texts = [each.text if each is found[-1] else f"{each.text.rstrip('.')}." for each in found]
    commands = dict.fromkeys(command for each in found for command in each.commands)
    return NextStep(" ".join(texts), *commands)
