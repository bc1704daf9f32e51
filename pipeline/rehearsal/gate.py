"""What a release may change, and on which transactions that is judged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.rehearsal.comparison import Rehearsal, grouped

OUTCOMES = ("APPROVED", "REVIEW", "DECLINED", "REJECTED")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a release is rehearsed on.

    path     of the recorded transactions
    limit    at most so many of them, from the beginning
    workers  concurrent transactions; None: as many as executions are reserved for each function
    """

    path: Path
    limit: int | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What a release may change.

    max_changed  transactions with another outcome; None for any number
    forbidden    kinds of which there may be none: ``REJECTED to APPROVED``
    """

    max_changed: int | None = None
    forbidden: tuple[str, ...] = ()

    def refusals(self, rehearsal: Rehearsal) -> tuple[str, ...]:
        """Why a release with this rehearsal may not be deployed; () if it may."""
        found = []
        if rehearsal.stopped:
            found.append(rehearsal.stopped)
        elif rehearsal.failures:
            first = rehearsal.failures[0]
            found.append(f"{len(rehearsal.failures):,} are not answered, the first {first.transaction_id}: {first.why}")
        if not rehearsal.replayed:
            found.append("nothing was replayed")
        changed = rehearsal.changed
        if self.max_changed is not None and len(changed) > self.max_changed:
            found.append(f"{len(changed):,} have another outcome, and at most {self.max_changed:,} may")
        for kind, differences in grouped(changed):
            if kind in self.forbidden:
                found.append(f"{len(differences):,} are {kind}, such as {differences[0].transaction_id}")
        return tuple(found)


def require_kind(kind: str) -> str:
    """The kind, if there can be transactions of it. Raises ValueError: a misspelt one would forbid nothing."""
    before, separator, after = kind.partition(" to ")
    if not separator or before not in OUTCOMES or after not in OUTCOMES or before == after:
        raise ValueError(f"a kind is like 'REJECTED to APPROVED', of {', '.join(OUTCOMES)}; saw: {kind[:80]!a}")
    return kind


@dataclass(frozen=True, slots=True)
class RequiredRehearsal:
    """A rehearsal that a release has to pass."""

    gate: Gate
    recorded: Recorded
