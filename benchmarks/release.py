"""Time of an unchanged `up`, a plan, a rollback, and a new environment compared with its slower branch.

    python -m benchmarks.release [--rounds 5]

A new environment is compared with the slower of two processes that run one branch each: ``infra``, which creates both
stacks on placeholders, and ``build`` with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Limit, Project, Row, Run, embedded_aws, in_turns, machine, print_table, run

IMPORTS = [sys.executable, "-c", "import boto3, troposphere"]


def rows_of(name: str, imports: list[Run], ours: list[Run], goal: float | None) -> tuple[Row, Row]:
    """Wall time, which counts, and processor time, which is steadier on a busy machine."""
    return (
        Row(name, [each.seconds for each in imports], [each.seconds for each in ours], goal, ours_over_theirs=True),
        Row(f"{name}: processor", [each.cpu for each in imports], [each.cpu for each in ours], ours_over_theirs=True),
    )


def steps_of(events: str) -> list[str]:
    """The steps that a command with --events finished."""
    parsed = [json.loads(line) for line in events.splitlines()]
    return [event["step"] for event in parsed if event.get("event") == "StepFinished"]


class NewEnvironments:
    """One new environment after the other; each is taken down once it was measured."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder, self._number = project, folder, 0

    def measured(self, *arguments: str, empty_cache: bool) -> Callable[[], Run]:
        def action() -> Run:
            self._number += 1
            name = f"new{self._number}"
            cache = self._folder / f"cache-{name}" if empty_cache else None
            done = self._project.bootstrap(*arguments, environment=name, cache=cache)
            if arguments[0] != "build":
                self._project.bootstrap("down", environment=name)
            if cache is not None:
                shutil.rmtree(cache)
            return done

        return action


def rollbacks(project: Project, rounds: int) -> list[Run]:
    """Back and forth between two releases that differ in one line."""
    handler = project.folder / "images" / "fraud-detection" / "handler.py"
    with handler.open("a") as file:
        file.write("# one more line\n")
    project.bootstrap("up", "--no-smoke")
    return [project.bootstrap("rollback", "--json", "--events") for _ in range(rounds)]


def main() -> int:
    parser = argparse.ArgumentParser(description="What a release costs.")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side (5)")
    rounds = parser.parse_args().rounds

    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        project = Project(folder / "project", folder / "local")
        project.commit()
        project.warm_up()
        with embedded_aws(folder / "local"):
            project.bootstrap("up", "--no-smoke")
            run(IMPORTS)
            found = in_turns(
                rounds,
                {
                    "imports": lambda: run(IMPORTS),
                    "up": lambda: project.bootstrap("up"),
                    "plan": lambda: project.bootstrap("plan"),
                },
            )
            new = NewEnvironments(project, folder)
            branches = in_turns(
                rounds,
                {
                    "infra": new.measured("infra", empty_cache=False),
                    "build": new.measured("build", empty_cache=True),
                    "up": new.measured("up", "--no-smoke", empty_cache=True),
                },
            )
            back = rollbacks(project, rounds)
    slower = [max(a.seconds, b.seconds) for a, b in zip(branches["infra"], branches["build"], strict=True)]
    steps = [steps_of(each.output) for each in back]
    met = print_table(
        "a release",
        ("compared with", "ours"),
        [
            *rows_of("up without changes, importing boto3 and troposphere", found["imports"], found["up"], 2.5),
            *rows_of("plan without changes, the same", found["imports"], found["plan"], 3),
            *rows_of("rollback, the same", found["imports"], back, None),
            Limit("rollback: stack updates", [each.count("switch") for each in steps], 1, "updates"),
            Limit("rollback: builds, pushes", [sum(map(each.count, ("build", "push"))) for each in steps], 0, "steps"),
            Row("up on a new environment, its slower branch", slower, [each.seconds for each in branches["up"]],
                1.3, ours_over_theirs=True),
        ],
    )  # fmt: skip
    print(machine())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
