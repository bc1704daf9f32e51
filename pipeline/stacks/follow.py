"""Follow a stack operation: report its events until it has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core import interruption
from pipeline.core.errors import StackError
from pipeline.core.events import Report, ResourceChanged
from pipeline.stacks.stack_events import StackEvent, history
from pipeline.stacks.state import StackStatus, read_status

# Seconds between polls: short at first for the embedded AWS and small updates, longer later, because
# DescribeStackEvents is throttled per account.
FIRST_PAUSE = 0.03
LONGEST_PAUSE = 5.0
# The end of an operation is noticed within a fifth of its duration.
_GROWTH = 1.2
# Seconds without any event (_QUIET) or without a new event (_STALLED) after which the status of the stack is read too,
# and (_SILENCE) after which the status alone decides. The expected events never come if another deployment did the same
# a moment before, or replaced the stack.
_QUIET, _STALLED, _SILENCE = 1.0, 5.0, 30.0


class Deadline:
    """The end of a timeout in seconds."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def check(self, stack: str) -> None:
        """Raises StackError if the timeout has passed."""
        if self.left <= 0:
            raise StackError(
                f"the wait for the stack {stack} timed out",
                f"CloudFormation is still working on it after {self.timeout:,.0f} seconds, and continues",
                "Run the same command again: it waits for the operation in progress and continues from there.",
            )


class Pause:
    """Sleeps between polls, for FIRST_PAUSE up to ``longest`` seconds, never beyond the deadline."""

    def __init__(self, deadline: Deadline, longest: float = LONGEST_PAUSE) -> None:
        self._deadline = deadline
        self._longest = longest
        self._next = FIRST_PAUSE

    def __call__(self, stack: str) -> None:
        self._deadline.check(stack)
        interruption.sleep(max(0.0, min(self._next, self._deadline.left)))
        self._next = min(self._next * _GROWTH, self._longest)


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of an operation: the status of the stack, and the events of the operation, oldest first."""

    status: StackStatus
    events: tuple[StackEvent, ...]


def follow(cfn: Any, stack: str, stack_id: str, token: str, report: Report, deadline: Deadline) -> Settled:
    """Wait for the operation with this client request token and report its resource events.

    CloudFormation puts the token on every event of the operation, including its rollback (API_StackEvent), so events of
    other operations are not mistaken for its own. Raises StackError at the deadline.
    """
    pause, events, seen = Pause(deadline), list[StackEvent](), set[str]()
    last, ended = time.monotonic(), False
    while True:
        fresh = [event for event in _new_events(cfn, stack_id, seen, token) if event.token == token]
        for event in fresh:
            events.append(event)
            _report(report, stack, event)
        ended = ended or any(_may_be_the_end(event, stack_id) for event in fresh)
        last = time.monotonic() if fresh else last
        quiet = time.monotonic() - last
        # Events say when to read the status, the status says whether it ended: a rollback may follow CREATE_FAILED.
        if ended or quiet > (_STALLED if events else _QUIET):
            status = read_status(cfn, stack_id)
            # A deleted stack needs no event of this operation; other states wait for one, up to _SILENCE.
            if (
                status.gone
                or (quiet > _SILENCE and not status.in_progress)
                or (ended and not status.in_progress and _agrees(status, events, stack_id))
            ):
                return Settled(status, tuple(events))
        pause(stack)


def wait_until_settled(cfn: Any, stack: str, stack_id: str, report: Report, deadline: Deadline) -> StackStatus:
    """Wait for any operation in progress and report its resource events from now on."""
    pause, seen = Pause(deadline), set[str]()
    for event in _new_events(cfn, stack_id, seen):
        del event  # skip the history
    while True:
        status = read_status(cfn, stack_id)
        for event in _new_events(cfn, stack_id, seen):
            _report(report, stack, event)
        if not status.in_progress:
            return status
        pause(stack)


def _new_events(cfn: Any, stack_id: str, seen: set[str], token: str | None = None) -> Sequence[StackEvent]:
    """Events not in ``seen``, oldest first, which are added to it. token: as in ``history``."""
    fresh: list[StackEvent] = []
    for event in history(cfn, stack_id, token):
        if event.event_id in seen:
            break
        fresh.append(event)
    seen.update(event.event_id for event in fresh)
    return fresh[::-1]


def _may_be_the_end(event: StackEvent, stack_id: str) -> bool:
    return event.of_stack(stack_id) and not event.status.endswith("_IN_PROGRESS")


def _agrees(status: StackStatus, events: Sequence[StackEvent], stack_id: str) -> bool:
    """Whether the status matches the last event of the stack; DescribeStacks may lag behind."""
    return [event.status for event in events if event.of_stack(stack_id)][-1] == status


def _report(report: Report, stack: str, event: StackEvent) -> None:
    report(ResourceChanged(stack, event.logical_id, event.resource_type, event.status, event.reason))
