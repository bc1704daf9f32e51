"""Reading logs: pages, lines that arrive late, equal lines, and what belongs to a transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from commands.log_lines import LogLines, wants_colour
from pipeline.core.spans import parse_duration
from pipeline.operations.logs import (
    LATE,
    STATE_MACHINE,
    LogEvent,
    LogReader,
    LogSource,
    parse_transaction_id,
)

REQUEST = "2ed7ec19-64ff-41f1-8c91-c4e9acc8d802"
OTHER = "5f0b4c1e-64ff-41f1-8c91-c4e9acc8d802"
SOURCE = LogSource("one", "one-dev")


@dataclass
class CloudWatch:
    """FilterLogEvents as AWS answers it: oldest first, with ids, two events a page; without ids as an emulator does."""

    ids: bool = True
    page: int = 2
    tokens: bool = True
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    calls: int = 0

    def put(self, at: int, message: str, group: str = "one-dev", stream: str = "s") -> None:
        events = self.groups.setdefault(group, [])
        event = {"logStreamName": stream, "timestamp": at, "message": message, "ingestionTime": at}
        events.append(event | ({"eventId": f"{group}-{len(events)}"} if self.ids else {}))

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.calls += 1
        if request["logGroupName"] not in self.groups:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents")
        term = request.get("filterPattern", "").strip('"')
        found = [
            event
            for event in sorted(self.groups[request["logGroupName"]], key=lambda each: each["timestamp"])
            if event["timestamp"] >= request["startTime"]
            and term in event["message"]
            and event["logStreamName"] in request.get("logStreamNames", [event["logStreamName"]])
        ]
        start = int(request.get("nextToken", 0))
        answer: dict[str, Any] = {"events": found[start : start + self.page]}
        if self.tokens and start + self.page < len(found):
            answer["nextToken"] = str(start + self.page)
        return answer


def messages(events: tuple[LogEvent, ...]) -> list[str]:
    return [event.message for event in events]


def test_all_pages_are_read_and_nothing_twice() -> None:
    logs = CloudWatch()
    for number in range(5):
        logs.put(1000 + number, f"line {number}")
    reader = LogReader(logs, [SOURCE], 0)
    assert messages(reader.read()) == [f"line {number}" for number in range(5)]
    assert reader.read() == ()
    logs.put(2000, "line 5")
    assert messages(reader.read()) == ["line 5"]


def test_groups_are_merged_by_time() -> None:
    logs = CloudWatch()
    logs.put(1, "a")
    logs.put(3, "c")
    logs.put(2, "b", "two-dev")
    assert messages(LogReader(logs, [LogSource("two", "two-dev"), SOURCE], 0).read()) == ["a", "b", "c"]


def test_a_line_that_arrives_late_is_not_lost() -> None:
    logs = CloudWatch()
    logs.put(100_000, "newer")
    reader = LogReader(logs, [SOURCE], 0)
    reader.read()
    logs.put(100_000 - LATE, "older, and later here")
    assert messages(reader.read()) == ["older, and later here"]


def test_what_is_long_past_is_not_read_again() -> None:
    logs = CloudWatch(page=1000)
    for number in range(100):
        logs.put(number * LATE, str(number))
    reader = LogReader(logs, [SOURCE], 0)
    reader.read()
    logs.groups["one-dev"][0]["message"] = "changed"
    logs.groups["one-dev"][0]["eventId"] = "another"
    assert reader.read() == ()


@pytest.mark.parametrize("ids", [True, False])
def test_equal_lines_of_one_moment_are_all_given(ids: bool) -> None:
    logs = CloudWatch(ids=ids)
    logs.put(1, "tick")
    logs.put(1, "tick")
    reader = LogReader(logs, [SOURCE], 0)
    assert messages(reader.read()) == ["tick", "tick"]
    logs.put(1, "tick")
    assert messages(reader.read()) == ["tick"]


def test_an_answer_that_ends_full_and_without_a_token_is_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.operations.logs.PAGE", 4)
    logs = CloudWatch(ids=False, page=4, tokens=False)
    for number in range(10):
        logs.put(number // 2, f"line {number % 2}")
    assert len(LogReader(logs, [SOURCE], 0).read()) == 10


def test_a_group_that_is_not_there_is_named() -> None:
    logs = CloudWatch()
    logs.put(1, "a")
    reader = LogReader(logs, [SOURCE, LogSource("two", "two-dev")], 0)
    assert messages(reader.read()) == ["a"]
    assert reader.missing == {"two-dev"}


def test_a_transaction_is_its_invocations_and_its_execution() -> None:
    logs = CloudWatch(page=100)
    said = {"message": "judged", "transaction_id": "t-1", "execution": "run-7", "function_request_id": REQUEST}
    logs.put(1, f"START RequestId: {REQUEST} Version: 1")
    logs.put(1, json.dumps(said))
    logs.put(1, json.dumps({"message": "another", "transaction_id": "t-12"}), stream="t")
    logs.put(2, f"REPORT RequestId: {REQUEST}\tDuration: 1 ms")
    logs.put(3, "START RequestId: 00000000-64ff-41f1-8c91-c4e9acc8d802 Version: 1")
    logs.put(4, json.dumps({"type": "ExecutionFailed", "execution_arn": "arn:x:run-7"}), "states")
    logs.put(4, json.dumps({"type": "ExecutionFailed", "execution_arn": "arn:x:run-8"}), "states")
    found = LogReader(logs, [LogSource(STATE_MACHINE, "states"), SOURCE], 0, "t-1").read()
    assert [event.at for event in found] == [1, 1, 2, 4]
    assert "run-7" in found[-1].message


def logged(transaction: str, request: str) -> str:
    return json.dumps({"message": "judged", "transaction_id": transaction, "function_request_id": request})


METRICS = json.dumps({"_aws": {"CloudWatchMetrics": []}, "service": "one"})


@pytest.mark.parametrize("ids", [True, False])
def test_lines_that_name_no_invocation_belong_to_the_one_that_runs(ids: bool) -> None:
    logs = CloudWatch(ids=ids, page=3)
    logs.put(1, "printed by INIT")
    logs.put(1, f"START RequestId: {REQUEST} Version: 1")
    logs.put(2, "printed")
    logs.put(2, "printed by another worker", stream="t")
    logs.put(2, logged("t-1", REQUEST))
    logs.put(2, METRICS)
    logs.put(3, "an AWS service said no (RequestId: 00000000-64ff-41f1-8c91-c4e9acc8d802)")
    logs.put(3, METRICS)
    logs.put(3, f"END RequestId: {REQUEST}")
    logs.put(3, f"REPORT RequestId: {REQUEST}\tDuration: 1 ms")
    logs.put(3, "printed after its end")
    logs.put(4, f"START RequestId: {OTHER} Version: 1")
    logs.put(4, METRICS)
    reader = LogReader(logs, [SOURCE], 0, "t-1")
    found = messages(reader.read())
    assert found[:3] == [f"START RequestId: {REQUEST} Version: 1", "printed", logged("t-1", REQUEST)]
    assert found[3:] == [event["message"] for event in logs.groups["one-dev"][5:10]]
    assert reader.read() == ()


def test_where_the_platform_logs_nothing_they_belong_to_the_one_that_was_named_last() -> None:
    logs = CloudWatch()
    for at, transaction, request in ((1, "t-0", OTHER), (2, "t-1", REQUEST), (3, "t-2", OTHER)):
        logs.put(at, logged(transaction, request))
        logs.put(at, f"metrics of {transaction}")
    found = messages(LogReader(logs, [SOURCE], 0, "t-1").read())
    assert found == [logged("t-1", REQUEST), "metrics of t-1"]


def test_nothing_is_read_beyond_the_next_invocation() -> None:
    logs = CloudWatch()
    logs.put(1, logged("t-1", REQUEST))
    for number in range(100):
        logs.put(2 + number, logged("t-2", OTHER))
    LogReader(logs, [SOURCE], 0, "t-1").read()
    assert logs.calls == 3


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_times(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1.5h", "1y", "9999999s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "a b", 'x"', "x" * 65, "é"])
def test_what_is_no_transaction_id(text: str) -> None:
    with pytest.raises(ValueError, match="saw"):
        parse_transaction_id(text)


def line(message: str, *, colour: bool = False) -> str:
    return LogLines(["one", STATE_MACHINE], colour).text(LogEvent(1795449467857, 0, "one", "s", message))


def test_a_line_of_a_logger_is_its_words_and_its_own_keys() -> None:
    said = {"level": "INFO", "message": "fraud score", "service": "x", "function_name": "y", "score": 3, "reasons": []}
    assert line(json.dumps(said)).endswith("one            INFO fraud score score=3 reasons=[]")


def test_metrics_are_one_short_line() -> None:
    said = {
        "_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "A"}, {"Name": "B"}]}]}, "A": [1.0], "B": [2, 3], "s": "x"
    }  # fmt: skip
    assert line(json.dumps(said)).endswith("  metrics A=1.0 B=[2,3]")


def test_text_stays_as_it_is() -> None:
    assert line("{not json\n").endswith("  {not json")


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[36m" in line("x", colour=True)
    assert "\x1b" not in line("x")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (wants_colour(True), wants_colour(False)) == (True, False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert wants_colour(True) is False
