"""Workers as processes of this machine, in a sandbox if available."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline.local.processes import MARK, children, descendants, die_with_parent
from pipeline.local.runtime.command import WorkerCommand, log_stream_name
from pipeline.local.runtime.forwarding import forward_to
from pipeline.local.runtime.peers import is_held_by
from pipeline.local.runtime.runtime_api import serve_runtime_api
from pipeline.local.runtime.sandbox import Sandbox, api_port
from pipeline.local.runtime.worker_process import Channel, Exit, Failure, StartFailed, exit_status

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
# Lambda's quota for one execution environment; see ``containers.confinement``.
_FILES_MAX = 1024


@dataclass(frozen=True, slots=True)
class HostProgram:
    """A command of this machine.

    work_folder  contains a temporary folder for each process without a sandbox
    aws_port     the port of the embedded AWS, which a sandboxed process can reach besides its Runtime API
    """

    command: WorkerCommand
    work_folder: Path
    aws_port: int = 0
    sandbox: Sandbox | None = None

    def new_process(self, channel: Channel) -> HostProcess:
        return HostProcess(self, channel)


class HostProcess:
    """A ``Process`` in a separate session, so that processes started by the handler end with it."""

    limits_memory = False

    def __init__(self, program: HostProgram, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._program = program
        self._channel = channel
        self._servers: list[asyncio.Server] = []
        self._serving: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._exits = -1

    async def start(self) -> None:
        """Must run in the main thread: the kernel ends the process with the thread that started it."""
        try:
            if self._program.sandbox is not None:
                self._start_inside(self._program.sandbox)
            else:
                await self._start_outside()
        except BaseException:
            self._clean_up()
            raise
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        os.set_blocking(self._process.stdout.fileno(), False)
        self._loop.add_reader(self._process.stdout.fileno(), self._read_output)
        self._exits = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._exits, self._exited)

    def _start_inside(self, sandbox: Sandbox) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command, port = self._program.command, self._program.aws_port
            variables = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api_port(port)}", "TMPDIR": "/tmp", "HOME": "/tmp"}  # noqa: S108
            arguments = sandbox.arguments(command, theirs.fileno(), port)
            try:
                self._spawn(arguments, None, variables, [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        self._serving = self._loop.create_task(self._serve(ours))

    async def _serve(self, channel: socket.socket) -> None:
        """Serve the ports that the sandbox opened. If it ends earlier, its exit reports that."""
        with channel:
            ready = self._loop.create_future()
            self._loop.add_reader(channel.fileno(), ready.set_result, None)
            try:
                await ready
            finally:
                self._loop.remove_reader(channel.fileno())
            _, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
        listeners = [socket.socket(fileno=each) for each in descriptors]
        if len(listeners) == 2:
            api, aws = listeners
            self._servers.append(await self._loop.create_server(self._channel.runtime_api, sock=api))
            port = self._program.aws_port
            self._servers.append(
                await asyncio.start_server(lambda reader, writer: forward_to(port, reader, writer), sock=aws)
            )

    async def _start_outside(self) -> None:
        server = await serve_runtime_api(lambda: _OwnWorkersOnly(self, self._channel.runtime_api()))
        self._servers.append(server)
        self._folder = Path(tempfile.mkdtemp(dir=self._program.work_folder))
        port = server.sockets[0].getsockname()[1]
        variables = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "TMPDIR": str(self._folder),
                     "HOME": str(self._folder)}  # fmt: skip
        self._spawn(self._program.command.arguments, self._program.command.folder, variables, [])

    def _spawn(
        self, arguments: Sequence[str], folder: Path | None, variables: dict[str, str], inherited: Sequence[int]
    ) -> None:
        command, owner = self._program.command, os.getpid()
        own = {"AWS_LAMBDA_LOG_STREAM_NAME": log_stream_name(command.version),
               MARK: str(self._program.work_folder.parent)}  # fmt: skip

        def prepare() -> None:
            die_with_parent(signal.SIGKILL, parent=owner)
            resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES_MAX, _FILES_MAX))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        try:
            self._process = subprocess.Popen(
                arguments,
                cwd=folder or "/",
                env=dict(command.environment) | variables | own,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited,
                umask=0o022,
                preexec_fn=prepare,
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = f"{command.arguments[0]} cannot be started: {error}"
            raise StartFailed(Failure("Runtime.InvalidEntrypoint", message)) from error

    def owns(self, peer: tuple[str, int], own: tuple[str, int]) -> bool:
        """Whether a connection comes from this process or a descendant."""
        if self._process is None:
            return False
        return is_held_by([self._process.pid, *descendants(self._process.pid)], peer, own)

    @property
    def alive(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    async def drain_output(self, *, starting: bool = False) -> None:  # noqa: ARG002
        self._read_output()

    def _read_output(self) -> None:
        stream = None if self._process is None else self._process.stdout
        if stream is None or stream.closed:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(stream.fileno(), 65536):
                self._channel.output.add(data)
            self._loop.remove_reader(stream.fileno())

    def memory_kb(self, *, peak: bool = False) -> int:
        """The memory of the process and its descendants."""
        if self._process is None:
            return 0
        return sum(_memory_kb(pid, peak) for pid in (self._process.pid, *descendants(self._process.pid)))

    def kill(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._program.sandbox is not None:
                # The first process of the sandbox; all others in it end with it, before bubblewrap does.
                for child in children(self._process.pid):
                    os.kill(child, signal.SIGKILL)
                    return
            os.killpg(self._process.pid, signal.SIGKILL)

    def _exited(self) -> None:
        assert self._process is not None  # noqa: S101
        self._loop.remove_reader(self._exits)
        os.close(self._exits)
        self.kill()  # processes left in its session, before the pid is released
        status = self._process.wait()
        self._read_output()
        self._clean_up()
        self._channel.on_exit(Exit(status if self._program.sandbox is None else exit_status(status)))

    def _clean_up(self) -> None:
        if self._process is not None and self._process.stdout is not None and not self._process.stdout.closed:
            self._loop.remove_reader(self._process.stdout.fileno())
            self._process.stdout.close()
        if self._serving is not None:
            self._serving.cancel()
        for server in self._servers:
            server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _OwnWorkersOnly(asyncio.Protocol):
    """A Runtime API on a port of this machine, which answers only its worker."""

    def __init__(self, process: HostProcess, protocol: asyncio.Protocol) -> None:
        self._process = process
        self._protocol = protocol
        self._admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer, own = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        self._admitted = peer is not None and self._process.owns(peer, own)
        if self._admitted:
            self._protocol.connection_made(transport)
        else:
            cast(asyncio.Transport, transport).abort()

    def data_received(self, data: bytes) -> None:
        if self._admitted:
            self._protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted:
            self._protocol.connection_lost(exc)


def _memory_kb(pid: int, peak: bool) -> int:
    try:
        if not peak:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0
