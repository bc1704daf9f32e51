"""Build and deploy, ours and SAM CLI's: the same functions, the same embedded AWS, in turns.

    python -m benchmarks.against_sam [--rounds 2] [--cache DIR]

Each round has an embedded AWS and projects of its own, and measures whole processes: `sam build` and `sam deploy`, with
the options that `sam init` writes into a project and with SAM's own defaults, against `bootstrap.py up`:

    first        nothing built and nothing there; wheels are on disk. Ours makes both stacks and answers a sample
                 transaction, SAM makes the functions and a role
    unchanged    the same again
    one line     a line of a handler is changed, until an invocation is answered by the new line
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    ENVIRONMENT,
    Failed,
    Limit,
    Project,
    Row,
    aws_client,
    bytes_sent,
    embedded_aws,
    machine,
    print_table,
)
from benchmarks.sam_project import AS_SAM_INIT, SamProject, install_sam
from pipeline.local.control import LocalAws

FUNCTION = "transaction-validation"
LAST_LINE = "handle = lambda_handler(judge)"
# Buckets also name the SAM projects.
CACHED, PLAIN = "sam-init", "sam-default"
TITLES = {CACHED: "against SAM CLI as sam init sets it up", PLAIN: "against SAM CLI with its defaults"}
TRANSACTION = {
    "transaction_id": "bench-1",
    "amount": 100,
    "currency": "USD",
    "merchant_id": "merchant-001",
    "customer_id": "customer-001",
}
EVENT = {"transaction": TRANSACTION, "received_at": "2026-11-23T14:00:00.000Z", "execution": "benchmark"}
STEPS = {"first": "first, wheels on disk", "unchanged": "nothing changed", "one line": "one line, until it runs"}
# How many times faster.
GOALS = {"first": 10.0, "unchanged": 20.0, "one line": 20.0}
PATIENCE = 120.0


def change_line(handler: Path, mark: str) -> None:
    """Rewrite the handler's last line, so that its answers carry ``mark``."""
    lines = handler.read_text().splitlines()
    if not lines[-1].startswith("handle = "):
        raise Failed(f"{handler} does not end with {LAST_LINE}")
    lines[-1] = f'handle = lambda event, context: {{**lambda_handler(judge)(event, context), "mark": "{mark}"}}'
    handler.write_text("\n".join(lines) + "\n")


def await_mark(client: Any, function: str, mark: str) -> None:
    """Return once an invocation is answered by the line with ``mark``."""
    until = time.monotonic() + PATIENCE
    answer: object = None
    while time.monotonic() < until:
        answer = json.load(client.invoke(FunctionName=function, Payload=json.dumps(EVENT))["Payload"])
        if isinstance(answer, dict) and answer.get("mark") == mark:
            return
        time.sleep(0.02)
    raise Failed(f"{function} still answers {answer}")


def stored_bytes(s3: Any, bucket: str) -> int:
    return sum(item["Size"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []))


@dataclass
class Side:
    """One of the tools: how it deploys, and what was measured, by what was done.

    deploy  gives seconds and seconds of processor
    sent    gives the bytes uploaded so far
    """

    deploy: Callable[[], tuple[float, float]]
    sent: Callable[[], int]
    handler: Path
    function: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    uploaded: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, until: Callable[[], None] = lambda: None) -> None:
        """Deploy, and wait ``until`` it returns too."""
        before, started = self.sent(), time.perf_counter()
        _, processor = self.deploy()
        until()
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        self.processor.setdefault(name, []).append(processor)
        self.uploaded.setdefault(name, []).append(self.sent() - before)


def our_side(folder: Path, local: Path) -> Side:
    project = Project(folder, local)
    project.commit()
    project.warm_up()
    sent: list[int] = []

    def deploy() -> tuple[float, float]:
        done = project.bootstrap("up", "--events")
        sent.append(bytes_sent(done.output))
        return done.seconds, done.cpu

    handler = project.folder / "images" / FUNCTION / "handler.py"
    return Side(deploy, lambda: sum(sent), handler, f"{FUNCTION}-{ENVIRONMENT}")


def sam_side(folder: Path, programs: Path, local: LocalAws, name: str) -> Side:
    sam = SamProject(folder, programs, AS_SAM_INIT if name == CACHED else ())
    s3 = aws_client(local, "s3")
    s3.create_bucket(Bucket=name)
    return Side(
        lambda: sam.build_and_deploy(local, bucket=name, stack=name),
        lambda: stored_bytes(s3, name),
        sam.folder / FUNCTION / "handler.py",
        f"{name}-{FUNCTION}",
    )


def measure_round(folder: Path, programs: Path, number: int) -> dict[str, Side]:
    """All comparisons in one embedded AWS; the tool that goes first changes from step to step."""
    with embedded_aws(folder / "local") as local:
        sides = {name: sam_side(folder / name, programs, local, name) for name in TITLES}
        sides["ours"] = our_side(folder / "ours", folder / "local")
        functions = aws_client(local, "lambda")
        names = list(sides)

        def turns(first: int) -> list[Side]:
            shift = (number + first) % len(names)
            return [sides[name] for name in names[shift:] + names[:shift]]

        for side in turns(0):
            side.measure("first")
        for side in turns(1) + turns(2):
            # Nobody's function starts for the first time while another's time is taken.
            functions.invoke(FunctionName=side.function, Payload=json.dumps(EVENT))
            side.measure("unchanged")
        for turn in (0, 1):
            for side in turns(turn):
                mark = f"{number}-{turn}"
                change_line(side.handler, mark)
                side.measure("one line", lambda side=side, mark=mark: await_mark(functions, side.function, mark))
    return sides


def main() -> int:
    parser = argparse.ArgumentParser(description="Build and deploy, ours and SAM CLI's, in turns.")
    parser.add_argument("--rounds", type=int, default=2, help="each gives one first deployment, two of the others (2)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where SAM CLI is installed (%(default)s)")
    arguments = parser.parse_args()

    programs = install_sam(arguments.cache)
    print(machine(), flush=True)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        for number in range(arguments.rounds):
            rounds.append(measure_round(Path(temporary) / str(number), programs, number))
            print(f"round {number + 1} of {arguments.rounds} done; {machine()}", flush=True)

    def all_rounds(name: str, what: str, step: str) -> list[float]:
        return [value for sides in rounds for value in getattr(sides[name], what)[step]]

    met = True
    for name, title in TITLES.items():
        rows: list[Row | Limit] = []
        for what, goals in (("seconds", GOALS), ("processor", dict.fromkeys(GOALS))):
            for step, goal in goals.items():
                label = STEPS[step] if what == "seconds" else f"{STEPS[step]}: processor"
                rows.append(Row(label, all_rounds(name, what, step), all_rounds("ours", what, step), goal))
        for step in ("first", "one line"):
            sent = all_rounds(name, "uploaded", step), all_rounds("ours", "uploaded", step)
            rows.append(Row(f"{STEPS[step]}: uploaded", *sent, unit="bytes"))
        met &= print_table(title, ("SAM CLI", "ours"), rows)
    limits = [
        Limit(STEPS["one line"], all_rounds("ours", "uploaded", "one line"), 20_000, "bytes"),
        Limit(STEPS["unchanged"], all_rounds("ours", "uploaded", "unchanged"), 0, "bytes"),
    ]
    return 0 if print_table("uploaded", ("", "ours"), limits) and met else 1


def default_cache() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "transaction-pipeline-benchmarks"


if __name__ == "__main__":
    sys.exit(main())
