"""One worker: a process that runs a function's image with a separate Runtime API, one invocation at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.local.invocation import PAYLOAD_MAX, FunctionConfig, Invocation, Outcome, Status
from pipeline.local.runtime.runtime_api import RuntimeConnection
from pipeline.local.runtime.worker_process import Channel, Exit, Failure, Process, Program, StartFailed

# Lambda gives INIT 10 seconds, and then once more the function's own timeout (AWS documentation, "Lambda lifecycle").
INIT_SECONDS = 10.0
# How often the memory of a busy worker is checked.
MEMORY_SECONDS = 0.25
# A killed process ends within this time, unless it hangs in the kernel.
END_SECONDS = 5.0


class Worker:
    """States: starting → idle ⇄ busy → ended. ``ready`` resolves when INIT is over, to a Failure or None.

    ``on_idle`` is called when the runtime client has requested an event and the previous invocation has ended, so a
    worker that responds and then exits receives no further event, and never two at a time. ``on_end`` is called once,
    when the process has ended.
    """

    def __init__(
        self,
        function: FunctionConfig,
        program: Program,
        on_idle: Callable[[Worker], None],
        on_end: Callable[[Worker], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.function = function
        self.ready: asyncio.Future[Failure | None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.idle_since = time.monotonic()
        self._loop = loop
        self._on_idle = on_idle
        self._on_end = on_end
        self._channel = Channel(lambda: RuntimeConnection(self), self._exited)
        self._process: Process = program.new_process(self._channel)
        self._started = time.monotonic()
        self._init_seconds: float | None = None
        self._init_log = ""
        self._init_error: bytes | None = None
        # The event loop keeps only weak references to tasks.
        self._coming_up: asyncio.Task[None] | None = None
        self._next: RuntimeConnection | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._peak_kb = 0
        self._running: str | None = None
        self._answer: asyncio.Future[Outcome | Failure] | None = None
        self._killed = False

    @property
    def usable(self) -> bool:
        """Whether it waits for an event and its process is alive."""
        return not self._killed and self._next is not None and self._next.open and self._process.alive

    async def start(self) -> None:
        """Start the process and return; ``ready`` resolves after INIT. Raises OSError as ``Process.start`` does."""
        try:
            await self._process.start()
        except StartFailed as failed:
            self._finish(failed.failure)
            return
        except BaseException:
            self._finish(Failure("Runtime.ExitError", "the process was not started"))
            raise
        if self._killed:
            self._process.kill()
        elif not self.ready.done():
            self._limit_seconds(INIT_SECONDS + self.function.timeout, self._init_timed_out)

    def _limit_seconds(self, seconds: float, then: Callable[[], None]) -> None:
        if not self.ended.done():
            self._limit = self._loop.call_later(seconds, then)

    def _lift_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    # --- requests of the runtime client ---------------------------------------------------------------------------

    def next_asked(self, connection: RuntimeConnection) -> None:
        if self.ready.done():
            self._wait_for_event(connection)
        elif self._coming_up is None:
            self._coming_up = self._loop.create_task(self._come_up(connection))

    async def _come_up(self, connection: RuntimeConnection) -> None:
        """INIT is over. Its output precedes the first invocation."""
        self._lift_limit()
        seconds = time.monotonic() - self._started
        await self._process.drain_output(starting=True)
        if not self.ready.done():
            self._init_seconds = seconds
            self._init_log = self.take_log()
            self.ready.set_result(None)
            self._wait_for_event(connection)

    def _wait_for_event(self, connection: RuntimeConnection) -> None:
        self._lift_limit()
        self._next = connection
        self.idle_since = time.monotonic()
        if self._answer is None:
            self._on_idle(self)

    def answered(self, request_id: str, payload: bytes) -> bool:
        return self._settle(request_id, Outcome(Status.OK, payload))

    def failed(self, request_id: str, payload: bytes) -> bool:
        return self._settle(request_id, Outcome(Status.ERROR, payload))

    def too_large(self, request_id: str) -> bool:
        message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_MAX} bytes)."
        return self._settle(request_id, Outcome.error("Function.ResponseSizeTooLarge", message))

    def init_failed(self, payload: bytes) -> None:
        self._init_error = payload

    def _settle(self, request_id: str | None, outcome: Outcome | Failure) -> bool:
        if self._answer is None or self._answer.done() or request_id != self._running:
            return False
        self._answer.set_result(outcome)
        return True

    # --- an invocation -------------------------------------------------------------------------------------------

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event on a usable worker, within the function's time limit."""
        answer = self._answer = self._loop.create_future()
        self._running = invocation.request_id
        started, limit = time.monotonic(), self.function.timeout
        try:
            connection, self._next = self._next, None
            if connection is None or not connection.send_event(self._headers(invocation, limit), invocation.event):
                self.kill()  # the client hung up: the exit of its process is the answer
            ending = await self._wait(answer, started + limit)
            seconds = time.monotonic() - started
            await self._process.drain_output()
            return self._conclude(invocation, ending, seconds)
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self._running = self._answer = None
            if self._next is None:  # the client has as long again to ask for the next event
                self._limit_seconds(limit, self.kill)
            else:
                self._on_idle(self)

    def _headers(self, invocation: Invocation, limit: int) -> dict[str, str]:
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + limit) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
        }
        if invocation.trace_id:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
        return headers

    async def _wait(self, answer: asyncio.Future[Outcome | Failure], deadline: float) -> Outcome | Failure:
        while not answer.done():
            left = deadline - time.monotonic()
            if left <= 0:
                self.kill()
                # Respond only after all processes of the invocation have ended.
                await asyncio.wait((self.ended,), timeout=END_SECONDS)
                return self._timed_out()
            await asyncio.wait((answer,), timeout=min(MEMORY_SECONDS, left))
            if not answer.done():
                self._peak_kb = self._process.memory_kb()
                if not self._process.limits_memory and self._peak_kb > self.function.memory * 1024:
                    self.kill()
        return answer.result()

    def _timed_out(self) -> Failure:
        return Failure("Sandbox.Timedout", f"Task timed out after {self.function.timeout}.00 seconds")

    def _conclude(self, invocation: Invocation, ending: Outcome | Failure, seconds: float) -> Outcome:
        """The outcome with its log: the handler's output between the platform's lines."""
        peak = max(self._peak_kb, self._process.memory_kb(peak=True))
        request_id, status = invocation.request_id, ""
        lines = [self._init_log, f"START RequestId: {request_id} Version: {self.function.version}", self.take_log()]
        self._init_log = ""
        if isinstance(ending, Failure):
            if ending.error_type == "Sandbox.Timedout":
                now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
                lines.append(f"{now}Z {request_id} {ending.message}")
                status = "\tStatus: timeout"
            else:
                lines.append(f"RequestId: {request_id} Error: {ending.message}")
                status = f"\tStatus: error\tError Type: {ending.error_type}"
            ending = ending.outcome(request_id, "")
        duration = seconds * 1000
        report = (
            f"REPORT RequestId: {request_id}\tDuration: {duration:.2f} ms\tBilled Duration: {int(duration) + 1} ms\t"
            f"Memory Size: {self.function.memory} MB\tMax Memory Used: {max(1, round(peak / 1024))} MB"
        )
        if self._init_seconds is not None:
            report += f"\tInit Duration: {self._init_seconds * 1000:.2f} ms"
            self._init_seconds = None
        lines += [f"END RequestId: {request_id}", report + status]
        return Outcome(ending.status, ending.payload, "\n".join(line for line in lines if line))

    def take_log(self) -> str:
        """The process's output since the last call."""
        return self._channel.output.take()

    # --- the end -------------------------------------------------------------------------------------------------

    def _init_timed_out(self) -> None:
        if not self.ready.done():
            self.ready.set_result(self._timed_out())
        self.kill()

    def _exited(self, how: Exit) -> None:
        if self._init_error is not None:
            failure = Failure("Runtime.InitError", "", self._init_error)
        else:
            failure = exit_failure(how)
        if how.lost:
            self._settle(self._running, Outcome.unavailable(how.lost))
        self._finish(failure)

    def _finish(self, failure: Failure) -> None:
        self._lift_limit()
        if not self.ready.done():
            self.ready.set_result(failure)
        self._settle(self._running, failure)
        if not self.ended.done():
            self.ended.set_result(None)
            self._on_end(self)

    def kill(self) -> None:
        """End the process and everything it started; ``ended`` resolves soon after."""
        self._killed = True
        if not self.ended.done():
            self._process.kill()


def exit_failure(how: Exit) -> Failure:
    """An exit as Lambda reports it."""
    if how.lost:
        return Failure("Runtime.ExitError", how.lost)
    if not how.status:
        return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
    if how.status < 0:
        reason = f"signal: {signal.strsignal(-how.status) or -how.status}".lower()
    else:
        reason = f"exit status {how.status}"
    return Failure("Runtime.ExitError", f"Runtime exited with error: {reason}")


def init_failure_outcome(failure: Failure, function: FunctionConfig, request_id: str, log: str) -> Outcome:
    """The outcome of an invocation whose worker did not start."""
    lines = [log, f"START RequestId: {request_id} Version: {function.version}"]
    if failure.payload is None:
        lines.append(f"RequestId: {request_id} Error: {failure.message}")
    error_type = failure.error_type
    if failure.payload is not None:
        with contextlib.suppress(ValueError, AttributeError):
            error_type = json.loads(failure.payload).get("errorType", error_type)
    lines += [
        f"END RequestId: {request_id}",
        f"REPORT RequestId: {request_id}\tDuration: 0.00 ms\tBilled Duration: 0 ms\t"
        f"Memory Size: {function.memory} MB\tMax Memory Used: 0 MB\tStatus: error\tError Type: {error_type}",
    ]
    return failure.outcome(request_id, "\n".join(line for line in lines if line))
