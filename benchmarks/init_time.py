"""INIT time of each function and of an empty handler, on this interpreter.

    python benchmarks/init_time.py [--rounds 15] [--python PATH] [--check]

INIT is measured like Lambda's runtime does it: a new interpreter imports the runtime client (if installed), then the
handler from a folder laid out like ``/var/task``. Once with compiled modules next to the sources, and once without, as
in an image without byte code, where every start compiles because the file system is read-only.

The start of a container adds the same to every row, so ratios there are lower. The goals are 2 for validation and
compliance and 4 for fraud detection. --check exits 1 if a compiled one is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "images"
GOALS = {"transaction-validation": 2.0, "compliance-checking": 2.0, "fraud-detection": 4.0}
EMPTY = "def handle(event, context):\n    return event\n"
DEPENDENCIES = ("aws_lambda_powertools", "anyascii", "jellyfish", "jmespath", "typing_extensions")
PROGRAM = """
import sys
try:
    import awslambdaric.bootstrap
except ImportError:
    # Without the runtime client, what it imports of the standard library.
    import http.client, importlib, json, logging, traceback
sys.path[:0] = sys.argv[1:]
import handler
"""


def lay_out(function: str | None, python: str, folder: Path, *, compiled: bool) -> Path:
    """A folder as ``/var/task`` of the function's image, or of an empty handler's."""
    folder.mkdir(parents=True)
    if function is None:
        (folder / "handler.py").write_text(EMPTY)
    else:
        ignored = shutil.ignore_patterns("__pycache__")
        for name in DEPENDENCIES:
            found = Path(find_module(python, name))
            if found.name == "__init__.py":
                shutil.copytree(found.parent, folder / name, ignore=ignored)
            else:
                shutil.copy(found, folder)
        shutil.copytree(IMAGES / "transactions", folder / "transactions", ignore=ignored)
        shutil.copytree(IMAGES / function, folder, ignore=ignored, dirs_exist_ok=True)
    if compiled:
        options = ["--invalidation-mode", "unchecked-hash"]
        subprocess.run([python, "-m", "compileall", "-q", *options, str(folder)], check=True)
    return folder


def find_module(python: str, name: str) -> str:
    program = f"import importlib.util as u; print(u.find_spec({name!r}).origin)"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def init_seconds(python: str, folder: Path) -> float:
    variables = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "TABLE_NAME": "transaction-state-dev",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "POWERTOOLS_METRICS_NAMESPACE": "TransactionPipeline",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    started = time.perf_counter()
    subprocess.run([python, "-c", PROGRAM, str(folder)], env=variables, check=True)
    return time.perf_counter() - started


def measure(python: str, folders: dict[str, Path], rounds: int) -> dict[str, float]:
    """Median milliseconds per row. The rounds are interleaved, so that a busy moment hits all rows alike."""
    times: dict[str, list[float]] = {name: [] for name in folders}
    for round_number in range(rounds + 1):
        for name, folder in folders.items():
            seconds = init_seconds(python, folder)
            if round_number:  # the first round only fills the page cache
                times[name].append(seconds * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="INIT time of each function and of an empty handler.")
    parser.add_argument("--rounds", type=int, default=15, help="starts per function and column (15)")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the functions' dependencies")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    arguments = parser.parse_args()

    rows = {"empty handler": None, **{name: name for name in GOALS}}
    with tempfile.TemporaryDirectory(prefix="init-time-") as temporary:
        columns = {}
        for compiled in (True, False):
            folders = {
                name: lay_out(function, arguments.python, Path(temporary) / str(compiled) / name, compiled=compiled)
                for name, function in rows.items()
            }
            columns[compiled] = measure(arguments.python, folders, arguments.rounds)

    print(f"{'':24}{'compiled':>12}{'ratio':>8}{'uncompiled':>14}{'ratio':>8}{'goal':>8}")
    missed = []
    for name in rows:
        ratio = columns[True][name] / columns[True]["empty handler"]
        other = columns[False][name] / columns[False]["empty handler"]
        goal = GOALS.get(name)
        limit = f"{goal:.0f}x" if goal else ""
        print(
            f"{name:24}{columns[True][name]:9.1f} ms{ratio:7.1f}x{columns[False][name]:11.1f} ms{other:7.1f}x{limit:>8}"
        )
        if goal and ratio > goal:
            missed.append(name)
    if missed:
        print(f"\nover the goal: {', '.join(missed)}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
