"""One worker: a process that runs a function's image under a Runtime API of its own, one invocation at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.local.invocation import PAYLOAD_MAX, FunctionConfig, Invocation, Outcome, Status
from pipeline.local.processes import MARK, die_with_parent
from pipeline.local.runtime.command import WorkerCommand
from pipeline.local.runtime.runtime_api import RuntimeConnection, serve_runtime_api

# Lambda gives INIT 10 seconds, and then once more the function's own timeout (AWS documentation, "Lambda lifecycle").
INIT_SECONDS = 10.0
# How often the memory of a worker at work is looked at.
MEMORY_SECONDS = 0.25
# A killed process is gone within this time, or it hangs in the kernel.
END_SECONDS = 5.0
_LOG_MAX = 4 << 20
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker could not start or went away. ``payload`` is the runtime's own account of it, if it gave one."""

    error_type: str
    message: str
    payload: bytes | None = None

    def outcome(self, request_id: str, log: str) -> Outcome:
        if self.payload is not None:
            return Outcome(Status.ERROR, self.payload, log)
        return Outcome.error(self.error_type, f"RequestId: {request_id} Error: {self.message}", log)


class Worker:
    """States: starting → idle ⇄ busy → ended. ``ready`` is done when starting is over, with a Failure or None.

    ``on_idle`` is called when the runtime asked for an event and the invocation before is concluded, so a worker that
    answers and then ends is never given another one, nor two at a time; ``on_end`` once, when the process is gone.
    """

    def __init__(
        self, function: FunctionConfig, on_idle: Callable[[Worker], None], on_end: Callable[[Worker], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.function = function
        self.ready: asyncio.Future[Failure | None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.idle_since = time.monotonic()
        self._loop = loop
        self._on_idle = on_idle
        self._on_end = on_end
        self._started = time.monotonic()
        self._init_seconds: float | None = None
        self._next: RuntimeConnection | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._peak_kb = 0
        self._running: str | None = None
        self._answer: asyncio.Future[Outcome | Failure] | None = None
        self._init_error: bytes | None = None
        self._killed = False
        self._init_log = ""
        self._log = bytearray()
        self._log_dropped = 0
        self._server: asyncio.Server | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def usable(self) -> bool:
        """Whether an invocation may be given to it: it asked for one and its process is there."""
        if self._killed or self._next is None or self._process is None or self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    async def start(self, command: WorkerCommand, work_folder: Path) -> None:
        """Start the process and return at once; ``ready`` tells how it went. Must run in the main thread."""
        self._server = await serve_runtime_api(self)
        port = self._server.sockets[0].getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(dir=work_folder))
        now = datetime.now(UTC)
        environment = dict(command.environment) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{now:%Y/%m/%d}/[{self.function.version}]{uuid.uuid4().hex}",
            "TMPDIR": str(self._folder),
            "HOME": str(self._folder),
            MARK: str(work_folder.parent),
        }
        owner = os.getpid()
        try:
            # Of its own session, so that what the handler started ends with it. The kernel ends it with its owner.
            self._process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL, parent=owner),
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._finish(Failure("Runtime.InvalidEntrypoint", f"{command.arguments[0]} cannot be started: {error}"))
            return
        assert self._process.stdout is not None  # noqa: S101
        os.set_blocking(self._process.stdout.fileno(), False)
        self._loop.add_reader(self._process.stdout.fileno(), self._read_log)
        self._exits = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._exits, self._exited)
        self._limit = self._loop.call_later(INIT_SECONDS + self.function.timeout, self._init_timed_out)

    # --- what the runtime says -----------------------------------------------------------------------------------

    def next_asked(self, connection: RuntimeConnection) -> None:
        self._next = connection
        self.idle_since = time.monotonic()
        if self._limit is not None:
            self._limit.cancel()
        if not self.ready.done():
            self._init_seconds = time.monotonic() - self._started
            self._init_log = self.take_log()
            self.ready.set_result(None)
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

    def _settle(self, request_id: str, outcome: Outcome | Failure) -> bool:
        if self._answer is None or self._answer.done() or request_id != self._running:
            return False
        self._answer.set_result(outcome)
        return True

    # --- an invocation -------------------------------------------------------------------------------------------

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event on a usable worker. The function's time limit is kept here."""
        answer = self._answer = self._loop.create_future()
        self._running = invocation.request_id
        started, limit = time.monotonic(), self.function.timeout
        try:
            connection, self._next = self._next, None
            if connection is None or not connection.send_event(self._headers(invocation, limit), invocation.event):
                self.kill()  # it hung up, and its end is the answer
            ending = await self._wait(answer, started + limit)
            return self._conclude(invocation, ending, time.monotonic() - started)
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self._running = self._answer = None
            if self._next is None:  # it has as long again to ask for the next event
                self._limit = self._loop.call_later(limit, self.kill)
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
                # Nothing of it goes on once its caller is answered.
                await asyncio.wait((self.ended,), timeout=END_SECONDS)
                return Failure("Sandbox.Timedout", f"Task timed out after {self.function.timeout}.00 seconds")
            await asyncio.wait((answer,), timeout=min(MEMORY_SECONDS, left))
            if not answer.done():
                self._peak_kb = self._memory_kb()
                if self._peak_kb > self.function.memory * 1024:
                    self.kill()
        return answer.result()

    def _conclude(self, invocation: Invocation, ending: Outcome | Failure, seconds: float) -> Outcome:
        """The outcome with its log: what the handler wrote between the platform's own lines."""
        peak = max(self._peak_kb, self._memory_kb(peak=True))
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

    # --- the process ---------------------------------------------------------------------------------------------

    def take_log(self) -> str:
        """What the process wrote since the last time."""
        self._read_log()
        text = self._log.decode(errors="replace").rstrip("\n")
        if self._log_dropped:
            text += f"\n({self._log_dropped} more bytes were written)"
        self._log.clear()
        self._log_dropped = 0
        return text

    def _read_log(self) -> None:
        stream = None if self._process is None else self._process.stdout
        if stream is None or stream.closed:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(stream.fileno(), 65536):
                room = max(0, _LOG_MAX - len(self._log))
                self._log += data[:room]
                self._log_dropped += max(0, len(data) - room)
            self._loop.remove_reader(stream.fileno())

    def _memory_kb(self, *, peak: bool = False) -> int:
        if self._process is None:
            return 0
        try:
            if not peak:
                return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE_KB
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0])
        except (OSError, IndexError, ValueError):
            return 0

    def _init_timed_out(self) -> None:
        self._settle_start(Failure("Sandbox.Timedout", f"Task timed out after {self.function.timeout}.00 seconds"))
        self.kill()

    def _settle_start(self, failure: Failure) -> None:
        if not self.ready.done():
            self.ready.set_result(failure)

    def _exit_failure(self) -> Failure:
        code = None if self._process is None else self._process.returncode
        if self._init_error is not None:
            return Failure("Runtime.InitError", "", self._init_error)
        if code is None or code == 0:
            return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
        how = f"signal: {signal.strsignal(-code) or -code}".lower() if code < 0 else f"exit status {code}"
        return Failure("Runtime.ExitError", f"Runtime exited with error: {how}")

    def _exited(self) -> None:
        self._loop.remove_reader(self._exits)
        os.close(self._exits)
        self.kill()  # what the handler left behind in its session; before the pid is given back
        if self._process is not None:
            self._process.wait()
        self._read_log()
        self._finish(self._exit_failure())

    def _finish(self, failure: Failure) -> None:
        if self._limit is not None:
            self._limit.cancel()
        if self._process is not None and self._process.stdout is not None and not self._process.stdout.closed:
            self._loop.remove_reader(self._process.stdout.fileno())
            self._process.stdout.close()
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._settle_start(failure)
        if self._running is not None:
            self._settle(self._running, failure)
        if not self.ended.done():
            self.ended.set_result(None)
            self._on_end(self)

    def kill(self) -> None:
        """End the process and all that it started, at once; ``ended`` is done soon after."""
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def init_failure_outcome(failure: Failure, function: FunctionConfig, request_id: str, log: str) -> Outcome:
    """What an invocation answers whose worker did not come up."""
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
