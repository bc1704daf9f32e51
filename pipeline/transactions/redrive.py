"""Resubmit parked transactions; a message is deleted only after its answer is recorded.

A redrive can be killed at any time: each message is then still parked, or its answer is recorded, and submitting it
again gives the same answer. Concurrent redrives get different messages, because a place hides what it has handed out.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.errors import SubmissionError
from pipeline.core.events import Report, Submitted, ignore
from pipeline.transactions.claims import read_claim
from pipeline.transactions.parked import ParkedMessage, ParkedQueue, ParkedTable, Place, reading_failed
from pipeline.transactions.submit import Answer, Parked, Unanswered, submit

# Concurrent submissions.
WORKERS = 8
# Consecutive submissions without an answer after which the redrive stops.
GIVE_UP_AFTER = 20


class Result(StrEnum):
    """The result of one parked message."""

    ANSWERED = "answered"
    PARKED_AGAIN = "parked again"
    UNANSWERED = "unanswered"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    CLAIMED = "claimed"
    WAITING = "waiting"


# The answer is recorded, or the input is parked again in a new message: delete this one.
_SETTLED = (Result.ANSWERED, Result.PARKED_AGAIN)


@dataclass(frozen=True, slots=True)
class Redriven:
    """One parked submission and its result; ``why`` explains every result except ANSWERED and WAITING."""

    message: ParkedMessage
    result: Result
    answer: Answer | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        message = self.message
        document: dict[str, Any] = {
            "transaction_id": message.transaction_id,
            "execution": message.execution,
            "parked_at": message.parked_at,
            "state": message.state,
            "error": message.error,
            "cause": message.cause,
            "place": message.place,
            "result": str(self.result),
        }
        if self.answer is not None:
            document["answer"] = self.answer.to_json()
        if self.why:
            document["why"] = self.why
        return document


@dataclass(frozen=True, slots=True)
class Redrive:
    """The result of a redrive: every message that it read, in order of completion.

    held     approximate number of messages held by another redrive, or by one killed less than HOLD_SECONDS ago
    stopped  why the redrive ended early; None if it did not
    limited  whether the limit was reached, so more messages may be parked
    """

    messages: tuple[Redriven, ...]
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    held: int = 0
    stopped: SubmissionError | None = None
    limited: bool = False

    @property
    def remaining(self) -> int:
        """How many messages are known to be still parked, including held ones."""
        return sum(each.result is not Result.ANSWERED for each in self.messages) + self.held

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "dry_run": self.dry_run,
            "counts": dict(self.counts),
            "remaining": self.remaining,
            "held": self.held,
            "limited": self.limited,
            "messages": [each.to_json() for each in self.messages],
        }
        if self.stopped is not None:
            stopped = self.stopped
            document["stopped"] = {"what": stopped.what, "why": stopped.why, "next_step": str(stopped.next_step)}
        return document


@dataclass(slots=True)
class Redriver:
    """Clients and resource names that a redrive needs.

    last_poll  see ``ParkedQueue``
    """

    sqs: Any
    dynamodb: Any
    stepfunctions: Any
    queue_url: str
    table: str
    state_machine_arn: str
    workers: int = WORKERS
    last_poll: int = 1

    def places(self) -> tuple[ParkedQueue, ParkedTable]:
        return ParkedQueue(self.sqs, self.queue_url, self.last_poll), ParkedTable(self.dynamodb, self.table)


def redrive(
    redriver: Redriver,
    *,
    dry_run: bool = False,
    transaction_id: str | None = None,
    limit: int | None = None,
    report: Report = ignore,
) -> Redrive:
    """Resubmit parked messages and delete those whose answer is recorded.

    dry_run         only read the messages; submit and delete nothing
    transaction_id  only redrive messages of this transaction
    limit           maximum number of submissions

    A submission that is parked again is not retried in the same run. A message that cannot be sent stays parked, and
    the run continues; it stops after GIVE_UP_AFTER consecutive submissions without an answer. Raises SubmissionError if
    the queue or the table cannot be read before the first message is done.
    """
    if limit is not None and limit < 1:
        raise SubmissionError("nothing was redriven", f"the limit is {limit}", "Use a limit of 1 or more.")
    run = _Run(redriver, dry_run, transaction_id, limit)
    done: list[Redriven] = []
    counts: Counter[str] = Counter()
    started = time.monotonic()
    stopped = None
    places = redriver.places()
    try:
        for place in places:
            for each in run.work(place):
                done.append(each)
                counts[str(each.result)] += 1
                report(Submitted("redrive", len(done), 0, time.monotonic() - started, dict(counts)))
    except (BotoCoreError, ClientError) as error:
        stopped = reading_failed(error)
        if not done:
            raise stopped from error
    finally:
        run.put_back()
    # After the requested transaction was found, no held message matters.
    held = 0 if transaction_id is not None and done else sum(place.held or 0 for place in places)
    return Redrive(tuple(done), dry_run, counts, held, stopped or run.gave_up, limited=run.limited)


class _Run:
    """The state of one redrive."""

    def __init__(self, redriver: Redriver, dry_run: bool, transaction_id: str | None, limit: int | None) -> None:
        self._redriver, self._dry_run, self._transaction_id = redriver, dry_run, transaction_id
        self._left = float("inf") if limit is None else limit
        # Results by message identity, and the executions started here: a message of one was parked again in this run.
        self._met: dict[str, Result] = {}
        self._own: set[str] = set()
        # Consecutive submissions without an answer, and the error if there were too many.
        self._silence = 0
        self.gave_up: SubmissionError | None = None
        # Transactions being submitted, whose other messages wait: one would be parked again for the other's claim.
        self._busy: set[str] = set()
        self._exhausted = False
        # Messages received but not started, and messages held until the end because they are to stay parked.
        self._taken: deque[ParkedMessage] = deque()
        self._held: list[tuple[Place, ParkedMessage]] = []

    def work(self, place: Place) -> Iterator[Redriven]:
        """Yield each message of a place with its result. Submissions run in threads; this thread settles them."""
        running: dict[Future[Redriven], ParkedMessage] = {}
        self._exhausted = False
        try:
            with ThreadPoolExecutor(self._redriver.workers) as pool:
                while True:
                    while len(running) < self._redriver.workers and (message := self._next(place)) is not None:
                        if not self._dry_run and not message.readable and _is_decided(self._redriver, message):
                            place.forget(message)
                            yield Redriven(message, Result.ANSWERED, why="its sender submitted it again")
                        elif self._dry_run or not message.readable:
                            self._held.append((place, message))
                            yield _only_looked_at(message)
                        else:
                            execution = f"redrive-{uuid.uuid4()}"
                            self._own.add(execution)
                            self._busy.add(message.transaction_id or "")
                            running[pool.submit(_submit_again, self._redriver, message, execution)] = message
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        self._busy.discard(running.pop(future).transaction_id or "")
                        yield self._settle(place, future.result())
        finally:
            self._held += [(place, message) for message in (*running.values(), *self._taken)]
            self._taken.clear()

    @property
    def limited(self) -> bool:
        return self._left <= 0

    def put_back(self) -> None:
        for place, message in self._held:
            # If the receipt handle has expired, the message is visible again already.
            with contextlib.suppress(BotoCoreError, ClientError):
                # A copy that was in flight when this message was received may be settled by now.
                if self._met.get(message.identity) in _SETTLED:
                    place.forget(message)
                else:
                    place.put_back(message)

    def _next(self, place: Place) -> ParkedMessage | None:
        """The next message to submit; None if there is none now, or the limit or GIVE_UP_AFTER is reached."""
        waiting: list[ParkedMessage] = []
        try:
            return self._next_free(place, waiting)
        finally:
            self._taken.extendleft(reversed(waiting))

    def _next_free(self, place: Place, waiting: list[ParkedMessage]) -> ParkedMessage | None:
        """The same; messages of transactions that are being submitted are added to ``waiting``."""
        while self._left > 0 and self.gave_up is None:
            if not self._taken:
                # A message is hidden for a limited time: none is taken while those taken before wait.
                if not self._exhausted and not waiting:
                    self._taken.extend(place.take(min(self._redriver.workers, 10)))
                    self._exhausted = not self._taken
                if not self._taken:
                    return None
            message = self._taken.popleft()
            if message.transaction_id is not None and message.transaction_id in self._busy:
                waiting.append(message)
            elif self._met.get(message.identity) in _SETTLED:
                place.forget(message)
            elif message.identity in self._met or self._is_own(message) or not self._is_wanted(message):
                self._held.append((place, message))
            else:
                self._met[message.identity] = Result.WAITING
                self._left -= 1
                return message
        return None

    def _is_own(self, message: ParkedMessage) -> bool:
        """Whether a submission of this run was parked: again, or with its answer given and its alert to be sent."""
        return message.execution.partition(":")[0] in self._own

    def _is_wanted(self, message: ParkedMessage) -> bool:
        return self._transaction_id is None or message.transaction_id == self._transaction_id

    def _settle(self, place: Place, redriven: Redriven) -> Redriven:
        """Record the result, and delete the message if it is settled."""
        message = redriven.message
        self._met[message.identity] = redriven.result
        self._silence = self._silence + 1 if redriven.result is Result.UNANSWERED else 0
        if self._silence >= GIVE_UP_AFTER and self.gave_up is None:
            self.gave_up = SubmissionError(
                "not everything was redriven",
                f"the last {GIVE_UP_AFTER} submissions got no answer: {redriven.why}",
                "Fix the cause and run it again: answered transactions get the same answer.",
            )
        if redriven.result in _SETTLED:
            place.forget(message)
        else:
            self._held.append((place, message))
        return redriven


def _submit_again(redriver: Redriver, message: ParkedMessage, execution: str) -> Redriven:
    try:
        if (until := _claimed_until(redriver, message)) is not None:
            why = f"another execution has claimed it until {until:%H:%M:%S} UTC; run redrive again after that"
            return Redriven(message, Result.CLAIMED, why=why)
        text = json.dumps(message.input, ensure_ascii=False, separators=(",", ":"))
        answer = submit(redriver.stepfunctions, redriver.state_machine_arn, text, execution=execution)
    except Parked as error:
        return Redriven(message, Result.PARKED_AGAIN, why=error.why)
    except Unanswered as error:
        return Redriven(message, Result.UNANSWERED, why=error.why)
    except SubmissionError as error:
        return Redriven(message, Result.REFUSED, why=f"{error.why}; it stays parked")
    except RecursionError:
        return Redriven(message, Result.REFUSED, why="it is nested too deeply; it stays parked")
    return Redriven(message, Result.ANSWERED, answer)


def _claimed_until(redriver: Redriver, message: ParkedMessage) -> datetime | None:
    """When another execution's claim ends. Submitting before only parks the message again, but loses nothing."""
    if not message.transaction_id:
        return None
    try:
        return read_claim(redriver.dynamodb, redriver.table, message.transaction_id).until
    except (BotoCoreError, ClientError):
        return None


def _is_decided(redriver: Redriver, message: ParkedMessage) -> bool:
    """Whether the transaction that a message without input names has an answer."""
    if not message.transaction_id:
        return False
    try:
        return read_claim(redriver.dynamodb, redriver.table, message.transaction_id).decided
    except (BotoCoreError, ClientError):
        return False


def _only_looked_at(message: ParkedMessage) -> Redriven:
    if message.readable:
        return Redriven(message, Result.WAITING)
    return Redriven(
        message,
        Result.UNREADABLE,
        why="it holds no input, so only its sender can resubmit it; it stays parked",
    )
