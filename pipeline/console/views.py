"""What the pages show, as values: pure functions of what was read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from pipeline.assembly.proof.verification import Proven, facts_of
from pipeline.console.flow import Flow
from pipeline.core.errors import NextStep, PipelineError
from pipeline.doctor.verdict import CheckResult, Status
from pipeline.drift.drifted import Drifted
from pipeline.ledger.releases import Release
from pipeline.release.smoke import SAMPLE
from pipeline.stacks import StackState
from pipeline.stacks.stack_events import StackEvent
from pipeline.transactions.causes import cause_in_words
from pipeline.transactions.explain import Story
from pipeline.transactions.redrive import Redriven

EXAMPLE = json.dumps({"transaction_id": "test-123", **SAMPLE}, indent=2)
# The states of the machine that call a function, by the function's name.
STATES = {
    "transaction-validation": "Validate", "fraud-detection": "FraudDetection", "compliance-checking": "Compliance",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of ``doctor`` that is not fine."""

    status: str
    name: str
    evidence: str
    cure: str


def findings_of(results: Iterable[CheckResult], drift: Iterable[Drifted], spell: Any) -> tuple[Finding, ...]:
    """Errors and warnings, errors first. drift: read later than by ``doctor``, whose own finding of it is left out."""
    bad = [each for each in results if each.status in (Status.WARNING, Status.ERROR) and each.name != "drift"]
    revert = NextStep("Put it back", ("up", "--revert-drift"))
    bad += [CheckResult("changed outside of the stack", Status.WARNING, each.text, revert) for each in drift]
    bad.sort(key=lambda each: each.status is not Status.ERROR)
    return tuple(Finding(str(each.status), each.name, each.evidence, each.cure.render(spell)) for each in bad)


def notes_of(flow: Flow) -> dict[str, str]:
    """The notes in the picture: how many entered a state, and how long a function takes."""
    if flow.transactions is None:
        return {}
    notes = {state: str(count) for state, count in flow.transactions.entered.items()}
    for each in flow.functions:
        state = STATES.get(each.name)
        if state in notes and each.latency.p99 is not None:
            notes[state] += f" · p99 {each.latency.p99:.0f} ms"
    return notes


@dataclass(frozen=True, slots=True)
class Judge:
    """A function that judged a transaction, by image and rules."""

    name: str
    image: str
    rules: str


def judges_of(story: Story) -> tuple[Judge, ...]:
    judges: Mapping[str, Mapping[str, Any]] = json.loads(story.record.get("judges", "{}"))
    return tuple(
        Judge(name, str(each.get("image", "unknown")), str(each.get("rules", "unknown")))
        for name, each in sorted(judges.items())
    )


@dataclass(frozen=True, slots=True)
class ParkedView:
    """A parked submission; words: its cause for people."""

    transaction_id: str
    parked_at: str
    state: str
    error: str
    words: str
    why: str

    @classmethod
    def of(cls, redriven: Redriven) -> ParkedView:
        message = redriven.message
        words = cause_in_words(message.cause)[:600]
        identifier = message.transaction_id or ""
        return cls(identifier, message.parked_at, message.state, message.error, words, redriven.why)

    def has(self, text: str) -> bool:
        """Whether any of it contains the text, without case."""
        everything = (self.transaction_id, self.state, self.error, self.words)
        return any(text.casefold() in each.casefold() for each in everything)


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release, and what it changed."""

    number: int
    at: datetime
    by: str
    revision: str
    changed: tuple[str, ...]


def releases_of(releases: Sequence[Release]) -> tuple[ReleaseView, ...]:
    """Newest first. releases: oldest first."""
    changed: dict[int, tuple[str, ...]] = {
        after.number: tuple(each.what for each in difference_of(before, after).rows)
        for before, after in pairwise(releases)
    }
    return tuple(
        ReleaseView(each.number, each.at, each.by, each.revision, changed.get(each.number, ()))
        for each in reversed(releases)
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that differs; "–" stands for none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from release ``before`` to release ``after``."""

    before: int
    after: int
    rows: tuple[Row, ...]


def difference_of(before: Release, after: Release) -> Difference:
    """Images, the template, and parameters by name."""
    rows = []
    for name in sorted({*before.images, *after.images}):
        old, new = before.images.get(name), after.images.get(name)
        if old != new:
            rows.append(Row(name, old.short if old else "–", new.short if new else "–"))
    for name in after.content.differences(before.content):
        if name == "template":
            rows.append(Row(name, before.content.template.short, after.content.template.short))
        else:
            old_value, new_value = (each.content.parameters.get(name, "–") for each in (before, after))
            rows.append(Row(name, old_value, new_value))
    return Difference(before.number, after.number, tuple(rows))


@dataclass(frozen=True, slots=True)
class ProofView:
    """Whether an image of a release is proven, and what its verified provenance says."""

    function: str
    digest: str
    faults: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def proofs_of(proven: Mapping[str, Proven]) -> tuple[ProofView, ...]:
    return tuple(
        ProofView(name, str(each.digest), each.faults, tuple(facts_of(each.provenance or {}).items()))
        for name, each in sorted(proven.items())
    )


@dataclass(frozen=True, slots=True)
class StackView:
    """A stack, and the events of its last operation, oldest first."""

    name: str
    status: str
    reason: str
    settled: bool
    events: tuple[StackEvent, ...]

    @classmethod
    def of(cls, state: StackState, events: Sequence[StackEvent]) -> StackView:
        settled = state.status.updatable
        return cls(state.name, str(state.status), state.reason, settled, tuple(events))


@dataclass(frozen=True, slots=True)
class Query:
    """The query of the transactions page: an id, or a customer."""

    id: str = ""
    customer: str = ""

    @property
    def text(self) -> str:
        return self.id or self.customer


def status_of(problem: PipelineError) -> int:
    """The HTTP status of a page with an error: not found, or AWS failed."""
    return 404 if "no record of this id" in problem.why else 502
