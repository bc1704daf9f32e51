"""The workers of one function configuration: warm ones are reused, more are started on demand."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias, cast

from pipeline.local.images.image_pull import ImageUnavailable
from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Status
from pipeline.local.runtime.command import CannotRun
from pipeline.local.runtime.worker import Worker, init_failure_outcome
from pipeline.local.runtime.worker_process import Failure, Program

# The most workers of one function; further invocations wait for one that becomes free.
WORKERS_MAX = 32
# A surplus worker is ended after this idle time; the last one of a current function stays warm.
IDLE_SECONDS = 120.0
# An invocation that waited this long for a worker is refused as throttled, which callers retry.
QUEUE_SECONDS = 60.0
# A worker that takes longer than this to start no longer delays the start of others.
START_SECONDS = 5.0
# A worker that has just answered requests the next event within this time, much sooner than a new one would be ready.
REST_SECONDS = 0.005

# The result of waiting for a worker: a worker, or the failure of the one that did not start with its output.
Turn: TypeAlias = "asyncio.Future[Worker | tuple[Failure, str]]"


class WorkerPool:
    """Runs invocations of one FunctionConfig.

    prepare  fetches the function's image, in a thread, and returns what its workers run; raises CannotRun and
             ImageUnavailable
    starts   shared by all pools: how many workers may start at a time
    """

    def __init__(
        self, function: FunctionConfig, prepare: Callable[[FunctionConfig], Program], starts: asyncio.Semaphore
    ) -> None:
        self.function = function
        self.retired = False
        self._make_ready = prepare
        self._starts = starts
        self._invocations = 0
        self._program: asyncio.Task[Program] | None = None
        self._workers: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: deque[Turn] = deque()

    @property
    def empty(self) -> bool:
        """Whether no invocation is running or waiting."""
        return not (self._invocations or self._workers or self._starting)

    @property
    def workers(self) -> int:
        return len(self._workers)

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event. Raises only OSError, if this machine cannot start another worker."""
        self._invocations += 1
        try:
            return await self._invoke(invocation)
        finally:
            self._invocations -= 1

    async def _invoke(self, invocation: Invocation) -> Outcome:
        try:
            await self.prepare()
        except CannotRun as error:
            return Outcome.error(error.error_type, error.message)
        except ImageUnavailable as error:
            return Outcome.error("ImageUnavailable", str(error))
        try:
            found = await self._acquire()
        except TimeoutError:
            return Outcome(Status.THROTTLED, b"{}")
        if not isinstance(found, Worker):
            failure, log = found
            return init_failure_outcome(failure, self.function, invocation.request_id, log)
        return await found.invoke(invocation)

    async def warm(self) -> None:
        """Start one worker before the first invocation, which reports an image that cannot run.

        Returns when the worker is ready, or after START_SECONDS.
        """
        if self.retired:
            return
        try:
            await self.prepare()
        except (CannotRun, ImageUnavailable):
            return
        if not self._workers and not self._starting and not self.retired:
            self._grow()
            await asyncio.wait(self._starting, timeout=START_SECONDS)

    async def prepare(self) -> Program:
        """The program of the workers, once the image is ready. Raises like ``prepare``, which is retried."""
        if self._program is None or (self._program.done() and self._program.exception() is not None):
            self._program = asyncio.create_task(asyncio.to_thread(self._make_ready, self.function))
        return await asyncio.shield(self._program)

    async def _acquire(self) -> Worker | tuple[Failure, str]:
        while self._idle:
            worker = self._idle.pop()  # the one used last is the warmest
            if worker.usable:
                return worker
        turn: Turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grow()
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                return await turn
        except BaseException:
            # A worker may have been assigned at the moment of the timeout.
            if turn.done() and not turn.cancelled() and not turn.exception() and isinstance(turn.result(), Worker):
                self._release(cast(Worker, turn.result()))
            raise

    def _grow(self) -> None:
        """Start as many workers as invocations are waiting, within WORKERS_MAX."""
        wanted = max(1, len(self._waiting)) - len(self._starting)
        room = WORKERS_MAX - len(self._workers) - len(self._starting)
        for _ in range(min(wanted, room)):
            task = asyncio.create_task(self._start())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self) -> None:
        if self._workers:
            await asyncio.sleep(REST_SECONDS)
        async with self._starts:
            # A worker that became idle may have served the invocation for which this one was started.
            if self._workers and not self._waiting:
                return
            worker = Worker(self.function, await self.prepare(), self._release, self._ended)
            self._workers.add(worker)
            try:
                await worker.start()
            except OSError as error:  # this machine has no process, port or disk space left
                self._workers.discard(worker)
                if (turn := self._next_turn()) is not None:
                    turn.set_exception(error)
                return
            await asyncio.wait((worker.ready,), timeout=START_SECONDS)
        failure = await worker.ready
        if failure is not None and (turn := self._next_turn()) is not None:
            turn.set_result((failure, worker.take_log()))

    def _next_turn(self) -> Turn | None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    def _release(self, worker: Worker) -> None:
        if not worker.usable:
            return
        turn = self._next_turn()
        if turn is not None:
            turn.set_result(worker)
        elif self.retired:
            worker.kill()
        else:
            self._idle.append(worker)

    def _ended(self, worker: Worker) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if self._waiting:
            self._grow()

    def retire(self) -> None:
        """The configuration is no longer current: idle workers end now, busy ones after their invocation."""
        self.retired = True
        while self._idle:
            self._idle.pop().kill()

    def shrink(self) -> None:
        """End surplus workers that have been idle for IDLE_SECONDS."""
        now = time.monotonic()
        while len(self._idle) > 1 and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.popleft().kill()

    async def close(self) -> None:
        """End all workers, busy or not."""
        self.retired = True
        for task in self._starting:
            task.cancel()
        workers = list(self._workers)
        for worker in workers:
            worker.kill()
        if workers:
            await asyncio.wait([worker.ended for worker in workers], timeout=5)
