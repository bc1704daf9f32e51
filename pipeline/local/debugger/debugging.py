"""Run one invocation of a function's image under a debugger, in a separate worker.

The worker has the deployed image, the credentials of the function's role and its variables. The image is in a folder
with a fixed name, so that an editor's settings stay valid:

    FOLDER/debug/<function>/rootfs/var/task
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.assembly.model import FunctionSource
from pipeline.assembly.own.collected import collect_files
from pipeline.core.errors import INSTALL_LOCAL, LocalError, NextStep
from pipeline.local.images.image_pull import Connect, ImageUnavailable
from pipeline.local.images.image_store import ImageStore, LocalImage
from pipeline.local.invocation import FunctionConfig, Invocation, Outcome
from pipeline.local.processes import kill_marked
from pipeline.local.runtime.command import CannotRun, WorkerCommand, inside, interpreter, worker_command
from pipeline.local.runtime.host_process import HostProgram
from pipeline.local.runtime.worker import Worker, init_failure_outcome

# debugpy's default port.
PORT = 5678
# Effectively no time limit (seconds).
NO_LIMIT = 7 * 24 * 3600
# Memory for the debugger, in addition to the function's (MB).
_DEBUGGER_MEMORY = 1024
_START_SECONDS = 60.0
_FAREWELL_SECONDS = 0.3
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Waiting:
    """A function that waits for a debugger.

    mappings  (folder of the project, folder that runs), the more specific first
    differs   files of the project that differ from the image, so line numbers may be off
    """

    function: str
    host: str
    port: int
    mappings: tuple[tuple[Path, Path], ...]
    differs: tuple[str, ...] = ()


def find_debugpy() -> Path:
    """The folder in which debugpy is installed. Raises LocalError."""
    found = importlib.util.find_spec("debugpy")
    if found is None or found.origin is None:
        raise LocalError("nothing was debugged", "the package debugpy is not installed", INSTALL_LOCAL)
    return Path(found.origin).parents[1]


def require_port(port: int) -> None:
    """Raises LocalError if the port is taken."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise LocalError(
            "nothing was debugged", f"port {port} is taken" if taken else f"port {port}: {error.strerror}",
            "Choose another port, or omit it to use a free one.",
        ) from error  # fmt: skip


def debug_function(
    document: dict[str, Any], source: FunctionSource, event: bytes, folder: Path, endpoint: str, connect: Connect,
    on_waiting: Callable[[Waiting], None], *, port: int | None = None,
) -> Outcome:  # fmt: skip
    """Run one event in the image of ``document`` (see ``FunctionConfig.parse``) when a debugger has attached.

    port: to listen on; None uses PORT, or any free port if that is taken. Call it in the main thread; Ctrl-C ends the
    function. Raises LocalError if the image cannot run or be debugged here.
    """
    site, ports = find_debugpy(), (PORT, 0) if port is None else (port,)
    if port is not None:
        require_port(port)
    function = FunctionConfig.parse(document)
    with _own_folder(folder / "debug", source.name) as own:
        image = _lay_out(function, ImageStore(folder, connect), own)
        try:
            command = worker_command(function, image, endpoint)
        except CannotRun as error:
            raise LocalError(
                f"{source.name} was not debugged",
                error.message,
                NextStep("Use the process runtime", ("up", "--runtime", "process")),
            ) from error
        task_root = inside(image.rootfs, dict(image.environment).get("LAMBDA_TASK_ROOT", "/var/task"))
        mappings = (*((place, task_root / place.name) for place in source.shared), (source.code_folder, task_root))
        answer = own / "listening.json"
        waiting = Waiting(source.name, "", 0, mappings, differing_files(mappings))
        session = _Session(function, _debug_command(command, source.name, site, ports, answer, mappings), own)
        return asyncio.run(session.run(event, answer, waiting, on_waiting))


def differing_files(mappings: Sequence[tuple[Path, Path]]) -> tuple[str, ...]:
    """The project's Python files that differ from the image, such as those saved after the last release."""
    found = []
    for local, runs in mappings:
        for entry in collect_files(local, local.name):
            if entry.kind != "file" or not entry.path.endswith(".py") or not isinstance(entry.content, bytes):
                continue
            try:
                same = (runs / entry.path.removeprefix(f"{local.name}/")).read_bytes() == entry.content
            except OSError:
                same = False
            if not same:
                found.append(entry.path)
    return tuple(found)


@contextlib.contextmanager
def _own_folder(parent: Path, function: str) -> Iterator[Path]:
    """The function's debug folder for the block, after ending and removing what a killed run left in it."""
    own = (parent / function).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / f"{function}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalError(
                f"{function} was not debugged", "it is being debugged already, from this folder",
                "End that debugger first. Different functions can be debugged at the same time.",
            ) from error  # fmt: skip
        _clear(own)
        (own / "work").mkdir(parents=True)
        try:
            yield own
        finally:
            _clear(own)


def _clear(own: Path) -> None:
    # debugpy's adapter has no parent left; it carries the folder's mark.
    kill_marked(own)
    shutil.rmtree(own, ignore_errors=True)


def _lay_out(function: FunctionConfig, store: ImageStore, own: Path) -> LocalImage:
    """The image as hard links in a folder whose name does not change."""
    try:
        image = store.ensure(function.image)
    except ImageUnavailable as error:
        raise LocalError(
            f"{function.name} was not debugged", str(error), NextStep("Build and push it", ("up",))
        ) from error
    shutil.copytree(image.rootfs, own / "rootfs", symlinks=True, copy_function=os.link)
    return replace(image, rootfs=own / "rootfs")


def _debug_command(
    command: WorkerCommand,
    name: str,
    site: Path,
    ports: Sequence[int],
    answer: Path,
    mappings: Sequence[tuple[Path, Path]],
) -> WorkerCommand:
    if command.arguments[2:3] != ("-m",):
        raise LocalError(
            f"{name} was not debugged", f"its image starts {' '.join(command.arguments[2:])!r}, not a module (-m)",
            "Only images that start with `python -m` can be debugged.",
        )  # fmt: skip
    start = Path(__file__).with_name("debug_start.py")
    # Frozen modules have no files to stop in; debugpy warns of them.
    arguments = (
        interpreter(),
        "-S",
        "-X",
        "frozen_modules=off",
        str(start),
        str(site),
        ",".join(map(str, ports)),
        str(answer),
    )
    variables = dict(command.environment) | {
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # For editors without path mappings; an editor's own mappings take precedence.
        "PATHS_FROM_ECLIPSE_TO_PYTHON": json.dumps([[str(local), str(runs)] for local, runs in mappings]),
    }
    return replace(command, arguments=(*arguments, *command.arguments[2:]), environment=tuple(variables.items()))


class _Session:
    """One worker with a single invocation."""

    def __init__(self, function: FunctionConfig, command: WorkerCommand, own: Path) -> None:
        self._function = replace(function, timeout=NO_LIMIT, memory=function.memory + _DEBUGGER_MEMORY)
        self._command = command
        self._own = own

    async def run(self, event: bytes, answer: Path, waiting: Waiting, on_waiting: Callable[[Waiting], None]) -> Outcome:
        program = HostProgram(self._command, self._own / "work")
        worker = Worker(self._function, program, lambda _: None, lambda _: None)
        request_id = str(uuid.uuid4())
        try:
            await worker.start()
            host, port = await self._listens(worker, answer)
            on_waiting(replace(waiting, host=host, port=port))
            failure = await worker.ready
            if failure is not None:
                return init_failure_outcome(failure, self._function, request_id, worker.take_log())
            outcome = await worker.invoke(Invocation(request_id, event, self._function.arn))
            # The debugger's last request, to continue, is answered while the function ends.
            await asyncio.sleep(_FAREWELL_SECONDS)
            return outcome
        finally:
            worker.kill()
            await asyncio.wait((worker.ended,), timeout=5)

    async def _listens(self, worker: Worker, answer: Path) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        until = loop.time() + _START_SECONDS
        while not answer.exists():
            if worker.ended.done() or loop.time() > until:
                why = worker.take_log().strip().rpartition("\n")[2] or "it said nothing"
                raise LocalError(
                    f"{self._function.name} was not debugged", f"debugpy did not start ({why})", "Run it again."
                )
            await asyncio.sleep(_LOOK_SECONDS)
        said = json.loads(answer.read_bytes())
        if "error" in said:
            raise LocalError(f"{self._function.name} was not debugged", said["error"], "Run it again.")
        return str(said["host"]), int(said["port"])
