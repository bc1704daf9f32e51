"""One container that runs a function: the image as it is, on Lambda's terms, answered by our Runtime API.

The image's own entrypoint is what runs. With ``AWS_LAMBDA_RUNTIME_API`` set, the entrypoint of AWS's base images starts
the runtime client, as on Lambda, and leaves the Runtime Interface Emulator out. The emulator makes up its
own request ids and an ARN, starts INIT with the first event only, tells a function's error and a timeout from an answer
in no way but the text, and panics when two invocations overlap (aws-lambda-runtime-interface-emulator #20, #21, #97).
The Runtime API of the process runtime does all of that as Lambda does; the emulator is what docker compose runs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.engine.connection import explain
from pipeline.local.containers.confinement import USER, EngineFailure, labels, sandbox_settings
from pipeline.local.containers.engine_images import EngineImage
from pipeline.local.containers.gateway import Gateway
from pipeline.local.invocation import FunctionConfig, Invocation, Outcome
from pipeline.local.runtime.command import PLACEHOLDER_LABEL, CannotRun, WorkerCommand
from pipeline.local.runtime.runtime_api import RuntimeConnection
from pipeline.local.runtime.workers import INIT_SECONDS, Failure, Worker

_LOG_MAX = 4 << 20
# A handler's output comes through the engine, later than its answer: the log ends when nothing came for so long.
_LOG_QUIET_SECONDS = 0.004
_LOG_WAIT_SECONDS = 0.1
# The first output takes longer: the engine has only just attached to it.
_INIT_LOG_QUIET_SECONDS = 0.01
# What engines say when the image's entrypoint cannot be started, in contrast to trouble of their own.
_NOT_RUNNABLE = ("executable file not found", "no such file or directory", "exec format error", "permission denied",
                 "no command specified", "is a directory", "not a directory", "mkdir")  # fmt: skip

_KILLED = 128 + signal.SIGKILL

log = logging.getLogger("pipeline.local.docker")


@dataclass(frozen=True, slots=True)
class ContainerCommand(WorkerCommand):
    """What containers of a function are made from; entrypoint, command and folder replace the image's own if given."""

    image: EngineImage
    entry_point: tuple[str, ...] | None
    command: tuple[str, ...] | None
    working_directory: str | None


def container_command(function: FunctionConfig, image: EngineImage, endpoint: str) -> ContainerCommand:
    """Raises CannotRun for an image that is a placeholder or has nothing to start."""
    if dict(image.labels).get(PLACEHOLDER_LABEL) == "true":
        raise CannotRun(
            "PlaceholderImage",
            f"{function.name} stands on its placeholder image; run `up` to build and release its own",
        )
    command = function.command or image.command
    if not (function.entry_point or image.entry_point or command):
        raise CannotRun("Runtime.InvalidEntrypoint", f"the image of {function.name} has no entrypoint and no command")
    variables = {"AWS_ENDPOINT_URL": endpoint} | dict(function.environment) | dict(function.credentials)
    variables |= {
        "_HANDLER": command[0] if command else "",
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TZ": ":UTC",
    }
    return ContainerCommand(
        (), tuple(variables.items()), Path("/"), image, function.entry_point, function.command,
        function.working_directory,
    )  # fmt: skip


class ContainerWorker(Worker):
    """A Worker whose process is a container's."""

    def __init__(
        self,
        function: FunctionConfig,
        on_idle: Callable[[Worker], None],
        on_end: Callable[[Worker], None],
        engine: Any,
        gateway: Gateway,
        folder: Path,
    ) -> None:
        super().__init__(function, on_idle, on_end)
        self._engine = engine
        self._gateway = gateway
        self._local_folder = folder
        self._slot: int | None = None
        self._container: str | None = None
        self._host_pid: int | None = None
        self._gone = False
        self._exit: Failure | None = None
        self._log_time = 0.0
        self._busy = False
        self._asked: RuntimeConnection | None = None
        # The loop itself keeps no task.
        self._coming_up: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The container's first process as this machine sees it; None when the engine is in a virtual machine."""
        return self._host_pid

    @property
    def usable(self) -> bool:
        # A container that was killed hangs up before its engine tells.
        return not (self._killed or self._gone) and self._next is not None and self._next.open

    async def start(self, command: WorkerCommand, work_folder: Path) -> None:  # noqa: ARG002
        """Start the container and return; ``ready`` tells how it went. Raises EngineFailure."""
        assert isinstance(command, ContainerCommand)  # noqa: S101
        gateway = await self._gateway.ensure(command.image.name)
        slot = self._slot = self._gateway.take()
        try:
            self._server = await self._gateway.serve_worker(slot, lambda: RuntimeConnection(self))
            failure = await asyncio.to_thread(self._run, command, gateway, slot)
        except BaseException:
            self._gone = True
            self._finish(Failure("Runtime.ExitError", "the container was not started"))
            raise
        if failure is not None:
            self._gone = True
            self._finish(failure)
            return
        self._limit = self._loop.call_later(INIT_SECONDS + self.function.timeout, self._init_timed_out)
        if self._killed:
            self.kill()

    def _run(self, command: ContainerCommand, gateway: str, slot: int) -> Failure | None:
        import docker
        import requests

        now = datetime.now(UTC)
        variables = dict(command.environment) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._gateway.port(slot)}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{now:%Y/%m/%d}/[{self.function.version}]{uuid.uuid4().hex}",
        }
        engine, created = self._engine, None
        settings = sandbox_settings(self.function.memory) | {"network_mode": f"container:{gateway}"}
        try:
            created = engine.create_container(
                command.image.name,
                name=f"{self.function.name}-{uuid.uuid4().hex[:8]}",
                entrypoint=list(command.entry_point) if command.entry_point else None,
                command=list(command.command) if command.command else None,
                working_dir=command.working_directory,
                environment=variables,
                user=USER,
                labels=labels(self._local_folder, role="function", function=self.function.name),
                # As Lambda: no grace. Podman would wait for it even when a container is removed by force.
                stop_timeout=0,
                host_config=engine.create_host_config(**settings),
            )["Id"]
            output = engine.attach(created, stdout=True, stderr=True, stream=True)
            threading.Thread(target=self._read_output, args=(output,), daemon=True, name="container-log").start()
            engine.start(created)
            threading.Thread(target=self._await_exit, args=(created,), daemon=True, name="container-exit").start()
        except docker.errors.APIError as error:
            told = explain(error)
            self._remove(created)
            if any(sign in told.lower() for sign in _NOT_RUNNABLE):
                return Failure("Runtime.InvalidEntrypoint", f"the image's entrypoint cannot be started: {told}")
            raise EngineFailure(f"a container of {self.function.name} was not started: {told}") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineFailure(f"the container engine does not answer ({explain(error)})") from error
        self._container = str(created)
        self._host_pid = self._find_pid(self._container)
        return None

    def _find_pid(self, container: str) -> int | None:
        import docker
        import requests

        try:
            state = self._engine.inspect_container(container)["State"]
        except (docker.errors.DockerException, requests.RequestException, OSError):
            return None  # it ended already, which its exit tells
        pid = int(state.get("Pid") or 0)
        # In another machine's numbering it would be another process.
        cgroup = Path(f"/proc/{pid}/cgroup")
        return pid if pid and cgroup.exists() and container[:12] in cgroup.read_text() else None

    def _remove(self, container: str | None) -> None:
        import docker
        import requests

        if container is None:
            return
        try:
            self._engine.remove_container(container, force=True)
        except (docker.errors.DockerException, requests.RequestException, OSError):
            log.debug("container %s was gone already", container[:12])

    # --- what the engine says, in threads ------------------------------------------------------------------------

    def _read_output(self, output: Any) -> None:
        import docker
        import requests

        try:
            for data in output:
                self._tell(self._wrote, data)
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
            return  # its end is told by the other thread

    def _await_exit(self, container: str) -> None:
        import docker
        import requests

        try:
            status = int(self._engine.wait(container, timeout=None)["StatusCode"])
            state = self._engine.inspect_container(container)["State"]
        except docker.errors.NotFound:
            status, state = _KILLED, {}
        except (docker.errors.DockerException, requests.RequestException, OSError, KeyError, ValueError) as error:
            self._tell(self._lost, f"the container engine stopped answering ({explain(error)})")
            return
        self._remove(container)
        # Its first process cannot kill itself, so without the memory limit or us it was somebody else: a lost machine.
        if status == _KILLED and not state.get("OOMKilled") and not self._killed:
            self._tell(self._lost, f"the container {container[:12]} was killed from outside")
        else:
            self._tell(self._exited_with, exit_failure(status))

    def _tell(self, callback: Callable[[Any], None], value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:
            log.debug("a container ended after its host")

    # --- on the loop ---------------------------------------------------------------------------------------------

    def _wrote(self, data: bytes) -> None:
        room = max(0, _LOG_MAX - len(self._log))
        self._log += data[:room]
        self._log_dropped += max(0, len(data) - room)
        self._log_time = time.monotonic()

    def _exited_with(self, failure: Failure) -> None:
        if self._gone:
            return
        self._gone = True
        self._exit = failure
        # Its last words come by another way.
        self._loop.call_later(_LOG_QUIET_SECONDS * 5, self._conclude_exit)

    def _conclude_exit(self) -> None:
        self._finish(self._exit_failure())

    def _lost(self, why: str) -> None:
        """The container went away and the function is not to blame: a service error, which callers retry."""
        if self._gone:
            return
        self._gone = True
        log.warning("%s lost a container: %s", self.function.name, why)
        if self._running is not None:
            self._settle(self._running, Outcome.unavailable(why))
        self._exit = Failure("Runtime.ExitError", why)
        self._conclude_exit()

    def _exit_failure(self) -> Failure:
        if self._init_error is not None:
            return Failure("Runtime.InitError", "", self._init_error)
        return self._exit or Failure("Runtime.ExitError", "Runtime exited without providing a reason")

    def next_asked(self, connection: RuntimeConnection) -> None:
        """The runtime asks again once it has answered, when the log of that invocation may still be on its way."""
        if self._busy:
            self._asked = connection
        elif not self.ready.done():
            self._coming_up = self._loop.create_task(self._come_up(connection))
        else:
            super().next_asked(connection)

    async def _come_up(self, connection: RuntimeConnection) -> None:
        """What INIT wrote belongs before the first invocation."""
        await self._wait_for_log(_INIT_LOG_QUIET_SECONDS)
        if not self._gone:
            super().next_asked(connection)

    async def invoke(self, invocation: Invocation) -> Outcome:
        self._busy = True
        try:
            return await super().invoke(invocation)
        finally:
            self._busy = False
            connection, self._asked = self._asked, None
            if connection is not None:
                super().next_asked(connection)

    async def _wait(self, answer: asyncio.Future[Outcome | Failure], deadline: float) -> Outcome | Failure:
        ending = await super()._wait(answer, deadline)
        await self._wait_for_log(_LOG_QUIET_SECONDS)
        return ending

    async def _wait_for_log(self, quiet_seconds: float) -> None:
        until = time.monotonic() + _LOG_WAIT_SECONDS
        while (now := time.monotonic()) < until and not self._gone:
            await asyncio.sleep(quiet_seconds)
            if self._log_time < now:
                break

    def _read_log(self) -> None:
        """Output is appended as it comes."""

    def _memory_kb(self, *, peak: bool = False) -> int:
        """Only told in the log: the kernel keeps the limit."""
        if self._host_pid is None or self._gone:
            return 0
        try:
            status = Path(f"/proc/{self._host_pid}/status").read_text()
            return int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0])
        except (OSError, IndexError, ValueError):
            return 0

    def _finish(self, failure: Failure) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._gateway.give_back(slot)
        super()._finish(failure)

    def kill(self) -> None:
        self._killed = True
        if self._container is not None and not self._gone:
            self._loop.run_in_executor(None, self._remove, self._container)


def exit_failure(status: int) -> Failure:
    """An exit status as Lambda tells it: ``128 + signal`` is a signal's."""
    if status == 0:
        return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
    number = status - 128
    if 0 < number < signal.NSIG:
        how = f"signal: {signal.strsignal(number) or number}".lower()
    else:
        how = f"exit status {status}"
    return Failure("Runtime.ExitError", f"Runtime exited with error: {how}")
