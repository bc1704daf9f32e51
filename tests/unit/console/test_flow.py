"""What logs and records say about the flow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfn.workflow.composition import definition
from pipeline.console.flow import alarm_names
from pipeline.console.function_flow import Latency, Reports
from pipeline.console.transaction_flow import Recent, entered_states, recent_of
from pipeline.operations.logs import LogEvent, LogSource, Sample, sample_log

SOURCE = LogSource("f", "group")


def report(duration: str, *, init: str = "", memory: int = 30) -> LogEvent:
    text = f"REPORT RequestId: 1-2\tDuration: {duration} ms\tBilled Duration: 8 ms\tMemory Size: 128 MB\t"
    text += f"Max Memory Used: {memory} MB\t" + (f"Init Duration: {init} ms\t" if init else "")
    return LogEvent(1, 1, "f", "s", text)


def test_reports_are_read() -> None:
    events = (report("7.66", init="55.10", memory=29), report("1000"), LogEvent(2, 2, "f", "s", "REPORT RequestId: x"))
    assert Reports.of(Sample(events, 0, 1000, cut=False)) == Reports((7.66, 1000.0), 30, 55.1)
    assert Reports.of(Sample((), 0, 1000, cut=False)) == Reports()


def test_percentiles() -> None:
    assert Latency.of([]) == Latency(None, None)
    assert Latency.of([5.0]) == Latency(5.0, 5.0)
    assert Latency.of([float(number) for number in range(200)]) == Latency(100.0, 198.0)


@pytest.mark.parametrize(
    ("record", "recent"),
    [
        (
            {"transaction_id": "t", "status": "DECIDED", "outcome": "REVIEW", "received_at": "2026-01-01T00:00:00.000Z",
             "decided_at": "2026-01-01T00:00:01.500Z"},
            Recent("t", "REVIEW", "2026-01-01T00:00:00.000Z", 1500.0),
        ),
        (
            {"transaction_id": "t", "status": "CLAIMED", "received_at": "x", "parked_error": "Validate: Boom"},
            Recent("t", "PARKED", "x", None, "Validate: Boom"),
        ),
        ({"status": "CLAIMED"}, Recent("", "CLAIMED", "", None)),
        ({}, Recent("", "", "", None)),
    ],
)  # fmt: skip
def test_a_record_is_read_whatever_is_in_it(record: dict[str, Any], recent: Recent) -> None:
    assert recent_of(record) == recent


def test_states_are_counted() -> None:
    approved = {"status": "DECIDED", "outcome": "APPROVED"}
    parked = {"status": "CLAIMED", "parked_error": "Validate: Boom"}
    counts = entered_states(definition(), [approved, approved, parked])
    assert (counts["Claim"], counts["Decide"], counts["Parked"], counts.get("Alert")) == (3, 2, 1, None)


def test_alarms_are_those_of_the_template() -> None:
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": "ours"}}
    other = {"Type": "AWS::SQS::Queue", "Properties": {}}
    assert alarm_names(json.dumps({"Resources": {"a": alarm, "b": other}})) == ["ours"]
    assert alarm_names("") == []


class Logs:
    """A log of events at given times (ms), as FilterLogEvents answers."""

    def __init__(self, *times: int) -> None:
        self.times, self.calls = times, 0

    def filter_log_events(self, *, startTime: int, endTime: int, limit: int, **_more: Any) -> dict[str, Any]:
        self.calls += 1
        found = [time for time in self.times if startTime <= time <= endTime]
        events = [{"timestamp": time, "logStreamName": "s", "message": "m"} for time in found[:limit]]
        return {"events": events, "nextToken": "more"} if len(found) > limit else {"events": events}


def test_a_sample_takes_the_shortest_time_that_is_enough() -> None:
    logs = Logs(*range(0, 300_000, 1_000))
    sample = sample_log(logs, SOURCE, 300_000, (10, 60, 300), enough=30, limit=100)
    assert (len(sample.events), sample.seconds, logs.calls) == (60, 60.0, 2)


def test_a_sample_that_is_cut_covers_less_time() -> None:
    sample = sample_log(Logs(*range(0, 10_000, 10)), SOURCE, 10_000, (10,), enough=1, limit=100)
    assert (len(sample.events), sample.cut, sample.seconds) == (100, True, 0.99)


def test_nothing_logged_is_an_empty_sample() -> None:
    logs = Logs()
    sample = sample_log(logs, SOURCE, 300_000, (10, 300), enough=1, limit=100)
    assert (sample.events, sample.seconds, logs.calls) == ((), 300.0, 2)
