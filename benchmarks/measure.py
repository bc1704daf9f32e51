"""Shared by the benchmarks: processes with time and memory, a project to change, and tables of results.

Absolute times mean little on a shared machine, so every figure is a ratio of two things measured alternately in the
same run; tables show the median and the range of both.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.local.host.control import LocalAws, local_session

ROOT = Path(__file__).resolve().parents[1]
# Where byte code is not kept, every process compiles what it imports, which says nothing about either side.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_T = TypeVar("_T")
ENVIRONMENT = "bench"
# What a clone has that a command reads.
_PROJECT = ("bootstrap.py", "cfn", "commands", "pipeline", "images", "environments.toml", ".gitignore")
_GIT = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "init.defaultBranch=main")


@dataclass(frozen=True, slots=True)
class Run:
    """A process that succeeded.

    seconds  from its start to its end
    cpu      seconds of processor that it and the processes that it waited for used
    memory   its peak of resident bytes
    """

    seconds: float
    cpu: float
    memory: int
    output: str


class Failed(Exception):
    """A process failed; the message contains its output."""


def run(command: Sequence[str | Path], *, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Run a process to its end. The standard output is kept, the standard error is shown when it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], cwd=folder, env=env, stdout=out, stderr=err,
                                   stdin=subprocess.DEVNULL)  # fmt: skip
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = out.read().decode(errors="replace")
        if process.returncode:
            shown_output = f"{said}\n{err.read().decode(errors='replace')}".strip()
            shown = " ".join(str(part) for part in command)
            raise Failed(f"{shown} ended with {process.returncode}:\n{shown_output[-4000:]}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, said)


class Project:
    """A copy of this working tree that a benchmark may change, with separate caches and a separate embedded AWS.

    It is a Git repository with everything committed, because a release asks Git for the revision of each function.
    """

    def __init__(self, folder: Path, local: Path) -> None:
        self.folder = folder
        self.cache = folder.parent / f"{folder.name}-cache"
        self._local = local
        for name in _PROJECT:
            source, place = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
            elif source.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)

    def commit(self) -> None:
        for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message", "benchmark")):
            subprocess.run([*_GIT, *arguments], cwd=self.folder, check=True, env=os.environ | {"HOME": "/nonexistent"})

    @property
    def variables(self) -> dict[str, str]:
        own = {"TRANSACTION_PIPELINE_CACHE": str(self.cache), "TRANSACTION_PIPELINE_LOCAL": str(self._local)}
        # Both sides of a comparison install from disk, so that the speed of a package index has no say.
        return {**os.environ, **own, "UV_OFFLINE": "1"}

    def bootstrap(self, *arguments: str, environment: str = ENVIRONMENT, cache: Path | None = None) -> Run:
        """``bootstrap.py ARGUMENTS`` as a user runs it. ``cache`` replaces the project's own."""
        env = self.variables | ({"TRANSACTION_PIPELINE_CACHE": str(cache)} if cache is not None else {})
        command = [sys.executable, "bootstrap.py", *arguments, "--environment", environment]
        return run(command, folder=self.folder, env=env)

    def warm_up(self, *options: str) -> None:
        """Warm the byte code, uv's package cache and the page cache."""
        env = self.variables | {"TRANSACTION_PIPELINE_CACHE": str(self.folder.parent / f"{self.folder.name}-thrown")}
        del env["UV_OFFLINE"]
        for _ in range(2):
            run([sys.executable, "bootstrap.py", "build", *options], folder=self.folder, env=env)
        run([sys.executable, "-m", "compileall", "-q", "cfn", "commands", "pipeline"], folder=self.folder)


@contextmanager
def embedded_aws(folder: Path, runtime: str = "process") -> Iterator[LocalAws]:
    """An embedded AWS that ends with the block; commands find it when TRANSACTION_PIPELINE_LOCAL is ``folder``."""
    with local_session(folder, runtime=runtime) as local:
        yield local


def aws_client(local: LocalAws, service: str) -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=local.endpoint,
        region_name=local.region,
        aws_access_key_id=local.access_key_id,
        aws_secret_access_key=local.secret_access_key,
    )


def bytes_sent(events: str) -> int:
    """What the push step of ``up --events`` said that it sent, in bytes."""
    for line in events.splitlines():
        event = json.loads(line)
        if event.get("event") == "StepFinished" and event.get("step") == "push":
            number = str(event["detail"]).split(" bytes sent")[0].replace(",", "")
            return int(number) if number.isdecimal() else 0
    raise Failed("the release pushed nothing")


def in_turns(rounds: int, actions: Mapping[str, Callable[[], _T]]) -> dict[str, list[_T]]:
    """The results of each action by round. Rounds start with different actions, so none is always first."""
    found: dict[str, list[_T]] = {name: [] for name in actions}
    names = list(actions)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found[name].append(actions[name]())
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: the measurements of both sides by round, and the goal for their ratio.

    goal      "at least" or "at most" this ratio of ``theirs`` to ``ours``, or of ``ours`` to ``theirs`` when
              ``ours_over_theirs``; None for information only
    """

    name: str
    theirs: Sequence[float]
    ours: Sequence[float]
    goal: float | None = None
    ours_over_theirs: bool = False
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: a busy moment hits both sides of a round alike."""
        pairs = zip(self.theirs, self.ours, strict=True)
        return statistics.median(b / a if self.ours_over_theirs else a / b for a, b in pairs)

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.ours_over_theirs else self.ratio >= self.goal


@dataclass(frozen=True, slots=True)
class Limit:
    """One figure with an absolute limit, such as bytes."""

    name: str
    values: Sequence[float]
    most: float
    unit: str

    @property
    def met(self) -> bool:
        return max(self.values) <= self.most


def shown(values: Sequence[float], unit: str) -> str:
    """The median with the range: ``0.412 (0.398–0.520) s``."""
    digits = 0 if unit == "bytes" else 1 if unit == "MB" else 2 if statistics.median(values) >= 1 else 3
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}–{high}) {unit}" if len(values) > 1 else f"{middle} {unit}"


def print_table(title: str, columns: tuple[str, str], rows: Sequence[Row | Limit]) -> bool:
    """Print the results; whether every goal is met."""
    lines = [(title, columns[0], columns[1], "ratio", "goal", "")]
    for row in rows:
        if isinstance(row, Limit):
            bound = f"≤ {row.most:,.0f} {row.unit}"
            lines.append((row.name, "", shown(row.values, row.unit), "", bound, _verdict(row.met)))
            continue
        sign = "≤" if row.ours_over_theirs else "≥"
        goal = "" if row.goal is None else f"{sign} {row.goal:g}"
        cells = (shown(row.theirs, row.unit), shown(row.ours, row.unit), f"{row.ratio:.1f}", goal)
        lines.append((row.name, *cells, _verdict(row.met)))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    print()
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths).rstrip())
    sys.stdout.flush()
    return all(row.met is not False for row in rows)


def _verdict(met: bool | None) -> str:
    return "" if met is None else "met" if met else "not met"


def machine() -> str:
    """Cores, memory and load average."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {sys.version.split()[0]}, load average {load}"
