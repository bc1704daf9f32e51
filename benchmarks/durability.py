"""What durability costs: transactions per second with the journal, and with an emulator that keeps nothing.

    python -m benchmarks.durability [--rounds 5] [--transactions 200] [--workers 16] [--check]
    python -m benchmarks.durability --folder …      the host of the emulator that keeps nothing, with its arguments
    python -m benchmarks.durability --socket …      that emulator

Two embedded AWS's with the same release run side by side and are measured in turns. The goal is 0.9: at most a tenth
of the throughput. ``--check`` exits 1 if it is missed. The processor that the emulator uses for a transaction is shown
too, since it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# Also when it is run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, Row, embedded_aws, in_turns, machine, print_table
from benchmarks.throughput import Side, deploy_pipeline, stack_output
from cfn.names import Names
from pipeline.local.host.control import LocalAws, find_local
from pipeline.target import local_target

GOAL = 0.9


@contextmanager
def forgetful_aws(folder: Path) -> Iterator[LocalAws]:
    """An embedded AWS that ends with the block, and whose emulator keeps nothing."""
    for name in ("tmp", "state", "s3"):
        (folder / name).mkdir(parents=True)
    reader, writer = os.pipe()
    arguments = ["--folder", str(folder), "--port", "0", "--answer", str(writer), "--attached"]
    with (
        os.fdopen(reader, "rb") as answer,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.durability", *arguments], pass_fds=[writer], stdin=subprocess.PIPE,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        ) as process,
    ):  # fmt: skip
        os.close(writer)
        answer.readline()
        found = find_local(folder)
        if found is None:
            raise SystemExit("the emulator that keeps nothing did not start")
        try:
            yield found
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(120)


def compare(rounds: int, transactions: int, workers: int) -> tuple[Row, dict[str, float]]:
    """Answers per second of both sides by round, and the emulator's milliseconds of processor for a transaction."""
    with (
        tempfile.TemporaryDirectory(prefix="durability-") as temporary,
        forgetful_aws(Path(temporary) / "forgetful") as forgetful,
        embedded_aws(Path(temporary) / "durable") as durable,
    ):
        sides = {}
        for name, local in (("keeps nothing", forgetful), ("journal", durable)):
            deploy_pipeline(local.folder)
            arn = stack_output(local_target(local, None), Names("dev").pipeline_stack)
            sides[name] = Side(local, arn, Path(temporary), transactions, workers)
            Side(local, arn, Path(temporary), workers, workers).measure()  # workers start, and everything is loaded
        time.sleep(1)  # what was deployed is saved
        used: dict[str, list[float]] = {name: [] for name in sides}

        def measure(name: str) -> float:
            found = sides[name].measure()
            used[name].append((sides[name].used or {})["emulator"])
            return found

        found = in_turns(rounds, {name: partial(measure, name) for name in sides})
    row = Row("transactions a second", found["keeps nothing"], found["journal"], ours_over_theirs=True, unit="/s")
    return row, {name: sorted(each)[len(each) // 2] for name, each in used.items()}


def host_or_emulator() -> int:
    """This module as the host, or as the emulator, of ``forgetful_aws``."""
    if "--folder" in sys.argv:
        from pipeline.local.host import main as host

        host.EMULATOR = "benchmarks.durability"
        return host.main()
    from pipeline.local.emulator import server

    return server.main(durable=False)


def main() -> int:
    if {"--folder", "--socket"} & {*sys.argv}:
        return host_or_emulator()
    parser = argparse.ArgumentParser(description="Transactions per second with and without the journal.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both sides (5)")
    parser.add_argument("--transactions", type=int, default=200, help="transactions per round and side (200)")
    parser.add_argument("--workers", type=int, default=16, help="submissions at once (16)")
    parser.add_argument("--check", action="store_true", help="exit 1 when the goal is missed")
    chosen = parser.parse_args()
    row, used = compare(chosen.rounds, chosen.transactions, chosen.workers)
    print(machine())
    print_table("durability", ("keeps nothing", "journal"), [row])
    print(f"ratio {row.ratio:.2f}, goal ≥ {GOAL}")
    print("\nprocessor of the emulator per transaction: " + ", ".join(f"{n} {ms:.1f} ms" for n, ms in used.items()))
    return 1 if chosen.check and row.ratio < GOAL else 0


if __name__ == "__main__":
    sys.exit(main())
