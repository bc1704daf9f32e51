"""Explain one transaction from its record and the logs: events, reasons, and the path through the state machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.settings import Entrance
from cfn.workflow.limits import DETAILS_PREFIX
from pipeline.core.errors import NextStep, SubmissionError
from pipeline.transactions.drawing import draw
from pipeline.transactions.transaction_records import read_record
from pipeline.transactions.ways import TURNS, follow

# How the names of executions begin: those of the commands, and of the entrances (``cfn.settings.Entrance``).
ENTRANCES = {
    "submit": "submit",
    "redrive": "redrive",
    "http": Entrance.HTTP,
    "queue": Entrance.QUEUE,
    "file": Entrance.FILES,
}
# Lines to read per log group and search; a transaction has a handful.
LOG_LINES_MAX = 200
# Keys of every log line that say nothing new about this transaction.
_KNOWN_KEYS = {
    "level", "location", "message", "timestamp", "service", "cold_start", "function_name", "function_memory_size",
    "function_arn", "function_request_id", "transaction_id", "execution", "xray_trace_id",
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """One event. at: ISO 8601 in UTC with milliseconds; source: "record" or the name of a log."""

    at: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Story:
    """What is known about one transaction.

    way     states in the order they were entered; only those known for certain
    record  attributes of the record as plain values
    notes   sentences about what could not be determined
    """

    transaction_id: str
    status: str
    moments: tuple[Moment, ...]
    way: tuple[str, ...]
    record: Mapping[str, Any]
    details: Mapping[str, Any] | None
    notes: tuple[str, ...]
    definition: Mapping[str, Any]

    @property
    def answer(self) -> dict[str, Any] | None:
        text = self.record.get("answer")
        return json.loads(text) if text else None

    def to_json(self) -> dict[str, Any]:
        return {
            "transaction_id": self.transaction_id,
            "status": self.status,
            "answer": self.answer,
            "received_at": self.record.get("received_at"),
            "decided_at": self.record.get("decided_at"),
            "execution": self.record.get("execution"),
            "entrance": entrance_of(str(self.record.get("execution", ""))),
            "attempts": int(self.record.get("attempts", 1)),
            "judges": json.loads(self.record.get("judges", "{}")),
            "details": dict(self.details) if self.details else None,
            "way": list(self.way),
            "moments": [{"at": each.at, "source": each.source, "text": each.text} for each in self.moments],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The story as text."""
        answer = self.answer
        lines = [f"{self.transaction_id}  {answer['outcome'] if answer else self.status}", ""]
        lines += [f"  {moment.at}  {moment.source:<24}  {moment.text}" for moment in self.moments]
        if answer and answer["reasons"]:
            lines += ["", "why"]
            lines += [f"  {reason['source']}/{reason['rule']}: {reason['message']}" for reason in answer["reasons"]]
        judges = json.loads(self.record.get("judges", "{}"))
        if judges:
            lines += ["", "judged by"]
            lines += [
                f"  {name:<12} {judge.get('image', 'unknown image')}  rules {judge.get('rules', 'unknown')}"
                for name, judge in judges.items()
            ]
        lines += ["", "path", "  " + " → ".join(self.way)]
        if self.notes:
            lines += ["", *self.notes]
        return "\n".join(lines)

    def svg(self) -> str:
        """The state machine as SVG with the path highlighted."""
        return draw(self.definition, self.way, title=f"Path of {self.transaction_id}")


def explain(
    dynamodb: Any,
    logs: Any,
    *,
    table: str,
    transaction_id: str,
    definition: Mapping[str, Any],
    log_groups: Mapping[str, str],
) -> Story:
    """Collect what is known about one transaction; read-only.

    definition  of the state machine (see ``pipeline.transactions.ways.read_definition``)
    log_groups  display name → log group, of the functions and of the state machine, which logs errors only

    Raises SubmissionError if the table cannot be read or has no record of the id. A log that cannot be read only adds a
    note.
    """
    try:
        record = read_record(dynamodb, table, transaction_id)
        details = read_record(dynamodb, table, DETAILS_PREFIX + transaction_id)
    except (BotoCoreError, ClientError) as error:
        raise SubmissionError(
            f"{transaction_id} was not explained", f"the table {table} cannot be read: {error}", "Check that it exists."
        ) from error
    if record is None or "status" not in record:
        raise SubmissionError(
            f"{transaction_id} was not explained",
            "the table has no record of this id",
            NextStep("Submit it, or check whether it is parked", ("redrive", "--dry-run", "--id", transaction_id)),
        )
    notes: list[str] = []
    moments = [*_record_moments(record), *_log_moments(logs, log_groups, record, notes)]
    if record["status"] == "CLAIMED":
        notes.append(_claim_note(record))
    if details is None and record.get("outcome") in ("REVIEW", "DECLINED"):
        notes.append("Its details have expired or were not stored.")
    return Story(
        transaction_id=transaction_id,
        status=record["status"],
        moments=tuple(sorted(moments)),
        way=way_of(definition, record),
        record=record,
        details=details,
        notes=tuple(notes),
        definition=definition,
    )


def entrance_of(execution: str) -> str:
    """The way by which a transaction came, from the name of the execution that claimed it last.

    >>> entrance_of("http-2f1c:9b"), entrance_of("nightly-batch:3")
    ('http', 'the state machine')
    """
    return str(ENTRANCES.get(execution.partition("-")[0], "the state machine"))


def _record_moments(record: Mapping[str, Any]) -> Iterator[Moment]:
    attempts = int(record.get("attempts", 1))
    more = f" in attempt {attempts}" if attempts > 1 else ""
    yield Moment(record["received_at"], "record", f"received through {entrance_of(str(record['execution']))}")
    if "parked_at" in record:
        yield Moment(record["parked_at"], "record", f"parked: {record['parked_error']}")
    if "decided_at" in record:
        yield Moment(record["decided_at"], "record", f"{record['outcome']} by {record['execution']}{more}")


def _claim_note(record: Mapping[str, Any]) -> str:
    until = datetime.fromtimestamp(int(record.get("lease_until", 0)) / 1000, UTC)
    if until.timestamp() == 0:
        return "Its claim was released: the next submission or redrive processes it."
    if until < datetime.now(UTC):
        return "The execution that claimed it ended without releasing it: the next submission or redrive takes over."
    return f"{record['execution']} holds its claim until {_iso(until)}."


def way_of(definition: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, ...]:
    """The states that a transaction is known to have entered, in order, from its record."""
    match record["status"], record.get("outcome"):
        case "DECIDED", "REJECTED":
            rules = {reason.get("rule") for reason in json.loads(record["answer"])["reasons"]}
            return follow(definition, TURNS["too large" if "too_large" in rules else "rejected"])
        case "DECIDED", "APPROVED":
            return follow(definition, TURNS["approved"])
        case "DECIDED", _:
            return follow(definition, TURNS["flagged"])
    failed = str(record.get("parked_error", "")).partition(":")[0]
    straight = follow(definition, TURNS["flagged"])
    if failed in straight:
        return (*straight[: straight.index(failed) + 1], "Park", "Release", "Parked")
    # There is a record, so it was claimed.
    return straight[: straight.index("Claim") + 1]


def _log_moments(
    logs: Any, log_groups: Mapping[str, str], record: Mapping[str, Any], notes: list[str]
) -> Iterator[Moment]:
    start = datetime.fromisoformat(record["received_at"]) - timedelta(minutes=1)
    end = datetime.fromisoformat(record.get("decided_at") or _iso(datetime.now(UTC))) + timedelta(minutes=10)
    for name, group in log_groups.items():
        try:
            # Functions log the transaction id, the state machine logs the execution.
            for pattern in (record["transaction_id"], record["execution"]):
                for event in _events(logs, group, f'"{pattern}"', start, end):
                    if (text := _line(event["message"], record, pattern)) is not None:
                        yield Moment(_iso(datetime.fromtimestamp(event["timestamp"] / 1000, UTC)), name, text)
        except (BotoCoreError, ClientError) as error:
            notes.append(f"The log group {group} was not read: {error}")


def _events(logs: Any, group: str, pattern: str, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    left = LOG_LINES_MAX
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group,
        filterPattern=pattern,
        startTime=int(start.timestamp() * 1000),
        endTime=int(end.timestamp() * 1000),
        PaginationConfig={"MaxItems": LOG_LINES_MAX},
    )
    for page in pages:
        for event in page["events"]:
            left -= 1
            if left >= 0:
                yield event


def _line(message: str, record: Mapping[str, Any], searched: str) -> str | None:
    """A log line of this transaction as a phrase; None for metrics, or a line that the other search finds."""
    try:
        entry = json.loads(message)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    if searched == record["execution"] and str(entry.get("execution_arn", "")).endswith(f":{searched}"):
        details = entry.get("details") or {}
        known = [str(details[key]) for key in ("name", "error", "cause") if details.get(key)]
        return " ".join([str(entry.get("type", "")), *known])
    if searched != record["transaction_id"] or entry.get("transaction_id") != searched:
        return None
    more = {key: value for key, value in entry.items() if key not in _KNOWN_KEYS}
    return " ".join([str(entry.get("message", "")), *(f"{key}={_short(value)}" for key, value in more.items())])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
