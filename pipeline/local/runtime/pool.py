"""The workers of one function as it is configured at one moment: warm ones are reused, more are started on demand."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast

from pipeline.local.invocation import FunctionConfig, Invocation, Outcome, Status
from pipeline.local.runtime.command import CannotRun, WorkerCommand
from pipeline.local.runtime.pulled import ImageUnavailable
from pipeline.local.runtime.workers import Failure, Worker, init_failure_outcome

# Workers of one function at most; further invocations wait for one that becomes free.
WORKERS_MAX = 32
# A surplus worker that was idle for so long is ended; the last one of a current function stays warm.
IDLE_SECONDS = 120.0
# An invocation that found no free worker for so long is refused as throttled, which callers retry.
QUEUE_SECONDS = 60.0
# A worker that starts for so long no longer keeps others from starting.
START_SECONDS = 5.0
# A worker that has just answered asks for the next event within this time, which is sooner than another one starts.
REST_SECONDS = 0.005

# What a waiting invocation is given: a worker, or why none came up and what it wrote.
Turn: TypeAlias = "asyncio.Future[Worker | tuple[Failure, str]]"


class WorkerPool:
    """Runs invocations of one FunctionConfig.

    prepare  brings the function's image, in a thread, and gives what a worker is started with; raises CannotRun and
             ImageUnavailable
    starts   shared by all pools: how many workers may start at one time
    """

    def __init__(
        self,
        function: FunctionConfig,
        prepare: Callable[[FunctionConfig], WorkerCommand],
        work_folder: Path,
        starts: asyncio.Semaphore,
    ) -> None:
        self.function = function
        self.retired = False
        self._prepare = prepare
        self._work_folder = work_folder
        self._starts = starts
        self._invocations = 0
        self._command: asyncio.Task[WorkerCommand] | None = None
        self._workers: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: deque[Turn] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not (self._invocations or self._workers or self._starting)

    @property
    def workers(self) -> int:
        return len(self._workers)

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Never raises for what the function or its image does; OSError when this machine has no room for a worker."""
        self._invocations += 1
        try:
            return await self._invoke(invocation)
        finally:
            self._invocations -= 1

    async def _invoke(self, invocation: Invocation) -> Outcome:
        try:
            await self._prepared()
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
        """Have one worker ready, if the image can run at all; why it cannot is told to who invokes it.

        Returns when the worker is ready, or takes longer than it may keep others waiting.
        """
        if self.retired:
            return
        try:
            await self._prepared()
        except (CannotRun, ImageUnavailable):
            return
        if not self._workers and not self._starting and not self.retired:
            self._grow()
            await asyncio.wait(self._starting, timeout=START_SECONDS)

    async def _prepared(self) -> WorkerCommand:
        """The command of a worker, once the image is there; a failure is not kept, because it may be mended."""
        if self._command is None or (self._command.done() and self._command.exception() is not None):
            self._command = asyncio.create_task(asyncio.to_thread(self._prepare, self.function))
        return await asyncio.shield(self._command)

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
            # Given a worker in the very moment of giving up.
            if turn.done() and not turn.cancelled() and not turn.exception() and isinstance(turn.result(), Worker):
                self._release(cast(Worker, turn.result()))
            raise

    def _grow(self) -> None:
        """Start as many workers as invocations wait for, within the bound."""
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
            # Workers that became free meanwhile may have taken what this one was wanted for.
            if self._workers and not self._waiting:
                return
            command = await self._prepared()
            worker = self._new_worker()
            self._workers.add(worker)
            try:
                await worker.start(command, self._work_folder)
            except OSError as error:  # no process, port or folder to be had: trouble of this machine
                self._workers.discard(worker)
                if (turn := self._next_turn()) is not None:
                    turn.set_exception(error)
                return
            await asyncio.wait((worker.ready,), timeout=START_SECONDS)
        failure = await worker.ready
        if failure is not None and (turn := self._next_turn()) is not None:
            turn.set_result((failure, worker.take_log()))

    def _new_worker(self) -> Worker:
        return Worker(self.function, self._release, self._ended)

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
        """No longer the function's current configuration: idle workers end now, busy ones after their invocation."""
        self.retired = True
        while self._idle:
            self._idle.pop().kill()

    def shrink(self) -> None:
        """End workers that were surplus for a while."""
        now = time.monotonic()
        while len(self._idle) > 1 and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.popleft().kill()

    async def close(self) -> None:
        """End everything, whatever it does."""
        self.retired = True
        for task in self._starting:
            task.cancel()
        workers = list(self._workers)
        for worker in workers:
            worker.kill()
        if workers:
            await asyncio.wait([worker.ended for worker in workers], timeout=5)
