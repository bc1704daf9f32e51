"""Rehearse a release on a file of recorded transactions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from cfn.workflow.limits import COMPLIANCE, FRAUD, VALIDATION
from pipeline.core import interruption
from pipeline.core.events import Report, Submitted
from pipeline.core.shown import shown
from pipeline.rehearsal.comparison import Difference, Failure, Rehearsal, Speed, compare, percentile
from pipeline.rehearsal.recordings import Recording, Stored
from pipeline.rehearsal.replay import OtherPayload, Replay
from pipeline.rehearsal.stage import TIMED, Stage
from pipeline.rehearsal.stored_answers import Known, Table
from pipeline.transactions.submissions import GIVE_UP_AFTER
from pipeline.transactions.transaction_records import BATCH_MAX

# What the definition calls the functions.
CALLED = {
    "${ValidationFunction}": VALIDATION,
    "${FraudFunction}": FRAUD,
    "${ComplianceFunction}": COMPLIANCE,
}
# Histories that are tried for one transaction.
_HISTORIES = 50


@dataclass(frozen=True, slots=True)
class _Skipped:
    why: str


@dataclass(frozen=True, slots=True)
class _Uncertain:
    difference: Difference


_Result = Difference | Failure | _Skipped | _Uncertain | None


class Judge(Protocol):
    """Judges recordings again; ``Rehearser`` does so with transactions, ``ResponseRehearser`` with events."""

    @property
    def stage(self) -> Stage: ...

    def answers(self, transaction_ids: Sequence[str], /) -> Mapping[str, Stored | None]: ...

    def judge(self, recording: Recording, stored: Stored | None, *, recorded: bool) -> _Result: ...


@dataclass(slots=True)
class Rehearser:
    """Judges recordings again on a stage. table: has the answers and histories of those without their own."""

    replay: Replay
    stage: Stage
    table: Table

    def answers(self, transaction_ids: Sequence[str]) -> Mapping[str, Stored | None]:
        """The stored answers, as ``Table.answers`` gives them."""
        return self.table.answers(transaction_ids)

    def judge(self, recording: Recording, stored: Stored | None, *, recorded: bool) -> _Result:
        """The difference of one transaction, None without one.

        recorded  whether the table has it
        """
        if stored is None:
            return _Skipped("not decided" if recorded else "not recorded")
        try:
            known = Known.of(recording.transaction_id, stored) if stored.history is None else None
            found = self._judged(recording, stored, known)
        except OtherPayload:
            return _Skipped("another payload")
        except ValueError:
            return _Skipped("a record that cannot be read")
        if not isinstance(found, Difference) or known is None:
            return found
        least = found
        for seen in islice(known.others(), _HISTORIES):
            known.seen = seen
            other = self._judged(recording, stored, known)
            if other is None:
                return _Uncertain(found)
            if isinstance(other, Difference) and len(other.rules) < len(least.rules):
                least = other
        return least

    def _judged(self, recording: Recording, stored: Stored, known: Known | None) -> Difference | Failure | None:
        def history(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            if known is None:
                return _given(stored, arguments)
            return self.table.history(arguments, known)

        def invoke(function: str, event: Any) -> Any:
            return self.stage.invoke(CALLED[function], event)

        interruption.check()
        ended = self.replay.run(recording.transaction, stored, invoke, history)
        name = recording.transaction_id or f"line {recording.number}"
        if ended.answer is None:
            return Failure(name, recording.number, shown(ended.error))
        return compare(name, recording.number, stored.answer, ended.answer)


def _given(stored: Stored, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the Query from a history that came with the file."""
    values = arguments["ExpressionAttributeValues"]
    since, until = values[":since"]["S"], values[":until"]["S"]
    inside = [each for each in stored.history or () if since <= each["occurred_at"] <= until]
    inside.sort(key=lambda each: each["occurred_at"], reverse=True)
    keys = ("transaction_id", "occurred_at")
    return {"Items": [{key: {"S": each[key]} for key in keys} for each in inside[: int(arguments["Limit"])]]}


def rehearse(
    recordings: Iterable[Recording], rehearser: Judge, *, workers: int, images: Mapping[str, str], report: Report,
    limit: int | None = None,
) -> Rehearsal:  # fmt: skip
    """Judge every recording again, and compare. Ends early after GIVE_UP_AFTER transactions in a row without an answer.

    workers  concurrent transactions, of which each invokes one function at a time
    images   function → digest, for the report
    limit    of transactions, from the beginning of the file
    """
    run = _Rehearsing(rehearser, report)
    with ThreadPoolExecutor(workers, thread_name_prefix="rehearse") as pool:
        running: set[Future[tuple[Recording, _Result]]] = set()
        try:
            for recording, stored, recorded in run.looked_up(islice(recordings, limit)):
                running.add(pool.submit(run.judge, recording, stored, recorded))
                if len(running) >= 2 * workers:
                    running = run.collect(running)
                if run.stopped:
                    break
            while running:
                running = run.collect(running)
        finally:
            for future in running:
                future.cancel()
    return run.result(images)


@dataclass(slots=True)
class _Rehearsing:
    """Counts the results of one rehearsal."""

    rehearser: Judge
    report: Report
    started: float = field(default_factory=time.monotonic)
    replayed: int = 0
    silence: int = 0
    stopped: str = ""
    differences: list[Difference] = field(default_factory=list)
    uncertain: list[Difference] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    malformed: list[tuple[int, str]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def looked_up(self, recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Stored | None, bool]]:
        """Each recording with its stored answer, and whether it is recorded at all."""
        remaining = iter(recordings)
        while block := list(islice(remaining, BATCH_MAX)):
            usable = [each for each in block if self._is_usable(each)]
            wanted = [each.transaction_id for each in usable if each.stored is None]
            found = self.rehearser.answers(wanted) if wanted else {}
            for each in usable:
                own = each.stored or found.get(each.transaction_id)
                yield each, own, each.stored is not None or each.transaction_id in found

    def _is_usable(self, recording: Recording) -> bool:
        if recording.why:
            self.malformed.append((recording.number, recording.why))
            return False
        key = recording.transaction_id
        if not key and recording.stored is None:
            self.skipped["not recorded"] += 1
            return False
        if key and key in self._seen:
            self.skipped["repeated"] += 1
            return False
        self._seen.add(key)
        return True

    def judge(self, recording: Recording, stored: Stored | None, recorded: bool) -> tuple[Recording, _Result]:
        return recording, self.rehearser.judge(recording, stored, recorded=recorded)

    def collect(self, running: set[Future[tuple[Recording, _Result]]]) -> set[Future[tuple[Recording, _Result]]]:
        """Wait until at least one transaction has ended, count it, and return those still running."""
        ended, rest = wait(running, return_when=FIRST_COMPLETED)
        for _recording, result in sorted((each.result() for each in ended), key=lambda each: each[0].number):
            self._count(result)
        return rest

    def _count(self, result: _Result) -> None:
        self.silence = self.silence + 1 if isinstance(result, Failure) else 0
        match result:
            case _Skipped(why=why):
                self.skipped[why] += 1
                return
            case _Uncertain(difference=difference):
                self.uncertain.append(difference)
            case Failure():
                self.failures.append(result)
            case Difference():
                self.differences.append(result)
        self.replayed += 1
        if self.silence >= GIVE_UP_AFTER and not self.stopped:
            last = self.failures[-1]
            self.stopped = f"{GIVE_UP_AFTER} in a row were not answered, the last {last.transaction_id}: {last.why}"
        counts = {"changed": len(self.differences), "uncertain": len(self.uncertain), "errors": len(self.failures)}
        counts = {name: count for name, count in counts.items() if count}
        self.report(Submitted("rehearse", self.replayed, 0, time.monotonic() - self.started, counts))

    def result(self, images: Mapping[str, str]) -> Rehearsal:
        def by_line(each: Difference | Failure) -> int:
            return each.line

        return Rehearsal(
            self.replayed,
            tuple(sorted(self.differences, key=by_line)),
            tuple(sorted(self.uncertain, key=by_line)),
            tuple(sorted(self.failures, key=by_line)),
            dict(self.skipped),
            tuple(self.malformed),
            tuple(_speeds(self.rehearser.stage, images)),
            images,
            time.monotonic() - self.started,
            self.stopped,
        )


def _speeds(stage: Stage, functions: Iterable[str]) -> Iterator[Speed]:
    """The durations of each candidate: all of them, or those that the running image was timed beside."""
    for name in sorted(functions):
        own, running = stage.durations.get(name), stage.durations.get(f"running-{name}")
        if own and running:
            own = own[: max(TIMED, len(running))]
            yield Speed(name, *_ends(own), *_ends(running))
        elif own:
            yield Speed(name, *_ends(own))


def _ends(values: list[float]) -> tuple[float, float]:
    return round(percentile(values, 0.5), 2), round(percentile(values, 0.99), 2)
