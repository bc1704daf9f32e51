"""Simulate a load against Lambda's limits: how many submissions are retried, and how many parked.

    python -m benchmarks load [--per-minute 10000] [--burst 3] [--reserved 50]

Nothing is invoked. Arrivals are random; a function with N executions accepts 10 x N invocations a second and N at a
time (Lambda developer guide, "Understanding function scaling"). A refused invocation is retried as the state machine
defines, and parked after the last retry.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfn.concurrency import INVOCATIONS_PER_EXECUTION, reservation
from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import Settings
from pipeline.assembly.sources import find_sources
from pipeline.transactions.ways import read_definition, tasks

THROTTLED = "Lambda.TooManyRequestsException"
STATES = ("Validate", "FraudDetection", "Compliance")
# The burst lasts this long within each period (seconds).
BURST, PERIOD = 20, 60
# Lambda counts its rate over a second; a tenth of it is what arrives together.
TICK = 0.1


@dataclass(frozen=True, slots=True)
class Retrier:
    interval: float
    rate: float
    attempts: int
    longest: float

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Retrier:
        """What the state does after a throttled invocation."""
        for each in state.get("Retry", []):
            if THROTTLED in each["ErrorEquals"]:
                return cls(
                    each["IntervalSeconds"], each["BackoffRate"], each["MaxAttempts"],
                    each.get("MaxDelaySeconds", float("inf")),
                )  # fmt: skip
        return cls(0, 1, 0, 0)

    def wait(self, attempt: int, chance: random.Random) -> float:
        """Full jitter: anything from nothing to the whole delay (Amazon States Language, JitterStrategy FULL)."""
        return chance.uniform(0, min(self.interval * self.rate ** (attempt - 1), self.longest))


@dataclass(frozen=True, slots=True)
class Outcome:
    submitted: int
    throttled: int
    parked: int


def simulate(
    definition: Mapping[str, Any],
    *,
    reserved: int,
    milliseconds: float,
    per_minute: float,
    burst: float,
    minutes: int = 5,
    seed: int = 1,
) -> Outcome:
    """Each submission passes Validate, then FraudDetection and Compliance side by side."""
    chance = random.Random(seed)
    retriers = {name: Retrier.of(tasks(definition)[name]) for name in STATES}
    queue: list[tuple[float, int, str, int]] = []
    second, number = 0.0, 0
    while second < minutes * 60:
        second += chance.expovariate(per_minute / 60 * burst)
        if second % PERIOD < BURST or chance.random() < 1 / burst:
            heapq.heappush(queue, (second, number, "Validate", 1))
            number += 1
    taken: dict[str, dict[int, int]] = {name: {} for name in STATES}
    busy: dict[str, list[float]] = {name: [] for name in STATES}
    throttled, parked = 0, set[int]()
    limit = reserved * INVOCATIONS_PER_EXECUTION * TICK
    while queue:
        now, which, name, attempt = heapq.heappop(queue)
        tick = int(now / TICK)
        running = busy[name]
        while running and running[0] <= now:
            heapq.heappop(running)
        if taken[name].get(tick, 0) < limit and len(running) < reserved:
            taken[name][tick] = taken[name].get(tick, 0) + 1
            done = now + milliseconds / 1000
            heapq.heappush(running, done)
            if name == "Validate":
                for branch in STATES[1:]:
                    heapq.heappush(queue, (done, which, branch, 1))
            continue
        throttled += 1
        if attempt > retriers[name].attempts:
            parked.add(which)
        else:
            heapq.heappush(queue, (now + retriers[name].wait(attempt, chance), which, name, attempt + 1))
    return Outcome(number, throttled, len(parked))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks load", description=__doc__.splitlines()[0])
    parser.add_argument("--per-minute", type=float, default=10_000)
    parser.add_argument("--burst", type=float, default=3)
    parser.add_argument("--reserved", type=int, action="append", help="default: 10, and what the settings derive")
    chosen = parser.parse_args(arguments)
    functions = [each.definition for each in find_sources(Path(__file__).parents[1] / "images")]
    settings = Settings("dev", transactions_per_minute=int(chosen.per_minute), burst=chosen.burst)
    definition = read_definition(json.loads(render(pipeline_template(settings, functions))))
    print(f"{'reserved':>8}  {'submitted':>9}  {'throttled':>9}  {'parked':>7}")
    for reserved in chosen.reserved or (10, reservation(settings, functions)):
        found = simulate(
            definition, reserved=reserved, milliseconds=max(each.milliseconds for each in functions),
            per_minute=chosen.per_minute, burst=chosen.burst,
        )  # fmt: skip
        share = found.parked / found.submitted
        print(f"{reserved:>8}  {found.submitted:>9,}  {found.throttled:>9,}  {found.parked:>7,}  {share:.1%}")


if __name__ == "__main__":
    main()
