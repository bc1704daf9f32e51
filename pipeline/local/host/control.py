"""Start, find and stop the embedded AWS with its runtime. One runs per local folder, apart from who started it.

    FOLDER/local.json     who runs there and how it is reached
    FOLDER/lock           held as long as anything runs there
    FOLDER/state, s3      what the embedded AWS knew when it ended last
    FOLDER/images, layers pulled images
    FOLDER/*.log          what the host and the emulator said; *.log.previous of the run before

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
from pipeline.local.host_state import HostState, open_private, read_state

if TYPE_CHECKING:
    import subprocess

# A start waits for an emulator that is still saving, and then reads a state that may be large.
START_SECONDS = 200.0
# The emulator may take its SAVE_SECONDS, and the host a little more.
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
    """What runs for ``folder``, or None. Reads one file and asks the kernel for one process."""
    state = read_state(folder)
    return _local_aws(state, folder) if state is not None and state.alive else None


def _local_aws(state: HostState, folder: Path) -> LocalAws:
    return LocalAws(
        state.endpoint, state.endpoint, state.region, state.access_key_id, state.secret_access_key, state.pid, folder,
        state.fresh, state.runtime, state.token, state.isolation, state.unsafe, state.identity,
    )  # fmt: skip


def start_local(
    folder: Path, *, port: int | None = None, runtime: str | None = None, report: Report = ignore
) -> LocalAws:
    """Start the embedded AWS and its runtime for ``folder``, or find them running.

    port     of 127.0.0.1; None takes the one used before if it is free, else any free one.
    runtime  "process" or "docker"; None takes what runs, and starts with processes.
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
            f"it runs already at {running.endpoint}",
            NextStep("Leave the port out, or stop it first", ("down",)),
        )
    if runtime is not None and running.runtime != runtime:
        raise LocalError(
            f"functions were not started in the {runtime} runtime",
            f"the embedded AWS runs already, with the {running.runtime} runtime",
            NextStep("Leave --runtime out, or stop it first", ("down",)),
        )
    return running


@contextlib.contextmanager
def local_session(folder: Path, *, port: int | None = None, runtime: str = "process") -> Iterator[LocalAws]:
    """An embedded AWS of its own for the block, such as a test: it ends with the block, and with this process.

    Raises LocalError, also when one runs for ``folder`` already.
    """
    _make_folder(folder)
    _require_ministack()
    process, answer = _spawn_host(folder, port, runtime, "--attached")
    try:
        found = find_local(folder)
        if found is None or "busy" in answer:
            raise LocalError(
                _NOT_STARTED, f"{folder} is in use", NextStep("Take another folder, or stop it there first", ("down",))
            )
        yield found
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(STOP_SECONDS)


def stop_local(folder: Path) -> bool:
    """Stop what runs for ``folder``, saving its state; False when nothing ran. Raises LocalError if it will not end."""
    state = read_state(folder)
    if state is None or not state.alive:
        sweep_containers(folder)
        return False
    import signal

    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(state.pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not _ends(process, STOP_SECONDS):
                # What it started ends with it; see host.py.
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
    """Whether something is kept on disk for the next start; what is just ending is waited for, since it saves last."""
    if (folder / "lock").exists():
        _lock_is_free(folder, STOP_SECONDS)
    return any((folder / "state").glob("*.json"))


def sweep_containers(folder: Path) -> None:
    """Remove containers that a killed run left, where there is an engine to ask."""
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
            # It has credentials, data and logs, so no other user may enter, whatever the umask.
            place.chmod(0o700)
        (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LocalError(
            _NOT_STARTED,
            f"its folder {folder} cannot be written: {error.strerror}",
            "Free some space or mend its permissions, or name another folder.",
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
    """Start the host, apart from this process, and return its one line: ready or busy. Raises LocalError."""
    process, answer = _spawn_host(folder, port, runtime)
    process.wait()  # it forked and left, so that the host is nobody's child
    return answer


def _spawn_host(
    folder: Path, port: int | None, runtime: str, *options: str
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    import subprocess

    for name in ("host.log", "emulator.log"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).replace(folder / f"{name}.previous")
    reader, writer = os.pipe()
    # The user's own AWS credentials and settings are not for anything that runs there.
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
    raise LocalError(_NOT_STARTED, _last_words(folder), f"Look into {folder / 'host.log'}, and run it again.")


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
    """What runs now: our host, or another that was started at the same time."""
    until = time.monotonic() + START_SECONDS
    while (found := find_local(folder)) is None:
        if "busy" not in answer:
            raise LocalError(_NOT_STARTED, _last_words(folder), f"Look into {folder / 'host.log'}, and run it again.")
        if time.monotonic() > until:
            raise LocalError(
                _NOT_STARTED,
                f"a process holds {folder / 'lock'} and does not say where it can be reached",
                f"Find it with `fuser {folder / 'lock'}`, and end it.",
            )
        time.sleep(0.02)
    return found
