"""Read the logs of functions and workflow from CloudWatch Logs, merged by time, without duplicates or gaps.

    LogReader(client, sources, since, transaction).read() -> events not returned before, oldest first

Call ``read`` repeatedly to follow the logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code

STATE_MACHINE = "state-machine"
# An event may appear this long after others with a later time, because streams are ingested independently (ms).
LATE = 60_000
# The most events of one response (API_FilterLogEvents).
PAGE = 10_000
# The form of transaction ids (images/transactions).
_ID = r"[A-Za-z0-9._:-]"
_TRANSACTION_ID = re.compile(_ID + "{1,64}")
# Where loggers and the platform name an invocation or execution. Elsewhere a request id may be that of a service.
_REQUEST = re.compile(
    r'(?:"(?:function_request_id|requestId)":\s*"|^(?:START |END |REPORT )?RequestId: )([0-9a-f]{8}-[0-9a-f-]{27})'
)
# The platform's last line on an invocation.
_REPORT = re.compile(r'^REPORT RequestId: |"type":\s*"platform\.report"')
_EXECUTION = re.compile(r'"execution":\s*"([A-Za-z0-9_-]{1,80})"')


@dataclass(frozen=True, slots=True)
class LogSource:
    """A source of logs: a function's name or STATE_MACHINE, and its log group."""

    name: str
    group: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event. at, arrived: milliseconds since 1970."""

    at: int
    arrived: int
    source: str
    stream: str
    message: str

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.at / 1000, UTC)

    @property
    def content(self) -> Any:
        """The message as a JSON object if it is one, else as text."""
        if self.message.startswith("{"):
            try:
                return json.loads(self.message)
            except ValueError:
                pass
        return self.message.rstrip("\n")

    def to_json(self) -> dict[str, Any]:
        time = f"{self.time:%Y-%m-%dT%H:%M:%S}.{self.at % 1000:03d}Z"
        return {"time": time, "source": self.source, "stream": self.stream, "message": self.content}


def parse_transaction_id(text: str) -> str:
    """Validate a transaction id. Raises ValueError."""
    if not _TRANSACTION_ID.fullmatch(text):
        raise ValueError(f"a transaction id has 1 to 64 of A-Z a-z 0-9 . _ : -, saw: {text!r}")
    return text


class LogReader:
    """Reads the logs of ``sources`` since ``since`` (ms since 1970); each event is returned once.

    transaction  only events of this transaction: those with its id, and all others of the invocations that logged it
                 and of its execution
    """

    def __init__(self, client: Any, sources: Sequence[LogSource], since: int, transaction: str | None = None) -> None:
        self._client = client
        self._sources = tuple(sources)
        self._since = since
        self._transaction = transaction
        self._newest: dict[str, int] = {}
        self._given: dict[tuple[Any, ...], int] = {}
        self._requests: dict[str, dict[str, None]] = {}
        self._executions: dict[str, None] = {}
        self.missing: set[str] = set()

    def read(self) -> tuple[LogEvent, ...]:
        """The events not returned before, oldest first.

        Missing log groups are skipped and added to ``missing``: a function that was never invoked may have none.
        """
        self.missing.clear()
        fresh: list[LogEvent] = []
        # The state machine last: the functions' logs name its executions.
        for source in sorted(self._sources, key=lambda each: each.name == STATE_MACHINE):
            try:
                found = dict(self._find(source))
            except ClientError as problem:
                if error_code(problem) != "ResourceNotFoundException":
                    raise
                self.missing.add(source.group)
                continue
            for key, event in found.items():
                if key not in self._given:
                    self._given[key] = event.at
                    fresh.append(event)
                self._newest[source.group] = max(self._newest.get(source.group, 0), event.at)
        self._forget()
        return tuple(sorted(fresh, key=lambda event: (event.at, event.arrived)))

    def _find(self, source: LogSource) -> Iterator[tuple[tuple[Any, ...], LogEvent]]:
        if self._transaction is None:
            yield from self._query(source, "")
            return
        if source.name == STATE_MACHINE:
            for execution in self._executions:
                yield from self._query(source, execution)
            return
        requests = self._requests.setdefault(source.group, {})
        exactly = re.compile(rf"(?<!{_ID}){re.escape(self._transaction)}(?!{_ID})")
        named = [each for each in self._query(source, self._transaction) if exactly.search(each[1].message)]
        for _, event in named:
            requests |= dict.fromkeys(_REQUEST.findall(event.message))
            self._executions |= dict.fromkeys(_EXECUTION.findall(event.message))
        # Invocations first, because their lines include those that name the transaction, in order.
        for request in requests:
            spans: dict[str, tuple[int, int]] = {}
            for _, event in self._query(source, request):
                first, _ = spans.setdefault(event.stream, (event.at, event.at))
                spans[event.stream] = first, event.at
            for stream, span in spans.items():
                yield from self._invocation(source, request, stream, *span)
        yield from named

    def _invocation(
        self, source: LogSource, request: str, stream: str, first: int, last: int
    ) -> Iterator[tuple[tuple[Any, ...], LogEvent]]:
        """The lines of an invocation in a stream, which names it from ``first`` to ``last`` (ms).

        Metrics and printed lines name no invocation. A stream belongs to one worker, which handles one invocation at a
        time, so such a line belongs to the invocation named last.
        """
        own = False
        for key, event in self._query(source, "", stream, first):
            named = _REQUEST.findall(event.message)
            if named:
                own = request in named
                if not own and event.at > last:
                    return
            if own:
                yield key, event
                own = not _REPORT.search(event.message)

    def _query(
        self, source: LogSource, term: str, stream: str = "", since: int = 0
    ) -> Iterator[tuple[tuple[Any, ...], LogEvent]]:
        """Events with ``term`` in them, in a ``stream`` if one is named, each under a key of its own, page by page.

        AWS gives every event an id. The embedded AWS does not, so there equal lines of one moment are counted; and it
        ends an answer at PAGE events without a token, so reading continues from the last event's time.
        """
        start = max(self._since, self._newest.get(source.group, 0) - LATE, since)
        request: dict[str, Any] = {"logGroupName": source.group, "startTime": start}
        if term:
            request["filterPattern"] = f'"{term}"'
        if stream:
            request["logStreamNames"] = [stream]
        seen: dict[tuple[Any, ...], int] = {}
        while True:
            page = self._client.filter_log_events(**request)
            events = page.get("events", [])
            for raw in events:
                key: tuple[Any, ...] = (raw.get("eventId"),)
                if key[0] is None:
                    line = (source.group, raw["logStreamName"], raw["timestamp"], raw["message"])
                    seen[line] = seen.get(line, 0) + 1
                    key = (*line, seen[line])
                arrived = raw.get("ingestionTime", raw["timestamp"])
                yield key, LogEvent(raw["timestamp"], arrived, source.name, raw["logStreamName"], raw["message"])
            if page.get("nextToken"):
                request["nextToken"] = page["nextToken"]
            elif len(events) >= PAGE and events[-1]["timestamp"] > request["startTime"]:
                request["startTime"] = events[-1]["timestamp"]
                # The events of that millisecond come again and are counted again.
                seen = {line: count for line, count in seen.items() if line[2] < request["startTime"]}
            else:
                return

    def _forget(self) -> None:
        """Only what a later read may find again has to be remembered."""
        oldest = min((self._newest.get(source.group, 0) for source in self._sources), default=0) - LATE
        if len(self._given) > 2 * PAGE:
            self._given = {key: at for key, at in self._given.items() if at >= oldest}


@dataclass(frozen=True, slots=True)
class Sample:
    """Some events of one log. since, until: the time that they cover (ms since 1970); all of it unless ``cut``."""

    events: tuple[LogEvent, ...]
    since: int
    until: int
    cut: bool

    @property
    def seconds(self) -> float:
        until = self.events[-1].at if self.cut and self.events else self.until
        return max(0.001, (until - self.since) / 1000)


def sample_log(
    client: Any, source: LogSource, until: int, windows: Sequence[int], *, term: str = "", enough: int, limit: int
) -> Sample:
    """Recent events with ``term``, in one call for each window, however much is logged.

    windows  seconds before ``until`` (ms since 1970), rising; the first that gives ``enough`` events is used

    A log group that does not exist has no events.
    """
    for seconds in windows:
        since = until - seconds * 1000
        request: dict[str, Any] = {"logGroupName": source.group, "startTime": since, "endTime": until, "limit": limit}
        if term:
            request["filterPattern"] = f'"{term}"'
        try:
            page = client.filter_log_events(**request)
        except ClientError as problem:
            if error_code(problem) != "ResourceNotFoundException":
                raise
            page = {}
        events = tuple(
            LogEvent(raw["timestamp"], raw.get("ingestionTime", 0), source.name, raw["logStreamName"], raw["message"])
            for raw in page.get("events", [])
        )
        found = Sample(events, since, until, cut=bool(page.get("nextToken")) or len(events) >= limit)
        if len(events) >= enough:
            break
    return found
