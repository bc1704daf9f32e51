"""The flow of the last minutes, sampled with a fixed number of calls, whatever the load; nothing scans the table.

Rates and durations come from the functions' logs, outcomes from the records of the transactions that were logged last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cfn.names import LIVE_ALIAS
from cfn.workflow.limits import VALIDATION
from pipeline.console.function_flow import FunctionFlow, Latency, Reports, release_of
from pipeline.console.subject import Cached, Subject
from pipeline.console.transaction_flow import TransactionFlow, entered_states, recent_of
from pipeline.core.aws_answers import image_uri
from pipeline.drift.drifted import Drifted
from pipeline.drift.function_drift import deployed_functions, drift_of, read_drift
from pipeline.ledger.releases import list_releases
from pipeline.operations.logs import LogSource, Sample, sample_log
from pipeline.transactions.parked import ParkedQueue
from pipeline.transactions.transaction_records import read_records

# Seconds that are looked back on: the shortest that has ENOUGH events.
WINDOWS = (10, 60, 300)
ENOUGH, LIMIT = 100, 1_000
# Transactions whose records are read.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Flow:
    """What the first page shows.

    alarms        names of alarms in the state ALARM
    drift         functions and aliases that were changed outside of the stack
    transactions  None for a project without the transaction pipeline
    """

    at: datetime
    functions: tuple[FunctionFlow, ...]
    alarms: tuple[str, ...]
    transactions: TransactionFlow | None
    drift: tuple[Drifted, ...] = ()

    @property
    def invocations(self) -> float:
        """Of all functions, a minute."""
        return sum(each.per_minute for each in self.functions)

    @property
    def errors(self) -> int:
        return sum(each.errors for each in self.functions)


class FlowReader:
    """Reads the flow of a subject; at most once in ``seconds``, however many pages look at it."""

    def __init__(self, subject: Subject, seconds: float) -> None:
        self._subject = subject
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="flow")
        self._flow = Cached(self._read, seconds)
        # Change with a release only, and cost calls.
        self._functions = Cached(self._read_functions, 15)
        self._alarms = Cached(self._read_alarms, 15)
        self._drift = Cached(self._read_drift, 60)

    def __call__(self) -> Flow:
        return self._subject.read("the flow was not read", self._flow)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Flow:
        names = self._subject.names
        sources = {name: LogSource(name, names.log_group(name)) for name in self._subject.functions}
        reports = {name: self._sampled(source, "REPORT RequestId") for name, source in sources.items()}
        failed = {name: self._sampled(source, "ERROR") for name, source in sources.items()}
        functions, alarms = self._pool.submit(self._functions), self._pool.submit(self._alarms)
        drift = self._pool.submit(self._drift)
        transactions = self._read_transactions(reports) if self._subject.has_transactions else None
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
        return Flow(datetime.now().astimezone(), tuple(flows), alarms.result(), transactions, drift.result())

    def _sampled(self, source: LogSource, term: str) -> Future[Sample]:
        logs, now = self._subject.client("logs"), int(time.time() * 1000)
        return self._pool.submit(sample_log, logs, source, now, WINDOWS, term=term, enough=ENOUGH, limit=LIMIT)

    def _read_transactions(self, reports: Mapping[str, Future[Sample]]) -> TransactionFlow:
        """reports: samples of the functions' REPORT lines."""
        subject = self._subject
        named = self._sampled(LogSource(VALIDATION, subject.names.log_group(VALIDATION)), "transaction_id")
        parked = self._pool.submit(ParkedQueue(subject.client("sqs"), subject.output("DeadLetterQueueUrl")).count)
        ids = [event.content.get("transaction_id") for event in named.result().events if _is_object(event.content)]
        newest = list(dict.fromkeys(each for each in reversed(ids) if isinstance(each, str)))[:SHOWN]
        records = read_records(subject.client("dynamodb"), subject.output("StateTableName"), newest)
        definition = subject.state_machine
        entries = reports[VALIDATION].result() if VALIDATION in reports else named.result()
        return TransactionFlow(
            seconds=entries.seconds,
            per_minute=60 * len(entries.events) / entries.seconds,
            recent=tuple(map(recent_of, records)),
            entered=entered_states(definition, records) if definition is not None else {},
            parked=parked.result(),
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
            image = image_uri(answer)
            digest = image.partition("@")[2]
            found[name] = {
                "state": answer["Configuration"].get("State", "Active"),
                "memory": int(answer["Configuration"].get("MemorySize", 0)),
                "digest": digest,
                "release": release_of(releases, name, digest),
            }
        return found

    def _read_drift(self) -> tuple[Drifted, ...]:
        return drift_of(read_drift(self._subject.client("lambda"), deployed_functions(self._subject.stack)))

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


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
