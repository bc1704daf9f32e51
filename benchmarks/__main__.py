"""Run the benchmarks one after the other, each in a separate process, and print their tables.

    python -m benchmarks [NAME] [OPTIONS OF THAT BENCHMARK]

Without a name, runs all that measure speed or memory with their defaults: about ten minutes, mostly for SAM CLI.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
MAIN = 'if __name__ == "__main__":'
# In this order. By name only: container_init, which needs an engine and a base, and those that measure no speed.
ALL = ("against_sam", "unchanged", "memory", "watch", "release", "throughput", "init_time", "verification")


def main() -> int:
    chosen, options = (sys.argv[1:2], sys.argv[2:]) if len(sys.argv) > 1 else (ALL, [])
    missed = []
    for name in chosen:
        if name not in benchmarks():
            sys.exit(f"error: there is no benchmark {name}. There are: {', '.join(benchmarks())}")
        print(f"\n== {name}", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options], cwd=FOLDER.parent, check=False
        ).returncode:
            missed.append(name)
    if missed:
        print(f"\nnot every goal is met: {', '.join(missed)}")
    return 0


def benchmarks() -> list[str]:
    """The modules of this folder that run by themselves."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__main__" and MAIN in path.read_text())


if __name__ == "__main__":
    sys.exit(main())
