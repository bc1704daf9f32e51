"""Time of `up` without changes, compared with Python's imports, and with many functions.

    python -m benchmarks.unchanged [--rounds 7] [--functions 50]

Compared with a process that only imports boto3 and troposphere, which any deployment in Python needs; then a project of
many functions with shared dependencies is compared with one of three.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Failed, Project, Row, Run, embedded_aws, in_turns, machine, print_table, run

COPIED = "transaction-validation"


def add_functions(project: Project, count: int) -> None:
    """Copies of one function, each a line different, until the project has ``count``."""
    images = project.folder / "images"
    present = len(list(images.glob("*/function.toml")))
    for number in range(count - present):
        copy = images / f"copy-{number + 1:02d}"
        shutil.copytree(images / COPIED, copy)
        with (copy / "handler.py").open("a") as handler:
            handler.write(f"NUMBER = {number}\n")


def deployed_or_built(project: Project) -> tuple[str, ...]:
    """The arguments that compare projects: ``up``, or ``build`` where the many functions cannot be deployed."""
    try:
        project.bootstrap("up", "--no-smoke")
    except Failed as refused:
        reasons = str(refused).partition("\n")[2].strip().splitlines()
        print(f"many functions could not be deployed, so only their build is measured: {' '.join(reasons)}")
        project.bootstrap("build")
        return ("build",)
    return ("up", "--no-smoke")


def rows_of(name: str, theirs: list[Run], ours: list[Run], goal: float) -> tuple[Row, Row]:
    """By the clock, which counts, and by the processor, which is steadier on a busy machine."""
    return (
        Row(name, [each.seconds for each in theirs], [each.seconds for each in ours], goal, ours_over_theirs=True),
        Row(f"{name}: processor", [each.cpu for each in theirs], [each.cpu for each in ours], ours_over_theirs=True),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="What `up` costs when nothing has changed.")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each side (7)")
    parser.add_argument("--functions", type=int, default=50, help="of the project that is compared with three (50)")
    arguments = parser.parse_args()

    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        few, many = Project(folder / "few", folder / "local-few"), Project(folder / "many", folder / "local-many")
        add_functions(many, arguments.functions)
        for project in (few, many):
            project.commit()
            project.warm_up()
        with embedded_aws(folder / "local-few"), embedded_aws(folder / "local-many"):
            few.bootstrap("up", "--no-smoke")
            command = deployed_or_built(many)
            few.bootstrap(*command)
            imports = [sys.executable, "-c", "import boto3, troposphere"]
            run(imports)
            alone = in_turns(
                arguments.rounds,
                {"imports": lambda: run(imports), "up": lambda: few.bootstrap("up")},
            )
            scaled = in_turns(
                arguments.rounds,
                {"few": lambda: few.bootstrap(*command), "many": lambda: many.bootstrap(*command)},
            )
    many_name = f"{command[0]}, {arguments.functions} functions compared with 3"
    rows = [
        *rows_of("up, importing boto3 and troposphere", alone["imports"], alone["up"], 6),
        *rows_of(many_name, scaled["few"], scaled["many"], 2),
    ]
    met = print_table("nothing changed", ("compared with", "ours"), rows)
    print(machine())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
