"""The whole road on a real account, the beliefs that only an account can prove, and a report for an issue.

    make aws-smoke ACCOUNT=123456789012 REGION=eu-central-1

It makes an environment of its own, goes the way from nothing to a rollback, and deletes everything again. It needs the
permissions of ``./bootstrap.py doctor --policy`` and a pinned base image (``./bootstrap.py build --target aws
--update-base``). No test calls AWS with it; one goes the same way on the embedded AWS.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import Names
from pipeline.core.errors import PipelineError
from pipeline.local.host.control import start_local, stop_local
from pipeline.target import Target, aws_target, local_target
from tests.aws.beliefs import BELIEFS, Account, Refuted
from tests.functional.command_line import ROOT, copy_project

# Hours that the environment lives at most; what it costs is by the hour.
HOURS = 2
STEP_SECONDS = 3600
# Where the embedded AWS of a rehearsal is, for the commands, too.
LOCAL = Path(os.environ.get("TRANSACTION_PIPELINE_LOCAL", ROOT / ".local"))
USAGE = """It makes one environment and deletes it again, which takes 30 to 60 minutes and costs about {usd:.2f} USD in
us-east-1 (endpoints and alarms for {hours} hours; the rest is cents). What it cannot delete, and says so, costs money
until you do.

    make aws-smoke ACCOUNT=<the 12 digits of the account> [REGION=...]"""


def cost() -> float:
    """USD of an environment for HOURS, by the project's own price list."""
    done = subprocess.run(
        [sys.executable, "bootstrap.py", "cost", "--target", "aws", "--region", "us-east-1", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    fixed = sum(float(each["usd"]) for each in json.loads(done.stdout)["fixed"])
    # Alarms and the like are charged for the part of the month, too.
    return fixed / 730 * HOURS + 0.05


@dataclass(frozen=True)
class Step:
    """A command of the road. code: its expected exit status; holds: what its JSON must show."""

    arguments: tuple[str, ...]
    shows: str
    holds: Callable[[Any], bool] = lambda _: True
    code: int = 0
    changed: bool = False  # runs the copy of the project whose function was changed


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in dict.fromkeys(names)) or "nothing"


@dataclass
class Report:
    steps: list[tuple[str, float, str]] = field(default_factory=list)
    beliefs: list[tuple[str, str, str]] = field(default_factory=list)
    # What `down` left behind, and what could not be deleted after it.
    left: list[str] = field(default_factory=list)
    stay: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        results = [result for _, _, result in self.steps] + [result for _, result, _ in self.beliefs]
        return bool(self.left) or any(not result.startswith(("ok", "held", "not asked")) for result in results)

    def text(self, place: str, account: str) -> str:
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        lines = [
            "# Smoke test on an account",
            "",
            f"Program {commit.stdout.strip() or 'unknown'}, {place}, "
            f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}: {'FAILED' if self.failed else 'passed'}.",
            "",
            "| step | seconds | result |",
            "|---|---|---|",
            *(f"| `{name}` | {seconds:.0f} | {result} |" for name, seconds, result in self.steps),
            "",
            "| belief | result | evidence |",
            "|---|---|---|",
            *(f"| {rule} | {result} | {evidence} |" for rule, result, evidence in self.beliefs),
            "",
            f"Left behind by `down`: {_listed(self.left)}. Still there: {_listed(self.stay)}.",
            "",
        ]
        return re.sub(rf"\b{account}\b", "<account>", "\n".join(lines))


SAMPLE = {"amount": "12.50", "currency": "EUR", "merchant_id": "smoke", "customer_id": "smoke"}


def transaction(name: str) -> str:
    return json.dumps(SAMPLE | {"transaction_id": f"smoke-{name}"})


ROAD: Sequence[Step] = (
    Step(("infra",), "both stacks on placeholders"),
    Step(("submit", transaction("parked")), "a transaction that meets a placeholder is parked",
         lambda found: "PlaceholderImage" in found["why"], code=1),
    Step(("up",), "the built images run", lambda found: found["changed"] is True),
    Step(("redrive",), "what was parked is answered"),
    Step(("submit", transaction("one")), "APPROVED", lambda found: found["outcome"] == "APPROVED"),
    Step(("submit", transaction("one")), "a repeat", lambda found: found["repeat"] is True),
    Step(("submit", "{}"), "REJECTED", lambda found: found["outcome"] == "REJECTED"),
    Step(("explain", "smoke-one"), "the story of a transaction"),
    Step(("status",), "nothing is a placeholder",
         lambda found: not any(each["placeholder"] for each in found["functions"])),
    Step(("up",), "nothing changed", lambda found: found["changed"] is False),
    Step(("up",), "one function changed", lambda found: found["changed"] is True, changed=True),
    Step(("rollback", "--yes"), "the release before"),
)  # fmt: skip
# After the beliefs were checked.
END: Sequence[Step] = (
    Step(("down", "--keep-data", "--yes"), "the stacks are gone, the data stays"),
    Step(("up",), "what was kept is adopted"),
    Step(("submit", transaction("one")), "the record was kept", lambda found: found["repeat"] is True),
)
LAST = Step(("down", "--yes"), "everything is deleted")


class Smoke:
    """One run. ``environment``: its name, of its own; ``progress`` gets a line for each step."""

    def __init__(self, target: str, region: str | None, environment: str, progress: Callable[[str], None]) -> None:
        self.name, self.region, self.environment, self.progress = target, region, environment, progress
        self.report = Report()

    @property
    def target(self) -> Target:
        if self.name == "aws":
            return aws_target(self.region)
        # It ends with its last environment, and begins with the next command.
        return local_target(start_local(LOCAL), self.region)

    def account_id(self) -> str:
        return str(self.target.client("sts").get_caller_identity()["Account"])

    def run(self, project: Path, changed: Path) -> None:
        """The road, the beliefs, the end; then everything is deleted, whatever happened before."""
        try:
            if self._steps(ROAD, project, changed):
                self._check_beliefs()
                self._steps(END, project, changed)
        finally:
            if not self._step(LAST, project):
                self._step(LAST, project)
            self._clear()
            if self.name == "local":
                stop_local(LOCAL)

    def _steps(self, steps: Sequence[Step], project: Path, changed: Path) -> bool:
        return all(self._step(step, changed if step.changed else project) for step in steps)

    def _step(self, step: Step, project: Path) -> bool:
        command = ["--environment", self.environment, "--target", self.name, "--json"]
        command += ["--region", self.region] if self.region else []
        words = " ".join(each for each in step.arguments if not each.startswith("{"))
        self.progress(f"{words}: {step.shows}")
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "bootstrap.py", step.arguments[0], *command, *step.arguments[1:]],
            cwd=project, capture_output=True, text=True, timeout=STEP_SECONDS,
        )  # fmt: skip
        result = f"ok: {step.shows}"
        try:
            shown = json.loads(done.stdout)
            if done.returncode != step.code:
                result = f"exit status {done.returncode}: {shown.get('what', '')}: {shown.get('why', '')}"
            elif not step.holds(shown):
                result = f"not so: {step.shows}"
        except ValueError:
            result = f"exit status {done.returncode}: {done.stderr.strip()[-300:]}"
        self.report.steps.append((words, time.monotonic() - started, result.replace("\n", " ").replace("|", "/")))
        return result.startswith("ok")

    def _check_beliefs(self) -> None:
        account = Account(self.target, Names(self.environment))
        for belief in BELIEFS:
            if account.target.is_local and not belief.emulated:
                self.report.beliefs.append((belief.rule, "not asked", "the embedded AWS cannot tell"))
                continue
            self.progress(belief.rule)
            try:
                self.report.beliefs.append((belief.rule, "held", belief.check(account)))
            except Refuted as refuted:
                self.report.beliefs.append((belief.rule, "REFUTED", str(refuted)))
            except (ClientError, BotoCoreError) as problem:
                self.report.beliefs.append((belief.rule, "not checked", str(problem).replace("\n", " ")))

    def _clear(self) -> None:
        """Deletes what the last command left behind, which costs money, and writes down what still stays."""
        target, suffix = self.target, f"-{self.environment}"
        # A second round for what another resource held.
        for _ in range(2):
            for kind, name in sorted(found := {each for each in _names(target) if each[1].endswith(suffix)}):
                self.progress(f"left behind, and deleted: {kind} {name}")
                try:
                    _delete(target, kind, name)
                except (ClientError, BotoCoreError) as problem:
                    self.progress(str(problem))
            self.report.left += [f"{kind} {name}" for kind, name in sorted(found)]
        self.report.stay += [f"{kind} {name}" for kind, name in sorted(_names(target)) if name.endswith(suffix)]


def _names(target: Target) -> Iterator[tuple[str, str]]:
    """(kind, name) of the account's resources of the kinds that an environment has."""

    def every(service: str, call: str, key: str) -> Iterator[Any]:
        for page in target.client(service).get_paginator(call).paginate():
            yield from page.get(key, ())

    for stack in every("cloudformation", "list_stacks", "StackSummaries"):
        if stack["StackStatus"] != "DELETE_COMPLETE":
            yield "stack", stack["StackName"]
    for repository in every("ecr", "describe_repositories", "repositories"):
        yield "repository", repository["repositoryName"]
    for function in every("lambda", "list_functions", "Functions"):
        yield "function", function["FunctionName"]
    for table in every("dynamodb", "list_tables", "TableNames"):
        yield "table", table
    for url in every("sqs", "list_queues", "QueueUrls"):
        yield "queue", url.rpartition("/")[2]
    for topic in every("sns", "list_topics", "Topics"):
        yield "topic", topic["TopicArn"].rpartition(":")[2]
    for machine in every("stepfunctions", "list_state_machines", "stateMachines"):
        yield "state machine", machine["name"]
    for group in every("logs", "describe_log_groups", "logGroups"):
        yield "log group", group["logGroupName"]


def _delete(target: Target, kind: str, name: str) -> None:
    region, client = target.region, target.client
    account = client("sts").get_caller_identity()["Account"]
    match kind:
        case "stack":
            client("cloudformation").delete_stack(StackName=name)
            client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name)
        case "repository":
            client("ecr").delete_repository(repositoryName=name, force=True)
        case "function":
            client("lambda").delete_function(FunctionName=name)
        case "table":
            client("dynamodb").update_table(TableName=name, DeletionProtectionEnabled=False)
            client("dynamodb").delete_table(TableName=name)
        case "queue":
            client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName=name)["QueueUrl"])
        case "topic":
            client("sns").delete_topic(TopicArn=f"arn:aws:sns:{region}:{account}:{name}")
        case "state machine":
            arn = f"arn:aws:states:{region}:{account}:stateMachine:{name}"
            client("stepfunctions").delete_state_machine(stateMachineArn=arn)
        case "log group":
            client("logs").delete_log_group(logGroupName=name)


def change(project: Path) -> Path:
    """A copy of the project in which one function has another digest."""
    handler = project / "images" / "fraud-detection" / "handler.py"
    handler.write_text(handler.read_text() + "\n# Changed by the smoke test.\n")
    return project


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make aws-smoke", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--account", default="", help="the 12 digits of the account that may be used")
    parser.add_argument("--region", default=None)
    parser.add_argument("--report", type=Path, default=Path("aws-smoke-report.md"))
    parser.add_argument("--target", choices=("aws", "local"), default="aws", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if not re.fullmatch(r"\d{12}", chosen.account):
        print("error: no account was named, so nothing was done.", file=sys.stderr)
        print(USAGE.format(usd=cost(), hours=HOURS), file=sys.stderr)
        return 2
    smoke = Smoke(
        chosen.target, chosen.region, f"smoke-{secrets.token_hex(3)}", lambda text: print(text, file=sys.stderr)
    )
    try:
        found, place = smoke.account_id(), f"{smoke.target.name} in {smoke.target.region}"
    except (PipelineError, ClientError, BotoCoreError) as problem:
        print(f"error: the account was not reached, so nothing was done: {problem}", file=sys.stderr)
        return 2
    if found != chosen.account:
        print(
            f"error: the credentials are those of {found}, not of {chosen.account}; nothing was done.", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory() as folder:
        smoke.run(copy_project(Path(folder) / "project"), change(copy_project(Path(folder) / "changed")))
    text = smoke.report.text(place, found)
    chosen.report.write_text(text)
    print(text)
    print(f"The report is in {chosen.report}; attach it to an issue.", file=sys.stderr)
    return 1 if smoke.report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
