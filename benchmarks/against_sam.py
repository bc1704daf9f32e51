"""Compare build and deployment with SAM CLI: the same functions on the same embedded AWS, alternately.

    python -m benchmarks.against_sam [--rounds 2] [--cache DIR] [--base IMAGE]

Each round has a new embedded AWS and new projects, and measures whole processes: `sam build` and `sam deploy` against
`bootstrap.py up`. SAM runs in three ways: zip packages with the options of `sam init`, zip packages with SAM's
defaults, and container images, which needs an engine with a base IMAGE.

    first        nothing is built or deployed; wheels are on disk. `up` creates both stacks and submits a sample
                 transaction, SAM creates the functions and a role
    unchanged    the same again
    one line     a line of a handler is changed, until an invocation runs it
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    ENVIRONMENT,
    ROOT,
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
from benchmarks.sam_project import AS_SAM_INIT, SamImageProject, SamProject, install_sam, registry_login
from benchmarks.separate import default_cache
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import CheckedImage, Platform, PythonVersion
from pipeline.assembly.output import write_layout
from pipeline.assembly.sources import find_sources
from pipeline.engine.build_context import lay_out_context
from pipeline.engine.connection import connect_engine
from pipeline.engine.export import read_image
from pipeline.local.host.control import LocalAws
from pipeline.oci.blobs import BlobStore
from pipeline.target import host_architecture

FUNCTION = "transaction-validation"
LAST_LINE = "handle = lambda_handler(judge)"
# SAM's ways; buckets and stacks are called the same.
CACHED, PLAIN, IMAGES = "sam-init", "sam-default", "sam-images"
TITLES = {
    CACHED: "zip packages as sam init sets it up",
    PLAIN: "zip packages with SAM's defaults",
    IMAGES: "container images, both on one base",
}
OURS = "ours"
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

    deploy    gives seconds and seconds of processor
    sent      gives the bytes uploaded so far, or None where that is not known
    function  the name of the deployed function; None for one that is not invoked
    """

    deploy: Callable[[], tuple[float, float]]
    sent: Callable[[], int] | None
    handler: Path
    function: str | None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    uploaded: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, until: Callable[[], None] = lambda: None) -> None:
        """Deploy, and wait ``until`` it returns too."""
        before, started = self.sent() if self.sent else 0, time.perf_counter()
        _, processor = self.deploy()
        until()
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        self.processor.setdefault(name, []).append(processor)
        if self.sent:
            self.uploaded.setdefault(name, []).append(self.sent() - before)


@dataclass(frozen=True, slots=True)
class Base:
    """A base image in the engine and as an OCI layout, with the layers of all functions."""

    image: str
    layout: Path
    contexts: Path
    python: PythonVersion


def prepare_base(image: str, folder: Path) -> Base:
    """Export ``image`` from the engine and build the functions' layers, once for all rounds."""
    engine = connect_engine("SAM CLI's images were not measured", "Leave out --base, or start an engine.")
    found = engine.inspect_image(image)
    command = [
        "docker",
        "run",
        "--rm",
        "--entrypoint",
        "python3",
        image,
        "-c",
        "import sys; print(*sys.version_info[:2])",
    ]
    major, minor = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    platform = Platform(host_architecture(), PythonVersion(int(major), int(minor)))
    store = BlobStore(folder / "store")
    work = folder / "work"
    work.mkdir(parents=True)
    write_layout(
        [CheckedImage("base", read_image(engine, found["Id"], store, work, platform, None))], folder / "layout", store
    )
    sources = find_sources(ROOT / "images", python=platform.python)
    for source in sources:
        lay_out_context(source, platform, store, folder / "contexts" / source.name, Slim.for_sources(sources))
    return Base(image, folder / "layout", folder / "contexts", platform.python)


def our_side(folder: Path, local: Path, base: Base | None = None) -> Side:
    project = Project(folder, local)
    stands_on: tuple[str, ...] = ()
    if base is not None:
        (folder / "environments.toml").write_text(f'[defaults]\npython = "{base.python}"\n')
        stands_on = ("--base", f"oci:{base.layout}")
    project.commit()
    project.warm_up(*stands_on)
    sent: list[int] = []

    def deploy() -> tuple[float, float]:
        done = project.bootstrap("up", "--events", *stands_on)
        sent.append(bytes_sent(done.output))
        return done.seconds, done.cpu

    handler = project.folder / "images" / FUNCTION / "handler.py"
    # By the alias that the workflow calls; another version would start other workers.
    return Side(deploy, lambda: sum(sent), handler, f"{FUNCTION}-{ENVIRONMENT}:live")


def zip_side(folder: Path, programs: Path, local: LocalAws, name: str) -> Side:
    sam = SamProject(folder, programs, AS_SAM_INIT if name == CACHED else ())
    s3 = aws_client(local, "s3")
    s3.create_bucket(Bucket=name)
    return Side(
        lambda: sam.build_and_deploy(local, name, ("--s3-bucket", name)),
        lambda: stored_bytes(s3, name),
        sam.handler(FUNCTION),
        f"{name}-{FUNCTION}",
    )


def image_side(folder: Path, programs: Path, local: LocalAws, base: Base, login: str) -> Side:
    """SAM names images by tag, which Lambda resolves and the embedded runtime does not: deployed, not invoked."""
    sam = SamImageProject(folder, programs, AS_SAM_INIT, base.image, base.contexts)
    repositories = sam.repositories(aws_client(local, "ecr"), local)
    return Side(lambda: sam.build_and_deploy(local, IMAGES, repositories, login), None, sam.handler(FUNCTION), None)


def measure_zips(folder: Path, programs: Path, number: int) -> dict[str, Side]:
    """SAM's zip packages and ours, in one embedded AWS."""
    with embedded_aws(folder / "local") as local:
        sides = {name: zip_side(folder / name, programs, local, name) for name in (CACHED, PLAIN)}
        sides[OURS] = our_side(folder / OURS, folder / "local")
        measure_steps(sides, local, number)
    return sides


def measure_images(folder: Path, programs: Path, number: int, base: Base) -> dict[str, Side]:
    """SAM's images and ours, on one base, in one embedded AWS whose functions run in containers."""
    with embedded_aws(folder / "local", runtime="docker") as local, registry_login(local) as login:
        sides = {
            IMAGES: image_side(folder / IMAGES, programs, local, base, login),
            OURS: our_side(folder / OURS, folder / "local", base),
        }
        measure_steps(sides, local, number)
    return sides


def measure_steps(sides: dict[str, Side], local: LocalAws, number: int) -> None:
    """Every step of every side; the tool that goes first changes from step to step."""
    functions = aws_client(local, "lambda")
    names = list(sides)

    def turns(first: int) -> list[Side]:
        shift = (number + first) % len(names)
        return [sides[name] for name in names[shift:] + names[:shift]]

    def until_it_runs(side: Side, mark: str) -> Callable[[], None]:
        return lambda: await_mark(functions, side.function, mark) if side.function else None

    for side in turns(0):
        side.measure("first")
    for side in turns(1) + turns(2):
        # No function starts for the first time during a measurement.
        if side.function:
            functions.invoke(FunctionName=side.function, Payload=json.dumps(EVENT))
        side.measure("unchanged")
    for turn in (0, 1):
        for side in turns(turn):
            mark = f"{number}-{turn}"
            change_line(side.handler, mark)
            side.measure("one line", until_it_runs(side, mark))


def print_results(rounds: list[dict[str, Side]]) -> bool:
    """A table for each of SAM's ways; whether every goal is met."""

    def all_rounds(name: str, what: str, step: str) -> list[float]:
        return [value for sides in rounds for value in getattr(sides[name], what).get(step, ())]

    met = True
    for name in (name for name in rounds[0] if name != OURS):
        rows: list[Row | Limit] = []
        for what, goals in (("seconds", GOALS), ("processor", dict.fromkeys(GOALS))):
            for step, goal in goals.items():
                label = STEPS[step] if what == "seconds" else f"{STEPS[step]}: processor"
                rows.append(Row(label, all_rounds(name, what, step), all_rounds(OURS, what, step), goal))
        for step in ("first", "one line"):
            theirs, ours = all_rounds(name, "uploaded", step), all_rounds(OURS, "uploaded", step)
            if theirs:
                rows.append(Row(f"{STEPS[step]}: uploaded", theirs, ours, unit="bytes"))
        met &= print_table(f"SAM CLI, {TITLES[name]}", ("SAM CLI", "ours"), rows)
    limits = [
        Limit(STEPS["one line"], all_rounds(OURS, "uploaded", "one line"), 20_000, "bytes"),
        Limit(STEPS["unchanged"], all_rounds(OURS, "uploaded", "unchanged"), 0, "bytes"),
    ]
    return print_table("uploaded", ("", "ours"), limits) and met


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare build and deployment with SAM CLI.")
    parser.add_argument("--rounds", type=int, default=2, help="each gives one first deployment, two of the others (2)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where SAM CLI is installed (%(default)s)")
    parser.add_argument("--base", help="an image of the engine: measure SAM CLI's container images on it too")
    arguments = parser.parse_args()

    programs = install_sam(arguments.cache)
    print(machine(), flush=True)
    met = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        ways: list[Callable[[Path, int], dict[str, Side]]] = [
            lambda place, number: measure_zips(place / "zips", programs, number)
        ]
        if arguments.base:
            base = prepare_base(arguments.base, folder / "base")
            ways.append(lambda place, number: measure_images(place / "images", programs, number, base))
        for way in ways:
            rounds = []
            for number in range(arguments.rounds):
                rounds.append(way(folder / str(number), number))
                print(f"round {number + 1} of {arguments.rounds} done; {machine()}", flush=True)
            met.append(print_results(rounds))
    if not arguments.base:
        print("\nSAM CLI's container images were not measured: that needs an engine, and --base with an image of it.")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
