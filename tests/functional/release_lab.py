"""``up`` in processes of their own that can be killed anywhere, on one embedded AWS; and what an environment is then.

The processes are forked from a server that has everything imported, so that each costs milliseconds. What runs in them
is the command line's ``up`` without its printing.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cfn.names import Names
from commands.context import Context
from commands.deploying import build_of, deployment_of
from commands.promoting import promote
from commands.rehearsing import rehearse
from commands.releasing import up
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import PipelineError
from pipeline.core.events import BytesMoved, Event, ResourceChanged, StepFinished, StepStarted, Submitted
from pipeline.ledger.releases import list_releases
from pipeline.ledger.stored_images import read_images
from pipeline.local.host.control import LocalAws
from pipeline.oci.blobs import BlobStore
from pipeline.release.deployment import Deployment
from pipeline.release.release import Released, release
from pipeline.release.teardown import take_down
from pipeline.release.verify import running_digest
from pipeline.target import Target, local_target
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "tests.functional.release_lab",
        "pipeline.release.release",
        "pipeline.release.planning",
        "pipeline.assembly.sbom",
        "botocore.session",
    ]
)


def moment(event: Event, environment: str) -> str:
    """An event as a moment of a run that can be named beforehand: "push begins", "within push", "push ends"."""
    match event:
        case StepStarted(step=step, subject=subject):
            return f"{_name(step, subject, environment)} begins"
        case StepFinished(step=step, subject=subject):
            return f"{_name(step, subject, environment)} ends"
        case Submitted(step=step):
            return f"within {step}"
        case BytesMoved(step=step):
            return f"within {step}"
        case ResourceChanged(stack=stack, resource_type=kind) if not kind.startswith("AWS::CloudFormation::"):
            return f"within {_name('stack', stack, environment)}"
    return ""


def _name(step: str, subject: str, environment: str) -> str:
    return f"{step} {subject.removesuffix(f'-{environment}')}" if step == "stack" else step


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    variables  how the embedded AWS is reached
    local      the folder with the locks; another one is another machine
    kill_at    the moment at which it kills itself
    slow       seconds that each build takes
    recorded   a file of transactions to rehearse, instead of ``up``
    source     an environment whose last release is promoted, instead of ``up``
    """

    environment: str
    root: str
    cache: str
    variables: dict[str, str]
    witness: str
    local: str = ""
    kill_at: str = ""
    slow: float = 0.0
    smoke: bool = True
    recorded: str = ""
    source: str = ""


def run_up(order: Order) -> None:
    """In the forked process: ``up``, ``rehearse`` or ``promote``; moments and outcome go to the file ``witness``."""
    os.setsid()  # whatever it starts is known by the session
    os.environ |= {
        "TRANSACTION_PIPELINE_CACHE": order.cache,
        **order.variables,
        "TRANSACTION_PIPELINE_LOCAL": order.local or str(Path(order.root) / "local"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with Path(order.witness).open("a") as file:

        def write(kind: str, value: Any) -> None:
            file.write(json.dumps([kind, value]) + "\n")
            file.flush()

        def report(event: Event) -> None:
            at = moment(event, order.environment)
            if at:
                write("moment", at)
            if at and at == order.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if order.slow and isinstance(event, StepStarted) and event.step == "build":
                time.sleep(order.slow)

        context = Context(order.environment, report=report, project=Path(order.root))
        try:
            if order.recorded:
                outcome = rehearse(context, recorded=Path(order.recorded))
            elif order.source:
                outcome = promote(
                    context, source=order.source, number=None, from_region=None, plan=False, smoke=order.smoke,
                    skip_doctor=False, yes=False,
                )  # fmt: skip
            else:
                outcome = up(context, smoke=order.smoke, sbom=True, yes=False)
        except PipelineError as error:
            write("error", [error.what, error.why, str(error.next_step)])
            sys.exit(1)
        except KeyboardInterrupt:
            write("interrupted", True)
            os._exit(130)
        write("result", outcome.result)


@dataclass
class Run:
    """A process that carries out an order."""

    order: Order
    process: BaseProcess

    def kill(self) -> None:
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGINT)

    def wait(self, timeout: float = 60) -> int:
        """Its exit code, negative for a signal."""
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            self.kill()
            raise AssertionError(f"up did not end within {timeout} s: {self.told()}")
        return code

    def told(self) -> list[Any]:
        path = Path(self.order.witness)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def moments(self) -> list[str]:
        return [value for kind, value in self.told() if kind == "moment"]

    def until(self, moment: str, times: int = 1, timeout: float = 60) -> None:
        """Wait until it has come to a moment, or is over."""
        end = time.monotonic() + timeout
        while self.moments.count(moment) < times and self.process.is_alive():
            assert time.monotonic() < end, self.told()
            time.sleep(0.01)

    @property
    def result(self) -> Any:
        return next(value for kind, value in self.told() if kind in ("result", "error"))

    def left_behind(self) -> list[str]:
        """Command lines of processes that are still there after some seconds: one may have been at its start or end."""
        until = time.monotonic() + 5
        while (left := self._descendants()) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def _descendants(self) -> list[str]:
        left = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] not in "ZX":
                    left.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return left


@dataclass
class Lab:
    """Environments on one embedded AWS, all made from one folder of functions."""

    aws: EmbeddedAws
    root: Path
    cache: Path
    runs: list[Run] = field(default_factory=list)

    def begin(self, environment: str, *, endpoint: str = "", **more: Any) -> Run:
        witness = self.cache.parent / f"witness-{uuid.uuid4().hex}"
        variables = self.aws.variables | ({"TRANSACTION_PIPELINE_ENDPOINT": endpoint} if endpoint else {})
        order = Order(environment, str(self.root), str(self.cache), variables, str(witness), **more)
        process = _PROCESSES.Process(target=run_up, args=(order,), daemon=True)
        process.start()
        run = Run(order, process)
        self.runs.append(run)
        return run

    def up(self, environment: str, **more: Any) -> Run:
        """A run that is expected to end well."""
        run = self.begin(environment, **more)
        assert run.wait() == 0, run.told()
        return run

    def edit(self, text: str, function: str = "fraud-detection") -> Callable[[], None]:
        """Change one function; gives what takes the change back."""
        handler = self.root / "images" / function / "handler.py"
        before = handler.read_text()
        handler.write_text(before + text)

        def undo() -> None:
            handler.write_text(before)

        return undo

    @contextmanager
    def changed(self, text: str, function: str = "fraud-detection") -> Iterator[None]:
        """A changed function inside the block."""
        undo = self.edit(text, function)
        try:
            yield
        finally:
            undo()

    @contextmanager
    def environment(self) -> Iterator[str]:
        """The name of an environment that is taken down after the block."""
        name = f"e{uuid.uuid4().hex[:8]}"
        yield name
        take_down(self.target(), Names(name))

    def target(self, endpoint: str = "") -> Target:
        """The embedded AWS as a release sees it."""
        aws = self.aws
        endpoint = endpoint or aws.endpoint
        return local_target(
            LocalAws(endpoint, endpoint, aws.region, aws.access_key_id, aws.secret_access_key, 0, aws.folder), None
        )

    def deployment(self, environment: str, endpoint: str = "") -> Deployment:
        """What a release in this process is made from."""
        context = Context(environment, project=self.root)
        build = dataclasses.replace(build_of(context), store=BlobStore(self.cache))
        return deployment_of(context, self.target(endpoint), build)

    def release(self, environment: str, endpoint: str = "", *, smoke: bool = True) -> tuple[Released, list[Event]]:
        """A release in this process, and what it told."""
        events: list[Event] = []
        return release(self.deployment(environment, endpoint), events.append, by="a test", smoke=smoke), events

    def snapshot(self, environment: str) -> dict[str, Any]:
        """Everything that a release leaves behind, without what is different each time (numbers, times, ids)."""
        client = self.aws.client
        cfn, lambda_client, ecr = client("cloudformation"), client("lambda"), client("ecr")
        found: dict[str, Any] = {}
        for stack in ("registry", "pipeline"):
            name = f"transaction-{stack}-{environment}"
            described = cfn.describe_stacks(StackName=name)["Stacks"][0]
            resources = cfn.describe_stack_resources(StackName=name)["StackResources"]
            found[stack] = {
                "at rest": re.fullmatch(r"(CREATE|UPDATE|IMPORT)_COMPLETE", described["StackStatus"]) is not None,
                "parameters": {
                    each["ParameterKey"]: each.get("ParameterValue") for each in described.get("Parameters", [])
                },
                "outputs": {each["OutputKey"]: _stable(each["OutputValue"]) for each in described.get("Outputs", [])},
                "template": cfn.get_template(StackName=name)["TemplateBody"],
                "resources": sorted(each["LogicalResourceId"] for each in resources),
                "change sets": [
                    each["ChangeSetName"]
                    for each in cfn.list_change_sets(StackName=name)["Summaries"]
                    if each["ExecutionStatus"] != "EXECUTE_COMPLETE"
                ],
            }
        names = [source.name for source in find_sources(self.root / "images")]
        found["running"] = {
            name: [str(running_digest(lambda_client, f"{name}-{environment}", alias)) for alias in (None, "live")]
            for name in names
        }
        found["old versions"] = {
            name: len(lambda_client.list_versions_by_function(FunctionName=f"{name}-{environment}")["Versions"]) > 3
            for name in names
        }
        last = list_releases(client("ssm"), environment)[-1]
        found["release"] = {name: str(digest) for name, digest in last.images.items()}
        found["images"] = {
            name: sorted(
                (str(image.digest), sorted({tag.partition("-")[0] for tag in image.tags}))
                for image in read_images(ecr, f"{name}-{environment}")
                if image.subject is None
            )
            for name in names
        }
        found["last release tagged"] = all(
            any(
                last.tag in image.tags
                for image in read_images(ecr, f"{name}-{environment}")
                if image.digest == last.images[name]
            )
            for name in names
        )
        text = json.dumps(found).replace(environment, "ENVIRONMENT")
        # A function's version is described by a hash of its settings, the environment's name among them.
        return json.loads(re.sub(r'"[0-9a-f]{12}"', '"HASH"', text))  # type: ignore[no-any-return]

    def close(self) -> None:
        for run in self.runs:
            if run.process.is_alive():
                run.kill()
            run.process.join(10)


@contextmanager
def make_lab(aws: EmbeddedAws, folder: Path) -> Iterator[Lab]:
    """A lab in a folder; every process that it started is gone after the block."""
    shutil.copytree(ROOT / "images", folder / "images", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "environments.toml", folder)
    lab = Lab(aws, folder, folder / "cache")
    try:
        yield lab
    finally:
        lab.close()


def _stable(text: str) -> str:
    """An output without the ids that AWS draws."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(vpc|subnet|sg)-[0-9a-f]+|:\d+$", "ID", text)


def different(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two snapshots differ, one line for each place."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted({*found, *expected})
        return [line for key in keys for line in different(found.get(key), expected.get(key), f"{path}/{key}")]
    return [] if found == expected else [f"{path}: {found!r} instead of {expected!r}"]
