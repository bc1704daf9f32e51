"""The flow of the last minutes: rate, outcomes and latency, from the functions' logs and the records that they name.

Everything is sampled with a fixed number of calls, whatever the load, and nothing scans the table. Rates and durations
come from the platform's REPORT lines (Lambda developer guide, "Log and monitor"), outcomes from the records of the
transactions that were logged last.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cfn.names import LIVE_ALIAS
from cfn.workflow.limits import VALIDATION
from pipeline.console.subject import Cached, Subject
from pipeline.ledger.releases import Release, list_releases
from pipeline.operations.logs import LogSource, Sample, sample_log
from pipeline.transactions.explain import way_of
from pipeline.transactions.parked import ParkedQueue
from pipeline.transactions.transaction_records import Record, read_records

# Seconds that are looked back on: the shortest that has ENOUGH events.
WINDOWS = (10, 60, 300)
ENOUGH, LIMIT = 100, 1_000
# Transactions whose records are read.
SHOWN = 100
_REPORT = re.compile(
    r"^REPORT RequestId: \S+\s+Duration: (?P<duration>[\d.]+) ms.*?Max Memory Used: (?P<memory>\d+) MB"
    r"(?:\s+Init Duration: (?P<init>[\d.]+) ms)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; None without a measurement."""

    p50: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Latency:
        """
        >>> Latency.of([3.0, 1.0, 2.0])
        Latency(p50=2.0, p99=3.0)
        """
        ordered = sorted(values)
        if not ordered:
            return cls()
        return cls(*(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)))


@dataclass(frozen=True, slots=True)
class FunctionFlow:
    """A function, and its invocations in the sampled time.

    release      the newest release that has its image, if any
    memory       MB that it has; memory_used: the most that an invocation used
    init         ms of its last cold start in the sampled time
    per_minute   invocations
    errors       log lines of level ERROR
    """

    name: str
    state: str
    digest: str
    release: int | None
    memory: int
    memory_used: int | None
    init: float | None
    per_minute: float
    latency: Latency
    errors: int


@dataclass(frozen=True, slots=True)
class Recent:
    """One of the last transactions. failed: the state that parked it, or ""."""

    transaction_id: str
    outcome: str
    received_at: str
    milliseconds: float | None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """What the page of the pipeline shows.

    seconds   that were sampled for the rate
    entered   how many of the recent transactions entered each state
    failures  "state: error" of recent transactions that were parked
    parked    messages in the queue, about
    alarms    names of alarms in the state ALARM
    """

    at: datetime
    seconds: float
    per_minute: float
    outcomes: Mapping[str, int]
    latency: Latency
    functions: tuple[FunctionFlow, ...]
    recent: tuple[Recent, ...]
    entered: Mapping[str, int]
    failures: Mapping[str, int]
    parked: int
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reports:
    """What REPORT lines say."""

    durations: tuple[float, ...] = ()
    memory_used: int | None = None
    init: float | None = None

    @classmethod
    def of(cls, sample: Sample) -> Reports:
        found = [match for event in sample.events if (match := _REPORT.match(event.message))]
        inits = [float(match["init"]) for match in found if match["init"]]
        return cls(
            tuple(float(match["duration"]) for match in found),
            max((int(match["memory"]) for match in found), default=None),
            inits[-1] if inits else None,
        )


def recent_of(record: Record) -> Recent:
    """A record as one of the last transactions; of any content, because others may write the table."""
    received, decided = _instant(record.get("received_at")), _instant(record.get("decided_at"))
    took = (decided - received).total_seconds() * 1000 if received and decided else None
    failed = "" if decided else str(record.get("parked_error", ""))
    state = "PARKED" if failed else str(record.get("status", ""))
    return Recent(
        str(record.get("transaction_id", "")),
        str(record.get("outcome", state)),
        str(record.get("received_at", "")),
        took,
        failed,
    )


def entered_states(definition: Mapping[str, Any], records: Sequence[Record]) -> dict[str, int]:
    """How many of the transactions entered each state."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(way_of(definition, record))
    return dict(counts)


class FlowReader:
    """Reads the flow of a subject; at most once in ``seconds``, however many pages look at it."""

    def __init__(self, subject: Subject, seconds: float) -> None:
        self._subject = subject
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="flow")
        self._flow = Cached(self._read, seconds)
        # Change with a release only, and cost calls.
        self._functions = Cached(self._read_functions, 15)
        self._alarms = Cached(self._read_alarms, 15)

    def __call__(self) -> Flow:
        return self._subject.read("the flow was not read", self._flow)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Flow:
        subject, now = self._subject, int(time.time() * 1000)
        names = subject.names
        logs, dynamodb = subject.client("logs"), subject.client("dynamodb")
        sources = {name: LogSource(name, names.log_group(name)) for name in subject.functions}

        def sampled(source: LogSource, term: str) -> Sample:
            return sample_log(logs, source, now, WINDOWS, term=term, enough=ENOUGH, limit=LIMIT)

        reports = {name: self._pool.submit(sampled, source, "REPORT RequestId") for name, source in sources.items()}
        failed = {name: self._pool.submit(sampled, source, "ERROR") for name, source in sources.items()}
        named = self._pool.submit(sampled, LogSource(VALIDATION, names.log_group(VALIDATION)), "transaction_id")
        queue = ParkedQueue(subject.client("sqs"), subject.output("DeadLetterQueueUrl"))
        parked = self._pool.submit(queue.count)
        functions, alarms = self._pool.submit(self._functions), self._pool.submit(self._alarms)

        ids = [event.content.get("transaction_id") for event in named.result().events if _is_object(event.content)]
        newest = list(dict.fromkeys(each for each in reversed(ids) if isinstance(each, str)))[:SHOWN]
        records = read_records(dynamodb, subject.output("StateTableName"), newest)
        recent = tuple(map(recent_of, records))
        entries = reports[VALIDATION].result() if VALIDATION in reports else named.result()
        flows = []
        for name, found in functions.result().items():
            sample, said = reports[name].result(), Reports.of(reports[name].result())
            flows.append(
                FunctionFlow(
                    name=name, **found, memory_used=said.memory_used, init=said.init,
                    per_minute=60 * len(said.durations) / sample.seconds,
                    latency=Latency.of(said.durations), errors=len(failed[name].result().events),
                )
            )  # fmt: skip
        return Flow(
            at=datetime.now().astimezone(),
            seconds=entries.seconds,
            per_minute=60 * len(entries.events) / entries.seconds,
            outcomes=dict(sorted(Counter(each.outcome for each in recent).items())),
            latency=Latency.of([each.milliseconds for each in recent if each.milliseconds is not None]),
            functions=tuple(flows),
            recent=recent,
            entered=entered_states(subject.state_machine, records),
            failures=dict(Counter(each.failed for each in recent if each.failed)),
            parked=parked.result(),
            alarms=alarms.result(),
        )

    def _read_functions(self) -> dict[str, dict[str, Any]]:
        client = self._subject.client("lambda")
        releases = list_releases(self._subject.client("ssm"), self._subject.names.ledger)
        found = {}
        for name in self._subject.functions:
            try:
                answer = client.get_function(FunctionName=self._subject.names.function(name), Qualifier=LIVE_ALIAS)
            except client.exceptions.ResourceNotFoundException:
                found[name] = {"state": "not there", "memory": 0, "digest": "", "release": None}
                continue
            image = str(answer["Code"].get("ResolvedImageUri") or answer["Code"].get("ImageUri", ""))
            digest = image.partition("@")[2]
            found[name] = {
                "state": answer["Configuration"].get("State", "Active"),
                "memory": int(answer["Configuration"].get("MemorySize", 0)),
                "digest": digest,
                "release": release_of(releases, name, digest),
            }
        return found

    def _read_alarms(self) -> tuple[str, ...]:
        names = alarm_names(self._subject.stack.template)
        if not names:
            return ()
        pages = self._subject.client("cloudwatch").get_paginator("describe_alarms").paginate(
            AlarmNames=names, StateValue="ALARM"
        )  # fmt: skip
        return tuple(sorted(str(each["AlarmName"]) for page in pages for each in page.get("MetricAlarms", [])))


def alarm_names(template: str) -> list[str]:
    """The names of a template's alarms, at most 100 for one call; none without a template."""
    resources = json.loads(template)["Resources"].values() if template else ()
    alarms = [each["Properties"]["AlarmName"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    return [name for name in alarms if isinstance(name, str)][:100]


def release_of(releases: Sequence[Release], function: str, digest: str) -> int | None:
    """The newest release in which the function has that image."""
    numbers = [each.number for each in releases if str(each.images.get(function, "")) == digest]
    return max(numbers, default=None)


def _instant(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
