"""The host: the process of the local target that owns the emulator and the runtime.

    python -m pipeline.local.host.main --folder FOLDER --port PORT --answer FD [--runtime docker] [--attached]

``pipeline.local.host.control`` starts it as a daemon: it forks once, and writes one line of JSON to FD when the
embedded AWS is ready or has failed. SIGTERM ends it cleanly; attached, it does not fork, and also ends with its
standard input. If it is killed, the kernel ends the workers, and the emulator saves its state and exits when its
standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import fcntl
import http.client
import json
import logging
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.errors import LocalError
from pipeline.local.emulator.admission import TOKEN_HEADER
from pipeline.local.emulator.bridge import InvocationServer
from pipeline.local.emulator.durable.durable_state import RECOVERED, SAVED
from pipeline.local.emulator.durable.state_files import Unsaved, finish_replacing
from pipeline.local.emulator.patches.catalogue import MINISTACK_VERSION, require_version
from pipeline.local.emulator.server import REFUSED, SAVE_SECONDS, environment
from pipeline.local.host.control import sweep_containers
from pipeline.local.host_state import (
    FILE,
    Access,
    HostState,
    identity_of,
    new_token,
    open_private,
    read_state,
    root_key,
    start_time,
    write_state,
)
from pipeline.local.invocation import Runtime
from pipeline.local.processes import kill_marked
from pipeline.local.runtime.function_runtime import FunctionRuntime
from pipeline.local.runtime.process_backend import ProcessBackend

REGION = "us-east-1"
# The emulator's module; the soak test replaces it by one with faults.
EMULATOR = "pipeline.local.emulator.server"
# How often the host checks that its folder still exists.
FOLDER_SECONDS = 2.0
READY_SECONDS = 90.0
# In the state's folder: the port in the URLs of the saved state.
PORT = "port"
_NOT_STARTED = "the embedded AWS was not started"

log = logging.getLogger("pipeline.local.host.main")


class Busy(Exception):
    """Another host is running for this folder."""


def take_lock(folder: Path) -> BinaryIO:
    """Lock the folder. Waits for an emulator that outlived its host and is still saving its state."""
    file = (folder / "lock").open("ab")
    until = time.monotonic() + SAVE_SECONDS + 5
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = read_state(folder)
            if (state is not None and state.alive) or time.monotonic() > until:
                raise Busy from None
            time.sleep(0.02)
        else:
            return file


def bind(port: int, preferred: int) -> socket.socket:
    """A socket on 127.0.0.1: on ``port``, or if that is 0 on ``preferred`` or any free port. Raises LocalError."""
    for choice in [port] if port else [preferred, 0]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", choice))
            listener.listen(1024)  # reserves the port until the emulator listens
        except OSError as error:
            listener.close()
            if not port and choice:
                continue
            taken = error.errno == errno.EADDRINUSE
            raise LocalError(
                f"{_NOT_STARTED} on port {port}",
                "another program uses that port" if taken else str(error.strerror),
                "Choose another port, or omit it to use a free one.",
            ) from error
        return listener
    raise AssertionError("port 0 is always tried last")


def start_emulator(
    folder: Path, listener: socket.socket, bridge: socket.socket, lock: BinaryIO, access: Access, identity: str
) -> subprocess.Popen[bytes]:
    """Start the emulator as a child process, which inherits ``lock``, its end of ``bridge`` and the listener."""
    port = listener.getsockname()[1]
    variables = environment(folder, port=port, region=REGION, access=access, identity=identity)
    inherited = [listener.fileno(), bridge.fileno(), lock.fileno()]
    with open_private(folder / "emulator.log") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", EMULATOR,
             "--socket", str(listener.fileno()), "--bridge", str(bridge.fileno())],
            stdin=subprocess.PIPE, stdout=log_file, stderr=log_file, cwd=folder, env=variables, pass_fds=inherited,
            start_new_session=True,
        )  # fmt: skip
    listener.close()
    bridge.close()
    return process


def saved_port(folder: Path) -> int:
    """The port in the URLs of the saved state, or 0."""
    try:
        return int((folder / "state" / PORT).read_text())
    except (OSError, ValueError):
        return 0


def settle_port(folder: Path, port: int) -> None:
    """Change the saved state to ``port``: ministack stores queues and other resources under URLs with its address."""
    before = saved_port(folder)
    if before == port:
        return
    moved = re.compile(rb"127\.0\.0\.1:%d(?!\d)" % before)
    for file in (folder / "state").glob("*.json") if before else ():
        content = file.read_bytes()
        if moved.search(content):
            replace_file(file, moved.sub(b"127.0.0.1:%d" % port, content))
    replace_file(folder / "state" / PORT, str(port).encode())


def replace_file(file: Path, content: bytes) -> None:
    temporary = file.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(file)


def empty(folder: Path) -> None:
    """Remove what a killed run left in its folder of temporary files; what cannot be removed stays."""
    for left in folder.iterdir() if folder.is_dir() else ():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


class Host:
    """The running emulator, bridge and runtime."""

    def __init__(
        self, folder: Path, port: int, lock: BinaryIO, answer: int, attached: bool, engine: Any = None,
        access: Access | None = None, durable: bool = True,
    ) -> None:  # fmt: skip
        """durable: whether its state outlives it."""
        kill_marked(folder)  # left by a host and an emulator that were both killed
        for name in ("tmp", "work"):
            empty(folder / name)
        self._folder = folder
        # Kept open, so that its inode number is not reused: this distinguishes a folder that was removed and created
        # again.
        self._held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._attached = attached
        self._engine = engine
        self._lock = lock
        self._answer = answer
        finish_replacing(folder / "state")
        listener = bind(port, saved_port(folder))
        self._port = listener.getsockname()[1]
        settle_port(folder, self._port)
        self._endpoint = f"http://127.0.0.1:{self._port}"
        saved = folder / "state" / SAVED
        self._fresh = not any((folder / "state").glob("*.json"))
        lost = bool(Unsaved(folder / "state").read())  # also when it was killed before anything was saved
        self._unsaved = not saved.exists() and (not self._fresh or lost)
        saved.unlink(missing_ok=True)
        self._connection, theirs = socket.socketpair()
        self._isolation = self._unsafe = ""
        self._access = access or Access(root_key(folder), new_token())
        self._identity = identity_of(folder) if durable else ""
        self._emulator = start_emulator(folder, listener, theirs, lock, self._access, self._identity)

    async def run(self) -> int:
        """Serve until SIGTERM or until the emulator ends; returns the exit status."""
        loop = asyncio.get_running_loop()
        asked, gone = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        if self._attached:
            loop.add_reader(0, asked.set)
        process = os.pidfd_open(self._emulator.pid)
        loop.add_reader(process, gone.set)
        runtime = self._start_runtime()
        server = InvocationServer(runtime)
        bridge = asyncio.create_task(server.serve(self._connection))
        try:
            await self._ready(gone)
            self._publish()
            abandoned = asyncio.create_task(self._abandoned())
            waits = [asyncio.create_task(asked.wait()), asyncio.create_task(gone.wait()), abandoned]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if abandoned.done():
                # The folder is gone: the state cannot be saved.
                os.killpg(self._emulator.pid, signal.SIGKILL)
                asked.set()
            for wait in waits:
                wait.cancel()
        finally:
            # First, so that no command finds a host that is ending.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(
                    FILE, dir_fd=self._held
                )  # not that of another host, if the folder was removed and created again
            loop.remove_reader(process)
            await server.end()
            await runtime.close()
            await asyncio.to_thread(self._end_emulator, process)
            bridge.cancel()
            await asyncio.gather(bridge, return_exceptions=True)
        if asked.is_set():
            return 0
        log.error("the emulator ended unexpectedly with status %s", self._emulator.returncode)
        return 1

    async def _abandoned(self) -> None:
        """Returns when the folder was removed, or replaced by another one."""
        held = os.fstat(self._held)
        with contextlib.suppress(FileNotFoundError):
            while os.path.samestat(self._folder.stat(), held):
                await asyncio.sleep(FOLDER_SECONDS)

    def _start_runtime(self) -> Runtime:
        if self._engine is None:
            backend = ProcessBackend(self._folder, self._endpoint, self._access.token)
            self._isolation, self._unsafe = backend.isolation.text, backend.isolation.cure
            return FunctionRuntime(backend)
        from pipeline.local.containers.container_backend import ContainerBackend

        self._isolation = "each worker runs in its own container"
        return FunctionRuntime(ContainerBackend(self._folder, self._endpoint, self._access.token, self._engine))

    async def _ready(self, gone: asyncio.Event) -> None:
        until = time.monotonic() + READY_SECONDS
        while not await asyncio.to_thread(answers, self._port, self._access.token):
            if gone.is_set() or time.monotonic() > until:
                # Not reaped yet: _end_emulator still signals its process group.
                ended = os.waitid(os.P_PID, self._emulator.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is not None and ended.si_status == REFUSED:
                    raise LocalError(*json.loads(last_line(self._folder / "emulator.log")))
                raise LocalError(
                    _NOT_STARTED,
                    f"ministack {MINISTACK_VERSION} did not start ({last_line(self._folder / 'emulator.log')})",
                    f"See {self._folder / 'emulator.log'}, and run it again.",
                )
            await asyncio.sleep(0.01)

    def _publish(self) -> None:
        state = HostState(
            os.getpid(), start_time(os.getpid()) or 0, self._port, self._endpoint, REGION,
            self._access.root.access_key_id, self._access.root.secret_access_key, self._access.token,
            self._fresh, "process" if self._engine is None else "docker", self._isolation,
            self._unsafe, self._identity,
        )  # fmt: skip
        write_state(self._folder, state)
        say(self._answer, {"ready": True, "unsaved": self._unsaved, "recovered": recovered(self._folder)})

    def _end_emulator(self, process: int) -> None:
        if self._emulator.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._emulator.stdin.close()
        if not select.select([process], [], [], SAVE_SECONDS + 5)[0]:
            log.error("the emulator did not end and is killed")
        # The whole process group, whose id cannot be reused before the process is reaped.
        os.killpg(self._emulator.pid, signal.SIGKILL)
        self._emulator.wait()
        os.close(process)


def answers(port: int, token: str) -> bool:
    """Whether the emulator serves requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    try:
        connection.request("GET", "/_ministack/health", headers={TOKEN_HEADER: token})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def recovered(folder: Path) -> list[str]:
    """What the emulator found in the state of a killed one, as sentences."""
    try:
        return [str(each) for each in json.loads((folder / "state" / RECOVERED).read_bytes())]
    except (OSError, ValueError):
        return []


def last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return lines[-1].strip() if lines else "it said nothing"


def say(descriptor: int, answer: dict[str, Any]) -> None:
    """Write the line of JSON for the starting process, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps(answer).encode() + b"\n")
        os.close(descriptor)


def prepare_engine(folder: Path, runtime: str) -> Any:
    """The engine of the container runtime, else None. Also removes what a killed run left in an engine."""
    if runtime == "docker":
        from pipeline.local.containers.container_backend import open_engine

        return open_engine()
    sweep_containers(folder)
    return None


def serve(folder: Path, port: int, answer: int, attached: bool, runtime: str) -> int:
    try:
        require_version()
        lock = take_lock(folder)
        engine = prepare_engine(folder, runtime)
        return asyncio.run(Host(folder, port, lock, answer, attached, engine).run())
    except Busy:
        say(answer, {"busy": True})
        return 0
    except LocalError as error:
        say(answer, {"error": [error.what, error.why, str(error.next_step)]})
        return 1
    except OSError as error:
        say(answer, {"error": [_NOT_STARTED, f"{error.strerror} ({error.filename or folder})",
                               "Free some space or fix the permissions, and run it again."]})  # fmt: skip
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipeline.local.host.main", description="The local target's own process.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True, help="0 for any")
    parser.add_argument("--answer", type=int, required=True, help="file descriptor for one line of JSON")
    parser.add_argument("--attached", action="store_true", help="end with standard input, and do not fork")
    parser.add_argument("--runtime", choices=["process", "docker"], default="process")
    chosen = parser.parse_args(arguments)
    if not chosen.attached and os.fork():
        os._exit(0)
    os.umask(0o077)  # inherited by the emulator: no file may be readable by other users
    os.environ.pop("PYTHONPATH", None)
    os.set_inheritable(chosen.answer, False)
    os.chdir("/")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return serve(chosen.folder, chosen.port, chosen.answer, chosen.attached, chosen.runtime)


if __name__ == "__main__":
    sys.exit(main())
