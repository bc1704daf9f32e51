"""Submit a file through the entrance ``files`` under faults, and check that each line gets exactly one answer.

    python -m benchmarks.files_entrance [--transactions 2000 | --long] [--seed 1]

A file with repeats, conflicts and malformed lines is submitted with ``bootstrap.py submit --file FILE --map``.
Meanwhile workers of the functions are killed, DynamoDB throttles and loses responses, the Map Run is stopped (and
redriven by the command), and the program and the host of the embedded AWS are killed and started again. Then
``bootstrap.py redrive`` runs until nothing is parked, and everything is compared with a model of the rules, as
``benchmarks.soak`` does.

Exits 1 if any invariant is violated.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Also when it is run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.measure import ROOT, machine
from benchmarks.soak import (
    CALM,
    NAMES,
    STORM,
    Soak,
    Story,
    print_soak,
    read_records,
    redrive_all,
)
from benchmarks.soak_check import Given, check
from benchmarks.soak_environment import Broken, Environment, has_result, running
from benchmarks.soak_model import make_lines
from pipeline.transactions.results_file import default_results

STARTS_MAX = 40


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens, and at which shares of the lines; ``storm`` has a beginning and an end."""

    program_kills: Sequence[float] = (0.15, 0.8)
    aborts: Sequence[float] = (0.3, 0.7)
    host_kills: Sequence[float] = (0.55,)
    storm: tuple[float, float] = (0.2, 0.25)
    worker_kills: int = 20


class _Run:
    """The newest execution, as Step Functions describes it; nothing while the embedded AWS is away."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._furthest = 0.0

    def share(self) -> float:
        """The largest share of the lines that any execution has answered."""
        with contextlib.suppress(BotoCoreError, ClientError, Broken):
            client, arn = self._newest()
            for run in client.list_map_runs(executionArn=arn)["mapRuns"] if arn else ():
                counts = client.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
                self._furthest = max(self._furthest, counts["succeeded"] / max(1, counts["total"]))
        return self._furthest

    def stop(self) -> bool:
        with contextlib.suppress(BotoCoreError, ClientError, Broken):
            client, arn = self._newest()
            if arn and client.describe_execution(executionArn=arn)["status"] == "RUNNING":
                client.stop_execution(executionArn=arn, error="Benchmark", cause="stopped on purpose")
                return True
        return False

    def _newest(self) -> tuple[Any, str]:
        client = self._environment.target.client("stepfunctions")
        machines = client.list_state_machines()["stateMachines"]
        machine = next(each["stateMachineArn"] for each in machines if each["name"] == NAMES.files_state_machine)
        found = client.list_executions(stateMachineArn=machine)["executions"]
        newest = max(found, key=lambda each: each["startDate"]) if found else None
        return client, newest["executionArn"] if newest else ""


def submit_through_map(environment: Environment, path: Path, trouble: Trouble, *, seed: int) -> tuple[Story, int]:
    """Submit the file until the command ends: what happened, and how often a Map Run was stopped."""
    story, chance, run = Story(), random.Random(seed), _Run(environment)
    program_kills, host_kills, aborts = list(trouble.program_kills), list(trouble.host_kills), list(trouble.aborts)
    worker_kills = sorted(chance.uniform(0.02, 0.98) for _ in range(trouble.worker_kills))
    storm, stopped, started = [*trouble.storm], 0, time.monotonic()
    environment.faults(CALM)
    program = environment.command("submit", "--file", path, "--map")
    story.starts += 1
    try:
        while True:
            time.sleep(0.2)
            done = run.share()
            while worker_kills and done >= worker_kills[0]:
                worker_kills.pop(0)
                story.worker_kills += environment.kill_worker(chance)
            if storm and done >= storm[0]:
                storm.pop(0)
                environment.faults(STORM if storm else CALM)
                story.storms += bool(storm)
            if aborts and done >= aborts[0] and run.stop():
                aborts.pop(0)
                stopped += 1
            if host_kills and done >= host_kills[0]:
                host_kills.pop(0)
                environment.restart()
                story.host_kills += 1
            if program_kills and done >= program_kills[0] and program.poll() is None:
                program_kills.pop(0)
                program.kill()
                story.program_kills += 1
            if program.poll() is not None:
                if has_result(program):
                    break
                if story.starts >= STARTS_MAX:
                    raise Broken("the file does not come to an end")
                program = environment.command("submit", "--file", path, "--map")
                story.starts += 1
    finally:
        environment.faults({})
        if program.poll() is None:
            program.kill()
            program.communicate()
    story.seconds = time.monotonic() - started
    return story, stopped


def make_project(folder: Path) -> Path:
    """A copy of this project whose environments have the entrance."""
    shutil.copytree(ROOT / "images", folder / "images")
    (folder / "environments.toml").write_text(
        '[project]\nworkflow = "transactions"\n\n[defaults]\nentrances = ["files"]\n'
    )
    return folder


def files_soak(
    folder: Path, *, count: int, seed: int, trouble: Trouble | None = None, expire_leases: bool = False
) -> tuple[Soak, int]:
    """One run in ``folder``: the result, and how often a Map Run was stopped."""
    lines = make_lines(count, seed)
    path = folder / "transactions.jsonl"
    path.write_text("".join(f"{line.text}\n" for line in lines))
    project = make_project(folder / "project")
    with running(folder, project) as environment:
        story, stopped = submit_through_map(environment, path, trouble or Trouble(), seed=seed)
        parked = environment.run("redrive", "--dry-run")["messages"]
        before = read_records(environment.target)
        redriven, rounds = redrive_all(environment, expire_leases=expire_leases)
        left = environment.run("redrive", "--dry-run")["messages"]
        given = Given(lines, default_results(path), parked, before, redriven, left, read_records(environment.target))
        report = check(given, environment.target)
        memory, stop_seconds = environment.memory(), environment.stop()
    causes = Counter(f"{each['state']}: {each['error']}" for each in parked)
    done = Soak(given, story, causes, rounds, report.outcomes, report.sums, report.broken, memory, stop_seconds)
    return done, stopped


def main() -> int:
    parser = argparse.ArgumentParser(description="A file through the entrance for files under faults.")
    parser.add_argument("--transactions", type=int, default=2_000, help="lines of the file (2000)")
    parser.add_argument("--long", action="store_true", help="100000 lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--expire-leases", action="store_true", help="set the clock past leases instead of waiting")
    chosen = parser.parse_args()
    count = 100_000 if chosen.long else chosen.transactions
    with tempfile.TemporaryDirectory(prefix="files-") as temporary:
        done, stopped = files_soak(Path(temporary), count=count, seed=chosen.seed, expire_leases=chosen.expire_leases)
    print(machine())
    print(f"Map Runs stopped: {stopped}")
    print_soak(done)
    return 1 if done.broken else 0


if __name__ == "__main__":
    sys.exit(main())
