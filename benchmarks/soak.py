"""Submit many transactions under faults, and check that each gets exactly one answer.

    python -m benchmarks.soak [--transactions 20000 | --long] [--seed 1] [--workers 32] [--no-throughput]
                              [--folder DIR]

A file of transactions with repeats, conflicts and malformed lines is submitted with ``bootstrap.py submit --file``.
Meanwhile workers of the functions are killed at random, DynamoDB throttles and loses responses, and the program and the
host of the embedded AWS are killed and restarted. Then ``bootstrap.py redrive`` runs until nothing is parked. Table,
results file and queue are compared with a model of the rules.

With ``--folder`` a soak goes on where it was killed, in the state that the embedded AWS kept: a long one can use spare
hours. Leases expire in real time, so the end may take five minutes; ``--expire-leases`` sets the clock forward instead.
Exits 1 if any invariant is violated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Also when it is run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import machine
from benchmarks.soak_check import Given, Records, check
from benchmarks.soak_environment import Broken, Environment, has_result, running
from benchmarks.soak_model import make_lines
from cfn.names import Names
from cfn.workflow.limits import LEASE_SECONDS
from pipeline.core.files import write_atomically
from pipeline.target import Target
from pipeline.transactions.results_file import default_results

NAMES = Names("dev")
CALM = {"throttled": 0.01, "lost": 0.001}
STORM = {"throttled": 0.6, "lost": 0.01}
# What has happened so far, beside the transactions.
STORY = ".story.json"
_NOTE_SECONDS = 5


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

    @classmethod
    def read(cls, file: Path) -> Story:
        """The story so far of a soak that was killed; a new one if there is none."""
        try:
            return cls(**json.loads(file.read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, file: Path) -> None:
        write_atomically(file, json.dumps(asdict(self)).encode())


def submit_under_fire(
    environment: Environment, path: Path, count: int, fire: Fire, *, workers: int, seed: int, expire_leases: bool
) -> Story:
    """Submit the file until every line has an answer or is parked."""
    story, chance, results = Story.read(path.with_suffix(STORY)), random.Random(seed), _Progress(default_results(path))
    reached = results.look() / count

    def left(shares: Iterable[float]) -> list[float]:
        return sorted(share for share in shares if share >= reached)

    program_kills, host_kills, storms = left(fire.program_kills), left(fire.host_kills), left(fire.storms)
    worker_kills = left(chance.uniform(0.02, 0.98) for _ in range(fire.worker_kills))
    calm_at: float | None = None
    environment.faults(CALM)
    started = noted = time.monotonic() - story.seconds
    program = environment.command("submit", "--file", path, "--workers", str(workers))
    story.starts += 1
    try:
        while True:
            time.sleep(0.02)
            done = results.look() / count
            if time.monotonic() - noted > _NOTE_SECONDS:
                noted = time.monotonic()
                story.seconds = noted - started
                story.write(path.with_suffix(STORY))
            if len(story.tenths) < min(10, int(done * 10)):
                story.tenths.append(time.monotonic() - started)
            if worker_kills and done >= worker_kills[0] and environment.kill_worker(chance):
                worker_kills.pop(0)
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
                environment.restart()
                story.host_kills += 1
                if expire_leases:
                    _expire_leases(environment.target)
            if program_kills and done >= program_kills[0] and program.poll() is None:
                program_kills.pop(0)
                program.kill()
                story.program_kills += 1
            if program.poll() is not None:
                if has_result(program):
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
    """One soak in ``folder``; goes on with one that was killed there."""
    lines = make_lines(count, seed)
    path = folder / "transactions.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    written = "".join(f"{line.text}\n" for line in lines)
    if path.exists() and path.read_text() != written:
        raise Broken(f"{path} is of another soak: another number of lines, seed or version")
    path.write_text(written)
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
    parser.add_argument("--folder", type=Path, help="keep everything here, and go on if the soak was killed")
    parser.add_argument("--no-throughput", action="store_true", help="leave the comparison with a pass-through out")
    chosen = parser.parse_args()
    count = 100_000 if chosen.long else chosen.transactions
    with (
        contextlib.nullcontext(chosen.folder)
        if chosen.folder
        else tempfile.TemporaryDirectory(prefix="soak-") as folder
    ):
        done = soak(
            Path(folder), count=count, seed=chosen.seed, workers=chosen.workers, expire_leases=chosen.expire_leases
        )
    print(machine())
    print_soak(done)
    if not chosen.no_throughput:
        from benchmarks.throughput import fresh_throughput, print_throughput

        print_throughput(fresh_throughput())
    return 1 if done.broken else 0


if __name__ == "__main__":
    sys.exit(main())
