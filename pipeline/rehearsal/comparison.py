"""Two answers to one transaction, compared; and what the differences of a file come to. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.shown import shown

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A transaction that the candidates answer differently.

    before, after  the stored answer and the candidates'
    rules          "<function>/<rule>" of each reason that only one of them has, or has otherwise
    """

    transaction_id: str
    line: int
    before: Answer
    after: Answer
    rules: tuple[str, ...]

    @property
    def outcome_changed(self) -> bool:
        return bool(self.before.get("outcome") != self.after.get("outcome"))

    @property
    def kind(self) -> str:
        """``APPROVED to REVIEW``; ``APPROVED`` for another score or other reasons only."""
        before, after = _text(self.before.get("outcome")), _text(self.after.get("outcome"))
        return f"{before} to {after}" if self.outcome_changed else before

    def to_json(self) -> dict[str, Any]:
        return {
            "transaction_id": self.transaction_id,
            "line": self.line,
            "kind": self.kind,
            "rules": list(self.rules),
            **{
                name: {key: answer.get(key) for key in ("outcome", "score", "reasons")}
                for name, answer in (("before", self.before), ("after", self.after))
            },
        }


def compare(transaction_id: str, line: int, before: Answer, after: Answer) -> Difference | None:
    """The difference in outcome, score, findings or reasons; None without one. Their order does not count."""
    old, new = _reasons(before), _reasons(after)
    if all(before.get(key) == after.get(key) for key in ("outcome", "score")) and old == new:
        return None
    rules = {_rule(json.loads(each)) for each in (old - new) + (new - old)}
    return Difference(transaction_id, line, before, after, tuple(sorted(rules)))


def _reasons(answer: Answer) -> Counter[str]:
    found = answer.get("reasons")
    return Counter(json.dumps(each, sort_keys=True) for each in found) if isinstance(found, list) else Counter()


def _rule(reason: Any) -> str:
    if not isinstance(reason, dict):
        return "unknown"
    field_name = f" {reason['field']}" if reason.get("field") else ""
    return f"{_text(reason.get('source'))}/{_text(reason.get('rule'))}{field_name}"


def _text(value: object) -> str:
    return shown(value) if isinstance(value, str) and value else "nothing"


@dataclass(frozen=True, slots=True)
class Failure:
    """A transaction that the candidates do not answer. why: the state that fails, and its error."""

    transaction_id: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds of a function's invocations; of the running image, None if it was not timed."""

    function: str
    p50: float
    p99: float
    running_p50: float | None = None
    running_p99: float | None = None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The result of a rehearsal.

    replayed     transactions that were judged again
    differences  those that are answered differently, in the order of the file
    uncertain    those that differ from the stored answer, but not with every history that may have been read
    failures     those without an answer
    skipped      lines that cannot be compared, by the reason
    malformed    (line, why)
    stopped      why it ended before the end of the file; ""
    """

    replayed: int
    differences: tuple[Difference, ...] = ()
    uncertain: tuple[Difference, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    malformed: tuple[tuple[int, str], ...] = ()
    speeds: tuple[Speed, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str = ""

    @property
    def changed(self) -> tuple[Difference, ...]:
        """Those with another outcome."""
        return tuple(each for each in self.differences if each.outcome_changed)

    @property
    def summary(self) -> str:
        """``10,000 replayed in 41 s: 37 APPROVED to REVIEW, all by rule velocity-3; 0 errors; p99 +2 ms``."""
        parts = [*map(_group, grouped(self.changed))]
        if reasons := len(self.differences) - len(self.changed):
            parts.append(f"{reasons:,} with the same outcome and other reasons")
        parts = parts or ["no difference"]
        parts[:1] = [f"{self.replayed:,} replayed in {self.seconds:.0f} s: {parts[0]}"]
        if self.uncertain:
            parts.append(f"{len(self.uncertain):,} uncertain")
        if skipped := sum(self.skipped.values()):
            parts.append(f"{skipped:,} not compared")
        if self.malformed:
            parts.append(f"{len(self.malformed):,} malformed")
        parts.append(f"{len(self.failures):,} error{'' if len(self.failures) == 1 else 's'}")
        timed = [each for each in self.speeds if each.running_p99 is not None]
        if timed:
            worst = max(timed, key=_slower)
            parts.append(f"p99 {_slower(worst):+.0f} ms in {worst.function}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "summary": self.summary,
            "replayed": self.replayed,
            "changed": len(self.changed),
            "kinds": {kind: len(each) for kind, each in grouped(self.differences)},
            "differences": [each.to_json() for each in self.differences],
            "uncertain": [each.to_json() for each in self.uncertain],
            "errors": [
                {"transaction_id": each.transaction_id, "line": each.line, "why": each.why} for each in self.failures
            ],
            "skipped": dict(sorted(self.skipped.items())),
            "malformed": [{"line": number, "why": why} for number, why in self.malformed],
            "speeds": [
                {
                    "function": each.function, "p50": each.p50, "p99": each.p99, "running_p50": each.running_p50,
                    "running_p99": each.running_p99,
                }
                for each in self.speeds
            ],
            "images": dict(sorted(self.images.items())),
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
        }  # fmt: skip


def grouped(differences: Sequence[Difference]) -> list[tuple[str, list[Difference]]]:
    """The differences by kind, the most frequent first."""
    found: dict[str, list[Difference]] = {}
    for each in differences:
        found.setdefault(each.kind, []).append(each)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def _group(group: tuple[str, Sequence[Difference]]) -> str:
    kind, differences = group
    return f"{len(differences):,} {kind}{by_rules(differences)}"


def by_rules(differences: Sequence[Difference]) -> str:
    """``, all by rule velocity-3``, or the most frequent rules with their counts; "" where no reason differs."""
    counts = Counter(rule.rpartition("/")[2] for each in differences for rule in each.rules)
    shared = [rule for rule, count in counts.items() if count == len(differences)]
    if shared and len(shared) == len(counts):
        return f", all by rule {' and '.join(sorted(shared))}"
    first = [f"{rule} ({count:,})" for rule, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]]
    return f", by rules {', '.join(first)}{' and others' if len(counts) > 3 else ''}" if first else ""


def _slower(speed: Speed) -> float:
    return speed.p99 - (speed.running_p99 or 0.0)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed (nearest rank). values: not empty."""
    ordered = sorted(values)
    # Rounded first, because 100 * 0.07 is more than 7 as a float.
    return ordered[max(0, math.ceil(round(len(ordered) * share, 6)) - 1)]
