"""Workers as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.processes import MARK, die_with_parent
from pipeline.local.runtime.command import WorkerCommand, log_stream_name
from pipeline.local.runtime.runtime_api import serve_runtime_api
from pipeline.local.runtime.worker_process import Channel, Exit, Failure, StartFailed

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class HostProgram:
    """A command of this machine; each process gets a temporary folder below ``work_folder``."""

    command: WorkerCommand
    work_folder: Path

    def new_process(self, channel: Channel) -> HostProcess:
        return HostProcess(self.command, self.work_folder, channel)


class HostProcess:
    """A ``Process`` in a session of its own, so that whatever the handler started ends with it."""

    limits_memory = False

    def __init__(self, command: WorkerCommand, work_folder: Path, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._command = command
        self._work_folder = work_folder
        self._channel = channel
        self._server: asyncio.Server | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._exits = -1

    async def start(self) -> None:
        """Must run in the main thread: the kernel ends the process with the thread that started it."""
        try:
            self._server = await serve_runtime_api(self._channel.runtime_api)
            self._process = self._spawn(self._server.sockets[0].getsockname()[1])
        except BaseException:
            self._clean_up()
            raise
        assert self._process.stdout is not None  # noqa: S101
        os.set_blocking(self._process.stdout.fileno(), False)
        self._loop.add_reader(self._process.stdout.fileno(), self._read_output)
        self._exits = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._exits, self._exited)

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        self._folder = Path(tempfile.mkdtemp(dir=self._work_folder))
        environment = dict(self._command.environment) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream_name(self._command.version),
            "TMPDIR": str(self._folder),
            "HOME": str(self._folder),
            MARK: str(self._work_folder.parent),
        }
        owner = os.getpid()
        try:
            return subprocess.Popen(
                self._command.arguments,
                cwd=self._command.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL, parent=owner),
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = f"{self._command.arguments[0]} cannot be started: {error}"
            raise StartFailed(Failure("Runtime.InvalidEntrypoint", message)) from error

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
        if self._process is None:
            return 0
        try:
            if not peak:
                return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE_KB
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0])
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _exited(self) -> None:
        assert self._process is not None  # noqa: S101
        self._loop.remove_reader(self._exits)
        os.close(self._exits)
        self.kill()  # what the handler left in its session, before the pid is released
        status = self._process.wait()
        self._read_output()
        self._clean_up()
        self._channel.on_exit(Exit(status))

    def _clean_up(self) -> None:
        if self._process is not None and self._process.stdout is not None and not self._process.stdout.closed:
            self._loop.remove_reader(self._process.stdout.fileno())
            self._process.stdout.close()
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
