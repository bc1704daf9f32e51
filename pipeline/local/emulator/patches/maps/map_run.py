"""A Map Run and its child executions: what is kept of them, their counts, and what is tolerated."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from pipeline.local.emulator.patches.maps.map_items import Batch

UNSUCCESSFUL = {"FAILED": "failed", "TIMED_OUT": "timedOut", "ABORTED": "aborted"}
COUNTERS = ("pending", "running", "succeeded", "failed", "timedOut", "aborted", "total", "resultsWritten")


@dataclass(slots=True)
class Child:
    """A child execution. ``first`` is the index of its first item."""

    machine_arn: str
    first: int
    batch: Batch
    status: str = "PENDING"
    arn: str = ""
    name: str = ""
    started: str = ""
    stopped: str = ""
    output: Any = None
    error: str = ""
    cause: str = ""
    redrives: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a result file shows it (Step Functions guide, ResultWriter)."""
        document = {
            "ExecutionArn": self.arn,
            "Input": json.dumps(self.batch.input, ensure_ascii=False),
            "InputDetails": {"Included": True},
            "Name": self.name,
            "RedriveCount": self.redrives,
            "StartDate": self.started,
            "StateMachineArn": self.machine_arn,
            "Status": self.status,
            "StopDate": self.stopped,
        }
        if self.status == "SUCCEEDED":
            return document | {
                "Output": json.dumps(self.output, ensure_ascii=False),
                "OutputDetails": {"Included": True},
            }
        return document | ({"Error": self.error, "Cause": self.cause} if self.error else {})


@dataclass(slots=True)
class MapRun:
    """A Map Run, with what its redrive needs. ``view`` is what DescribeMapRun answers, and ministack's own record."""

    view: dict[str, Any]
    execution_started: str
    state: str
    raw_input: Any
    variables: dict[str, Any]
    children: list[Child] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Held while it is processed: a redrive waits for a stopped run to end.
    active: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        return str(self.view["mapRunArn"]).rpartition(":")[2]

    def move(self, child: Child, before: str, after: str, attempt: int | None = None) -> bool:
        """Change a child's status, and the counts of children and of items along.

        Returns False, and changes nothing, if its status is not ``before``, or if it was redriven after ``attempt``.
        """
        with self.lock:
            if child.status != before or attempt not in (None, child.redrives):
                return False
            for counts, number in ((self.view["executionCounts"], 1), (self.view["itemCounts"], child.batch.items)):
                counts[_counter(before)] -= number
                counts[_counter(after)] += number
            child.status = after
            return True

    def exceeds(self) -> bool:
        """Whether more items failed than are tolerated. Without a limit none is."""
        items = self.view["itemCounts"]
        failed = items["failed"] + items["timedOut"]
        count, percentage = self.view["toleratedFailureCount"], self.view["toleratedFailurePercentage"]
        limits = [failed > count] if count else []
        limits += [failed * 100 > percentage * items["total"]] if percentage else []
        return bool(failed) and (any(limits) if limits else True)


def _counter(status: str) -> str:
    return UNSUCCESSFUL.get(status, status.lower())
