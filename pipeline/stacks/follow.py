"""Follow a stack while CloudFormation works on it: its events as they come, until it stands still."""

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

# Polling begins fast, because the embedded AWS and small updates are done at once, and calms down for what takes
# minutes: DescribeStackEvents is throttled per account (seconds).
FIRST_PAUSE = 0.03
LONGEST_PAUSE = 5.0
# What is asked about is seen to be over after a fifth more than it took, at the most.
_GROWTH = 1.2
# Without a single event of the operation for _QUIET, or without a new one for _STALLED, the stack itself is asked too;
# after _SILENCE its status alone decides (seconds). Somebody else may have done the same a moment before, and then the
# events are theirs; or may have put another stack in its place, and then its end never comes.
_QUIET, _STALLED, _SILENCE = 1.0, 5.0, 30.0


class Deadline:
    """The moment until which an operation may take; ``timeout`` in seconds."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def check(self, stack: str) -> None:
        """Raises StackError when the time is over."""
        if self.left <= 0:
            raise StackError(
                f"the stack {stack} was not waited for any longer",
                f"CloudFormation is still at work on it after {self.timeout:,.0f} seconds, and goes on by itself",
                "Run the same command again: it waits for what is under way and goes on from there.",
            )


class Pause:
    """A pause that grows from FIRST_PAUSE to LONGEST_PAUSE, and never sleeps past the deadline."""

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
    """A stack that stands still: its status, and the events of the operation that was followed, oldest first."""

    status: StackStatus
    events: tuple[StackEvent, ...]


def follow(cfn: Any, stack: str, stack_id: str, token: str, report: Report, deadline: Deadline) -> Settled:
    """Wait for the operation that was started with the client request token ``token``, reporting its resources.

    CloudFormation puts the token on every event of the operation, its rollback included (API_StackEvent), so another
    operation's events are never mistaken for this one's. Raises StackError at the deadline.
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
        # Events tell when to ask, the stack tells whether it is over: CREATE_FAILED may go on into a rollback.
        if ended or quiet > (_STALLED if events else _QUIET):
            status = read_status(cfn, stack_id)
            # Without any event of this operation, a stack that is gone needs none, and another one is given longer.
            if (
                status.gone
                or (quiet > _SILENCE and not status.in_progress)
                or (ended and not status.in_progress and _agrees(status, events, stack_id))
            ):
                return Settled(status, tuple(events))
        pause(stack)


def wait_until_settled(cfn: Any, stack: str, stack_id: str, report: Report, deadline: Deadline) -> StackStatus:
    """Wait for whatever somebody else started on the stack, reporting its resources from now on."""
    pause, seen = Pause(deadline), set[str]()
    for event in _new_events(cfn, stack_id, seen):
        del event  # history: only what happens from now on is told
    while True:
        status = read_status(cfn, stack_id)
        for event in _new_events(cfn, stack_id, seen):
            _report(report, stack, event)
        if not status.in_progress:
            return status
        pause(stack)


def _new_events(cfn: Any, stack_id: str, seen: set[str], token: str | None = None) -> Sequence[StackEvent]:
    """Events that were not seen yet, oldest first; adds them to ``seen``. ``token`` as in ``history``."""
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
    """Whether the stack's status is the one of its last event: DescribeStacks may still answer from before."""
    return [event.status for event in events if event.of_stack(stack_id)][-1] == status


def _report(report: Report, stack: str, event: StackEvent) -> None:
    report(ResourceChanged(stack, event.logical_id, event.resource_type, event.status, event.reason))
