"""Start, find and stop the embedded AWS with its runtime. There is one per local folder; it outlives the command.

    FOLDER/local.json     process and address, while it runs
    FOLDER/lock           held while any of its processes runs
    FOLDER/state, s3      the saved state of the embedded AWS
    FOLDER/images, layers pulled images
    FOLDER/*.log          logs of host and emulator; *.log.previous of the run before

``find_local`` is called by every command, so this module imports little.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import INSTALL_LOCAL, LocalError, NextStep
from pipeline.core.events import Note, Report, ignore, step
from pipeline.local.host_state import HostState, open_private, process_of_another_format, read_state

if TYPE_CHECKING:
    import subprocess

# A start waits for an emulator that is still saving, and then reads the state, which may be large.
START_SECONDS = 200.0
# The emulator may take SAVE_SECONDS, and the host a little longer.
STOP_SECONDS = 110.0
_NOT_STARTED = "the embedded AWS was not started"
_ALWAYS_LOST = "Log events and metrics since its last regular stop are lost, and what was being executed."


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running embedded AWS. ``fresh`` if it started empty; the credentials are the account root's; see HostState."""

    endpoint: str
    registry_endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    pid: int
    folder: Path
    fresh: bool = False
    runtime: str = "process"
    token: str = field(default="", repr=False)
    isolation: str = ""
    unsafe: str = ""
    identity: str = ""


def find_local(folder: Path) -> LocalAws | None:
    """The running embedded AWS of ``folder``, or None. Reads one file and checks one process.

    Raises LocalError if another version of this program started it.
    """
    state = _read_state(folder)
    return _local_aws(state, folder) if state is not None and state.alive else None


def _read_state(folder: Path) -> HostState | None:
    state = read_state(folder)
    if state is None and (pid := process_of_another_format(folder)) is not None:
        raise LocalError(
            "the embedded AWS cannot be used",
            f"another version of this program started it (process {pid})",
            f"End it with `kill {pid}`, which saves its state, and run the same command again.",
        )
    return state


def _local_aws(state: HostState, folder: Path) -> LocalAws:
    return LocalAws(
        state.endpoint, state.endpoint, state.region, state.access_key_id, state.secret_access_key, state.pid, folder,
        state.fresh, state.runtime, state.token, state.isolation, state.unsafe, state.identity,
    )  # fmt: skip


def start_local(
    folder: Path, *, port: int | None = None, runtime: str | None = None, report: Report = ignore
) -> LocalAws:
    """Start the embedded AWS and its runtime for ``folder``, or return the running one.

    port     on 127.0.0.1; None uses the previous port if it is free, else any free port.
    runtime  "process" or "docker"; None uses the running one, else "process".
    Raises LocalError.
    """
    if sys.platform != "linux":
        raise LocalError(
            _NOT_STARTED, f"it needs Linux, and this is {sys.platform}", "Use --target aws, or a container."
        )
    running = find_local(folder)
    if running is None:
        with step(report, "emulator") as running_step:
            _make_folder(folder)
            _require_ministack()
            answer = _start_host(folder, port, runtime or "process")
            running = _await_started(folder, answer)
            running_step.detail = running.endpoint
        if answer.get("unsaved"):
            found = " ".join(answer.get("recovered", ()))
            report(Note(f"The embedded AWS was killed. {found} {_ALWAYS_LOST}".replace("  ", " ")))
        elif running.fresh:
            report(Note(f"The embedded AWS starts empty; its state is kept in {folder}."))
        if running.isolation:
            text = f"{running.isolation[0].upper()}{running.isolation[1:]}."
            report(Note(f"{text} {running.unsafe}".strip()))
    if port is not None and not running.endpoint.endswith(f":{port}"):
        raise LocalError(
            f"the embedded AWS was not started on port {port}",
            f"it is already running at {running.endpoint}",
            NextStep("Omit the port, or stop it first", ("down",)),
        )
    if runtime is not None and running.runtime != runtime:
        raise LocalError(
            f"functions were not started in the {runtime} runtime",
            f"the embedded AWS is already running with the {running.runtime} runtime",
            NextStep("Omit --runtime, or stop it first", ("down",)),
        )
    return running


@contextlib.contextmanager
def local_session(folder: Path, *, port: int | None = None, runtime: str = "process") -> Iterator[LocalAws]:
    """A separate embedded AWS for the block, such as a test; it ends with the block or this process.

    Raises LocalError, also if one is already running for ``folder``.
    """
    _make_folder(folder)
    _require_ministack()
    process, answer = _spawn_host(folder, port, runtime, "--attached")
    try:
        found = find_local(folder)
        if found is None or "busy" in answer:
            raise LocalError(
                _NOT_STARTED,
                f"{folder} is in use",
                NextStep("Use another folder, or stop the one there first", ("down",)),
            )
        yield found
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(STOP_SECONDS)


def stop_local(folder: Path) -> bool:
    """Stop the embedded AWS of ``folder``, saving its state. Returns False if none was running. Raises LocalError."""
    state = _read_state(folder)
    if state is None or not state.alive:
        sweep_containers(folder)
        return False
    import signal

    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(state.pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not _ends(process, STOP_SECONDS):
                # Its child processes end with it; see main.py.
                signal.pidfd_send_signal(process, signal.SIGKILL)
                _ends(process, 5)
        except PermissionError as error:
            raise LocalError(
                "the embedded AWS was not stopped",
                f"process {state.pid} belongs to another user",
                NextStep("As the user who started it", ("down",)),
            ) from error
        finally:
            os.close(process)
    if not _lock_is_free(folder, STOP_SECONDS):
        raise LocalError(
            "the embedded AWS did not stop",
            f"a process still holds {folder / 'lock'}",
            f"Find it with `fuser {folder / 'lock'}`, and end it.",
        )
    return True


def keeps_state(folder: Path) -> bool:
    """Whether ``folder`` has a saved state. Waits for an emulator that is ending, because it saves last."""
    if (folder / "lock").exists():
        _lock_is_free(folder, STOP_SECONDS)
    return any((folder / "state").glob("*.json"))


def sweep_containers(folder: Path) -> None:
    """Remove containers of a killed run, if there is an engine."""
    if (folder / "containers").exists():
        from pipeline.local.containers.container_backend import open_engine, sweep_folder

        with contextlib.suppress(LocalError):
            sweep_folder(open_engine(), folder)


def _ends(process: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _lock_is_free(folder: Path, seconds: float) -> bool:
    import fcntl

    until = time.monotonic() + seconds
    with (folder / "lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                time.sleep(0.02)
            else:
                return True


def _make_folder(folder: Path) -> None:
    try:
        for place in (folder, *(folder / name for name in ("tmp", "state", "s3"))):
            place.mkdir(parents=True, exist_ok=True)
            # It contains credentials, data and logs, so only the owner may enter, whatever the umask.
            place.chmod(0o700)
        (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LocalError(
            _NOT_STARTED,
            f"its folder {folder} cannot be written: {error.strerror}",
            "Free some space, fix its permissions, or use another folder.",
        ) from error


def _require_ministack() -> None:
    import importlib.util

    if importlib.util.find_spec("ministack") is None:
        raise LocalError(
            _NOT_STARTED,
            "the package ministack is not installed",
            INSTALL_LOCAL,
        )


def _start_host(folder: Path, port: int | None, runtime: str) -> dict[str, Any]:
    """Start the host as a daemon and return its line of JSON: ready or busy. Raises LocalError."""
    process, answer = _spawn_host(folder, port, runtime)
    process.wait()  # it has forked and exited, so the host is not a child of this process
    return answer


def _spawn_host(
    folder: Path, port: int | None, runtime: str, *options: str
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    import subprocess

    for name in ("host.log", "emulator.log"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).replace(folder / f"{name}.previous")
    reader, writer = os.pipe()
    # The user's AWS credentials and settings are not passed on.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    arguments = ["--folder", str(folder.resolve()), "--port", str(port or 0), "--answer", str(writer)]
    arguments += ["--runtime", runtime, *options]
    with os.fdopen(reader, "rb") as answers, open_private(folder / "host.log") as log_file:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.local.host.main", *arguments],
                stdin=subprocess.PIPE if options else subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=[writer],
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(writer)
        line = _read_answer(answers.fileno(), START_SECONDS)
    answer: dict[str, Any] = json.loads(line) if line else {}
    if "ready" in answer or "busy" in answer:
        return process, answer
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
    if "error" in answer:
        raise LocalError(*answer["error"])
    raise LocalError(_NOT_STARTED, _last_words(folder), f"See {folder / 'host.log'}, and run it again.")


def _read_answer(descriptor: int, seconds: float) -> bytes:
    import select

    until, line = time.monotonic() + seconds, b""
    while (left := until - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        data = os.read(descriptor, 65536)
        line += data
        if not data:
            break
    return line


def _last_words(folder: Path) -> str:
    for name in ("host.log", "emulator.log"):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(errors="replace").strip().splitlines()
            if lines:
                return f"its process ended ({lines[-1].strip()})"
    return f"its process gave no answer within {START_SECONDS:.0f} seconds"


def _await_started(folder: Path, answer: dict[str, Any]) -> LocalAws:
    """The running embedded AWS: from this start, or from a concurrent one."""
    until = time.monotonic() + START_SECONDS
    while (found := find_local(folder)) is None:
        if "busy" not in answer:
            raise LocalError(_NOT_STARTED, _last_words(folder), f"See {folder / 'host.log'}, and run it again.")
        if time.monotonic() > until:
            raise LocalError(
                _NOT_STARTED,
                f"a process holds {folder / 'lock'} and has not written its address",
                f"Find it with `fuser {folder / 'lock'}`, and end it.",
            )
        time.sleep(0.02)
    return found
