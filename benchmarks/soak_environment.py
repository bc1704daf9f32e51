"""The environment of a soak: an embedded AWS with faults, and the commands that a user would run in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faulty_emulator import FAULTS
from benchmarks.measure import ROOT
from pipeline.local.host.control import find_local
from pipeline.local.processes import children
from pipeline.target import Target, local_target


class Broken(Exception):
    """The soak cannot continue."""


class Environment:
    """An embedded AWS with faults, owned by this process, and the commands that a user would run.

    project  the folder of the project; None for this one
    """

    def __init__(self, folder: Path, project: Path | None = None) -> None:
        self._project = ("--project", project) if project is not None else ()
        self.folder = folder / "local"
        self._cache = Path(os.environ.get("TRANSACTION_PIPELINE_CACHE") or folder / "cache")
        self._host: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("tmp", "state", "s3"):
            (self.folder / name).mkdir(exist_ok=True)

    def start(self) -> None:
        """Start the host, or start it again; returns when the embedded AWS answers."""
        reader, writer = os.pipe()
        log = (self.folder / "host.log").open("ab")
        with os.fdopen(reader, "rb") as answers, log:
            self._host = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmarks.faulty_emulator", "--folder", str(self.folder), "--port", "0",
                 "--answer", str(writer), "--attached"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[writer], start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            os.close(writer)
            line = answers.readline()
        if b"ready" not in line:
            raise Broken(f"the host did not start: {line.decode()} {(self.folder / 'host.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End the host as a crash would; the emulator saves its state and exits."""
        assert self._host is not None
        self._host.kill()
        self._host.wait()
        assert self._host.stdin is not None
        self._host.stdin.close()

    def stop(self) -> float:
        """End it as ``down`` does; the seconds that this took."""
        started = time.monotonic()
        if self._host is not None and self._host.stdin is not None:
            self._host.stdin.close()
            self._host.wait(60)
        return time.monotonic() - started

    def restart(self) -> None:
        """End the host as a crash would, and start it again."""
        self.kill()
        self.start()

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill a process of the functions, whichever; False if there was none."""
        if not (found := self.workers()):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
            return True
        return False

    def workers(self) -> list[int]:
        """The processes of the functions."""
        assert self._host is not None
        return [pid for pid in children(self._host.pid) if not _is_emulator(pid)]

    def memory(self) -> int:
        """Resident bytes of the emulator."""
        assert self._host is not None
        for pid in filter(_is_emulator, children(self._host.pid)):
            with contextlib.suppress(OSError, IndexError):
                return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def faults(self, shares: Mapping[str, float]) -> None:
        file = self.folder / FAULTS
        file.with_suffix(".new").write_text(json.dumps(shares))
        file.with_suffix(".new").replace(file)

    @property
    def target(self) -> Target:
        found = find_local(self.folder)
        if found is None:
            raise Broken("the embedded AWS does not run")
        return local_target(found, None)

    def command(self, *arguments: str | Path) -> subprocess.Popen[str]:
        variables = os.environ | {
            "TRANSACTION_PIPELINE_LOCAL": str(self.folder),
            "TRANSACTION_PIPELINE_CACHE": str(self._cache),
        }
        return subprocess.Popen(
            [sys.executable, str(ROOT / "bootstrap.py"), *map(str, (*arguments, *self._project)), "--json"],
            env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, *arguments: str | Path) -> Any:
        """The result of a command, whatever its exit code."""
        with self.command(*arguments) as process:
            said, _ = process.communicate()
        try:
            return json.loads(said)
        except ValueError:
            raise Broken(f"{arguments[0]} ended with {process.returncode} and said {said[-500:]!r}") from None


def has_result(program: subprocess.Popen[str]) -> bool:
    """Whether a command that ended gave a result for every line. Otherwise it is to be run again, as it says itself.

    An error has "what" instead, a killed command says nothing, and lines that met a host that was just killed are
    unanswered: if it comes back before twenty of them, the command goes on without them.
    """
    said, _ = program.communicate()
    result = json.loads(said) if said else {"what": ""}
    return "what" not in result and not result.get("unanswered")


def _is_emulator(pid: int) -> bool:
    try:
        return b"\0--socket\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def running(folder: Path, project: Path | None = None) -> Iterator[Environment]:
    environment = Environment(folder, project)
    environment.start()
    try:
        result = environment.run("up", "--no-smoke")
        if "stacks" not in result:
            raise Broken(f"the environment was not deployed: {result}")
        yield environment
    finally:
        environment.stop()
