"""Submit many transactions under faults, and check that each gets exactly one answer.

    python -m benchmarks.soak [--transactions 20000 | --long] [--seed 1] [--workers 32] [--no-throughput]

A file of transactions with repeats, conflicts and malformed lines is submitted with ``bootstrap.py submit --file``.
Meanwhile workers of the functions are killed at random, DynamoDB throttles and loses responses, and the program and the
host of the embedded AWS are killed and restarted. Then ``bootstrap.py redrive`` runs until nothing is parked. Table,
results file and queue are compared with a model of the rules.

Leases expire in real time, so the end may take five minutes; ``--expire-leases`` sets the clock forward instead. Exits
1 if any invariant is violated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Also when it is run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.faulty_emulator import FAULTS
from benchmarks.measure import ROOT, machine
from benchmarks.soak_check import Given, Records, check
from benchmarks.soak_model import make_lines
from cfn.names import Names
from cfn.workflow.limits import LEASE_SECONDS
from pipeline.local.host.control import find_local
from pipeline.local.processes import children
from pipeline.target import Target, local_target
from pipeline.transactions.results_file import default_results

NAMES = Names("dev")
CALM = {"throttled": 0.01, "lost": 0.001}
STORM = {"throttled": 0.6, "lost": 0.01}


@dataclass(frozen=True, slots=True)
class Fire:
    """What happens, and at which shares of the file.

    storm_length: how much of the file a storm lasts for, or longer, until something has been parked.
    """

    program_kills: Sequence[float] = (0.15, 0.35, 0.55, 0.75)
    host_kills: Sequence[float] = (0.25, 0.65)
    storms: Sequence[float] = (0.10, 0.45, 0.85)
    worker_kills: int = 60
    storm_length: float = 0.02


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


@dataclass(slots=True)
class Story:
    """Events of the soak."""

    worker_kills: int = 0
    program_kills: int = 0
    host_kills: int = 0
    storms: int = 0
    starts: int = 0
    seconds: float = 0.0
    # Seconds at which each tenth of the lines was done.
    tenths: list[float] = field(default_factory=list)


def submit_under_fire(
    environment: Environment, path: Path, count: int, fire: Fire, *, workers: int, seed: int, expire_leases: bool
) -> Story:
    """Submit the file until every line has an answer or is parked."""
    story, chance, results = Story(), random.Random(seed), _Progress(default_results(path))
    program_kills, host_kills, storms = list(fire.program_kills), list(fire.host_kills), list(fire.storms)
    worker_kills = sorted(chance.uniform(0.02, 0.98) for _ in range(fire.worker_kills))
    calm_at: float | None = None
    environment.faults(CALM)
    started = time.monotonic()
    program = environment.command("submit", "--file", path, "--workers", str(workers))
    story.starts += 1
    try:
        while True:
            time.sleep(0.02)
            done = results.look() / count
            if len(story.tenths) < min(10, int(done * 10)):
                story.tenths.append(time.monotonic() - started)
            if worker_kills and done >= worker_kills[0] and (found := environment.workers()):
                worker_kills.pop(0)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(found), signal.SIGKILL)
                    story.worker_kills += 1
            if storms and done >= storms[0]:
                calm_at = storms.pop(0) + fire.storm_length
                environment.faults(STORM)
                story.storms += 1
            if calm_at is not None and done >= calm_at and results.parked:
                calm_at = None
                environment.faults(CALM)
            if host_kills and done >= host_kills[0]:
                host_kills.pop(0)
                environment.kill()
                environment.start()
                story.host_kills += 1
                if expire_leases:
                    _expire_leases(environment.target)
            if program_kills and done >= program_kills[0] and program.poll() is None:
                program_kills.pop(0)
                program.kill()
                story.program_kills += 1
            if program.poll() is not None:
                said, _ = program.communicate()
                # 0, or 1 where lines were parked or malformed; an error instead of a result has "what".
                if said and "what" not in json.loads(said):
                    break
                if story.starts > 40:
                    raise Broken("the file does not come to an end")
                program = environment.command("submit", "--file", path, "--workers", str(workers))
                story.starts += 1
    finally:
        environment.faults({})
        if program.poll() is None:
            program.kill()
            program.communicate()
    story.seconds = time.monotonic() - started
    return story


class _Progress:
    """How far the results file has come. Reads only what was added: all of it, fifty times a second, takes a core."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self.lines = 0
        # Whether a line was parked.
        self.parked = False

    def look(self) -> int:
        """The number of complete lines."""
        try:
            with self._file.open("rb") as results:
                results.seek(self._read)
                complete = results.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return self.lines
        if complete:
            self._read += len(complete) + 1
            self.lines += complete.count(b"\n") + 1
            self.parked = self.parked or b'"outcome": "parked"' in complete
        return self.lines


def redrive_all(environment: Environment, *, expire_leases: bool) -> tuple[list[dict[str, Any]], int]:
    """Redrive until nothing is parked: every message as it was redriven, and the rounds."""
    found: list[dict[str, Any]] = []
    until = time.monotonic() + 2 * LEASE_SECONDS
    for rounds in range(1, 100):
        if expire_leases:
            _expire_leases(environment.target)
        result = environment.run("redrive")
        if "messages" not in result:
            raise Broken(f"the redrive failed: {result}")
        found += result["messages"]
        if result["remaining"] == 0:
            return found, rounds
        if time.monotonic() > until:
            raise Broken(f"still parked after {rounds} redrives: {result['counts']}")
        time.sleep(0 if expire_leases else 10)
    raise Broken("a hundred redrives were not enough")


def read_records(target: Target) -> Records:
    records: Records = {}
    for page in target.client("dynamodb").get_paginator("scan").paginate(TableName=NAMES.table, ConsistentRead=True):
        for item in page["Items"]:
            plain = {name: next(iter(value.values())) for name, value in item.items()}
            records[plain["transaction_id"]] = plain
    return records


def _expire_leases(target: Target) -> None:
    dynamodb = target.client("dynamodb")
    for key, record in read_records(target).items():
        if record.get("status") == "CLAIMED":
            # It may have been answered meanwhile.
            with contextlib.suppress(dynamodb.exceptions.ConditionalCheckFailedException):
                dynamodb.update_item(
                    TableName=NAMES.table,
                    Key={"transaction_id": {"S": key}},
                    UpdateExpression="SET lease_until = :past",
                    ConditionExpression="attribute_exists(lease_until)",
                    ExpressionAttributeValues={":past": {"N": "1"}},
                )


@dataclass(frozen=True, slots=True)
class Soak:
    """The result: the lines, the events, and all violated invariants."""

    given: Given
    story: Story
    parked: Mapping[str, int]
    redrives: int
    outcomes: Mapping[str, int]
    sums: Mapping[str, tuple[int, int]]
    broken: Sequence[str]
    memory: int
    stop_seconds: float


def soak(
    folder: Path, *, count: int, seed: int, workers: int, fire: Fire | None = None, expire_leases: bool = False
) -> Soak:
    """One soak in ``folder``."""
    lines = make_lines(count, seed)
    path = folder / "transactions.jsonl"
    path.write_text("".join(f"{line.text}\n" for line in lines))
    with running(folder) as environment:
        story = submit_under_fire(
            environment, path, count, fire or Fire(), workers=workers, seed=seed, expire_leases=expire_leases
        )
        parked = environment.run("redrive", "--dry-run")["messages"]
        before = read_records(environment.target)
        redriven, rounds = redrive_all(environment, expire_leases=expire_leases)
        left = environment.run("redrive", "--dry-run")["messages"]
        records = read_records(environment.target)
        memory = environment.memory()
        given = Given(lines, default_results(path), parked, before, redriven, left, records)
        report = check(given, environment.target)
        stop_seconds = environment.stop()
    return Soak(
        given,
        story,
        Counter(f"{each['state']}: {each['error']}" for each in parked),
        rounds,
        report.outcomes,
        report.sums,
        report.broken,
        memory,
        stop_seconds,
    )


def print_soak(done: Soak) -> None:
    kinds, story = Counter(str(line.kind) for line in done.given.lines), done.story
    count = len(done.given.lines)
    rows = [("submissions", f"{count:,}")]
    rows += [(f"  {name}", f"{number:,} ({number / count:.1%})") for name, number in sorted(kinds.items())]
    rows += [
        ("workers killed", f"{story.worker_kills}"),
        ("program killed, started", f"{story.program_kills}, {story.starts}"),
        ("host killed and started again", f"{story.host_kills}"),
        ("storms of throttling", f"{story.storms}"),
        ("seconds, per second", f"{story.seconds:,.0f}, {count / story.seconds:.0f}"),
        ("per second in each tenth", " ".join(f"{rate:.0f}" for rate in _rates(story, count))),
        ("parked, redrives until none was", f"{sum(done.parked.values()):,}, {done.redrives}"),
    ]
    rows += [(f"  {why}", f"{number:,}") for why, number in sorted(done.parked.items(), key=lambda each: -each[1])]
    rows += [("decided", f"{sum(done.outcomes.values()):,}")]
    rows += [(f"  {name}", f"{number:,}") for name, number in sorted(done.outcomes.items())]
    rows += [
        (f"approved {currency}, minor units", f"{table:,} {'=' if table == model else '≠'} {model:,} of the model")
        for currency, (table, model) in sorted(done.sums.items())
    ]
    rows += [
        ("emulator's memory at the end", f"{done.memory / 2**20:,.0f} MB"),
        ("saved and ended in", f"{done.stop_seconds:.1f} s"),
        ("invariants violated", f"{len(done.broken)}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    for each in done.broken[:50]:
        print(f"BROKEN: {each}")


def _rates(story: Story, count: int) -> Iterator[float]:
    before = 0.0
    for seconds in story.tenths:
        yield count / 10 / max(seconds - before, 1e-9)
        before = seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Transactions under faults, compared with a model.")
    parser.add_argument("--transactions", type=int, default=20_000, help="lines of the file (20000)")
    parser.add_argument("--long", action="store_true", help="100000 lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=32, help="submissions at once (32)")
    parser.add_argument("--expire-leases", action="store_true", help="set the clock past leases instead of waiting")
    parser.add_argument("--no-throughput", action="store_true", help="leave the comparison with a pass-through out")
    chosen = parser.parse_args()
    count = 100_000 if chosen.long else chosen.transactions
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        done = soak(
            Path(temporary), count=count, seed=chosen.seed, workers=chosen.workers, expire_leases=chosen.expire_leases
        )
    print(machine())
    print_soak(done)
    if not chosen.no_throughput:
        from benchmarks.throughput import fresh_throughput, print_throughput

        print_throughput(fresh_throughput())
    return 1 if done.broken else 0


if __name__ == "__main__":
    sys.exit(main())
