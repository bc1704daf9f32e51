"""States of the world and time of `verify-workflow`: three executions of one id and two errors, and all mutations.

python -m benchmarks.verification [--executions 3] [--faults 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.measure import ROOT, Limit, machine, print_table, run

SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description="How long the proof of the workflow takes.")
    parser.add_argument("--executions", type=int, default=3, help="of one id (3)")
    parser.add_argument("--faults", type=int, default=2, help="errors among all of them (2)")
    arguments = parser.parse_args()

    print(machine(), flush=True)
    command: list[str | Path] = [sys.executable, ROOT / "bootstrap.py", "verify-workflow", "--json"]
    proof = run([*command, "--executions", str(arguments.executions), "--faults", str(arguments.faults)])
    mutations = run([*command, "--mutations"])
    document = json.loads(proof.output)
    rows = [
        Limit("the proof: the clock", [proof.seconds], SECONDS, "s"),
        Limit("the proof: the processor", [proof.cpu], SECONDS, "s"),
        Limit("the proof: memory", [proof.memory / 2**20], 1024, "MB"),
        Limit("all mutations: the processor", [mutations.cpu], SECONDS, "s"),
    ]
    for each in document["explored"]:
        print(f"{each['scope']}: {each['states']:,} states, {each['tables']:,} of the table, {each['seconds']:.1f} s")
    return 0 if print_table("verify-workflow", ("", "ours"), rows) else 1


if __name__ == "__main__":
    sys.exit(main())
