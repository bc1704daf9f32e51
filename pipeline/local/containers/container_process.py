"""Workers as containers of the unchanged image, with Lambda's limits and our Runtime API.

With ``AWS_LAMBDA_RUNTIME_API`` set, the entrypoint of AWS's base images starts the
runtime client, as on Lambda, instead of the Runtime Interface Emulator. The emulator invents request ids and an ARN,
starts INIT with the first event, reports errors and timeouts as ordinary answers, and panics when two invocations
overlap (aws-lambda-runtime-interface-emulator #20, #21, #97). docker compose uses it; see ``rie``.
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
from pathlib import Path
from typing import Any

from pipeline.engine.connection import explain
from pipeline.local.containers.confinement import GROUP, EngineFailure, labels, sandbox_settings
from pipeline.local.containers.engine_images import EngineImage
from pipeline.local.containers.gateway import Gateway
from pipeline.local.invocation import FunctionConfig
from pipeline.local.runtime.command import CannotRun, lambda_variables, log_stream_name, refuse_placeholder
from pipeline.local.runtime.worker_process import Channel, Exit, Failure, StartFailed, exit_status

# Output reaches us through the engine, later than the answer: it is complete when nothing came for this long.
_OUTPUT_QUIET_SECONDS = 0.004
_OUTPUT_WAIT_SECONDS = 0.1
# The first output takes longer, since the engine has only just attached to it.
_INIT_OUTPUT_QUIET_SECONDS = 0.01
# What engines say when the image's entrypoint cannot be started, as opposed to a failure of their own.
_NOT_RUNNABLE = ("executable file not found", "no such file or directory", "exec format error", "permission denied",
                 "no command specified", "is a directory", "not a directory", "mkdir")  # fmt: skip
_KILLED = 128 + signal.SIGKILL

log = logging.getLogger("pipeline.local.docker")


@dataclass(frozen=True, slots=True)
class ContainerProgram:
    """The program of a function's containers. ``folder``: the local folder in their labels."""

    engine: Any
    gateway: Gateway
    folder: Path
    function: FunctionConfig
    image: EngineImage
    environment: tuple[tuple[str, str], ...]

    def new_process(self, channel: Channel) -> ContainerProcess:
        return ContainerProcess(self, channel)


def container_program(
    function: FunctionConfig, image: EngineImage, endpoint: str, engine: Any, gateway: Gateway, folder: Path
) -> ContainerProgram:
    """Raises CannotRun for a placeholder image, and for one that has nothing to start."""
    refuse_placeholder(function, image.labels)
    command = function.command or image.command
    if not (function.entry_point or image.entry_point or command):
        raise CannotRun("Runtime.InvalidEntrypoint", f"the image of {function.name} has no entrypoint and no command")
    variables = {"AWS_ENDPOINT_URL": endpoint} | dict(function.environment) | dict(function.credentials)
    variables |= lambda_variables(function, command[0] if command else "")
    return ContainerProgram(engine, gateway, folder, function, image, tuple(variables.items()))


class ContainerProcess:
    """A ``Process`` in a container. The engine's API blocks, so it is called in threads."""

    limits_memory = True

    def __init__(self, program: ContainerProgram, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._program = program
        self._engine = program.engine
        self._channel = channel
        self._slot: int | None = None
        self._server: asyncio.Server | None = None
        self._container: str | None = None
        # The container's first process as this machine numbers it; None if the engine is in a virtual machine.
        self._host_pid: int | None = None
        self._killed = False
        self._gone = False
        self._wrote_at = 0.0

    async def start(self) -> None:
        gateway = await self._program.gateway.ensure(self._program.image.name)
        self._slot = self._program.gateway.take()
        try:
            self._server = await self._program.gateway.serve_worker(self._slot, self._channel.runtime_api)
            await asyncio.to_thread(self._run, gateway, self._slot)
        except BaseException:
            self._gone = True
            self._clean_up()
            raise
        if self._killed:
            self.kill()

    def _run(self, gateway: str, slot: int) -> None:
        import docker
        import requests

        function, engine, created = self._program.function, self._engine, None
        variables = dict(self._program.environment) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._program.gateway.port(slot)}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream_name(function.version),
        }
        settings = sandbox_settings(function.memory) | {"network_mode": f"container:{gateway}"}
        try:
            created = engine.create_container(
                self._program.image.name,
                name=f"{function.name}-{uuid.uuid4().hex[:8]}",
                entrypoint=list(function.entry_point) if function.entry_point else None,
                command=list(function.command) if function.command else None,
                working_dir=function.working_directory,
                environment=variables,
                user=f"{self._program.gateway.user(slot)}:{GROUP}",
                labels=labels(self._program.folder, role="function", function=function.name),
                # As Lambda: no grace period. Podman would wait for it even when a container is removed by force.
                stop_timeout=0,
                host_config=engine.create_host_config(**settings),
            )["Id"]
            output = engine.attach(created, stdout=True, stderr=True, stream=True)
            threading.Thread(target=self._read_output, args=(output,), daemon=True, name="container-log").start()
            engine.start(created)
            threading.Thread(target=self._await_exit, args=(created,), daemon=True, name="container-exit").start()
        except docker.errors.APIError as error:
            reason = explain(error)
            self._remove(created)
            if any(sign in reason.lower() for sign in _NOT_RUNNABLE):
                message = f"the image's entrypoint cannot be started: {reason}"
                raise StartFailed(Failure("Runtime.InvalidEntrypoint", message)) from error
            raise EngineFailure(f"a container of {function.name} was not started: {reason}") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineFailure(f"the container engine does not answer ({explain(error)})") from error
        self._container = str(created)
        self._host_pid = self._find_pid(self._container)

    def _find_pid(self, container: str) -> int | None:
        import docker
        import requests

        try:
            state = self._engine.inspect_container(container)["State"]
        except (docker.errors.DockerException, requests.RequestException, OSError):
            return None  # it ended already, which _await_exit reports
        pid = int(state.get("Pid") or 0)
        # An engine in a virtual machine numbers processes on its own, and the pid would be another process here.
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

    # --- in threads ----------------------------------------------------------------------------------------------

    def _read_output(self, output: Any) -> None:
        import docker
        import requests

        try:
            for data in output:
                self._call(self._wrote, data)
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError):
            return  # _await_exit reports the end

    def _await_exit(self, container: str) -> None:
        import docker
        import requests

        try:
            status = int(self._engine.wait(container, timeout=None)["StatusCode"])
            state = self._engine.inspect_container(container)["State"]
        except docker.errors.NotFound:
            status, state = _KILLED, {}
        except (docker.errors.DockerException, requests.RequestException, OSError, KeyError, ValueError) as error:
            self._call(self._exited, Exit(lost=f"the container engine stopped answering ({explain(error)})"))
            return
        self._remove(container)
        # The first process of a container cannot kill itself. If neither the memory limit nor this process did, it was
        # killed from outside, which is a lost machine and not the function's fault.
        if status == _KILLED and not state.get("OOMKilled") and not self._killed:
            self._call(self._exited, Exit(lost=f"the container {container[:12]} was killed from outside"))
        else:
            self._call(self._exited, Exit(exit_status(status)))

    def _call(self, callback: Callable[[Any], None], value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:
            log.debug("a container ended after its host")

    # --- on the event loop ---------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return not (self._killed or self._gone)

    def _wrote(self, data: bytes) -> None:
        self._channel.output.add(data)
        self._wrote_at = time.monotonic()

    def _exited(self, how: Exit) -> None:
        if self._gone:
            return
        self._gone = True
        if how.lost:
            log.warning("%s lost a container: %s", self._program.function.name, how.lost)
            self._report(how)
        else:  # its last output arrives on another connection
            self._loop.call_later(_OUTPUT_QUIET_SECONDS * 5, self._report, how)

    def _report(self, how: Exit) -> None:
        self._clean_up()
        self._channel.on_exit(how)

    async def drain_output(self, *, starting: bool = False) -> None:
        quiet_seconds = _INIT_OUTPUT_QUIET_SECONDS if starting else _OUTPUT_QUIET_SECONDS
        until = time.monotonic() + _OUTPUT_WAIT_SECONDS
        while (now := time.monotonic()) < until and not self._gone:
            await asyncio.sleep(quiet_seconds)
            if self._wrote_at < now:
                break

    def memory_kb(self, *, peak: bool = False) -> int:
        if self._host_pid is None or self._gone:
            return 0
        try:
            status = Path(f"/proc/{self._host_pid}/status").read_text()
            return int(status.split("VmHWM:" if peak else "VmRSS:")[1].split()[0])
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        self._killed = True
        if self._container is not None and not self._gone:
            self._loop.run_in_executor(None, self._remove, self._container)

    def _clean_up(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._program.gateway.give_back(slot)
        if self._server is not None:
            self._server.close()
