"""A whole environment on an embedded AWS of its own, brought up by the commands, with every call written down.

The commands run in this process with the project's own images; what they send goes through a proxy that notes it, and
every request's parameters are noted before they are sent.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import development, doctor, history, promoting, proving, rehearsing, releasing, running
from commands.console import subject_of
from commands.context import Console as Lines
from commands.context import Context, Outcome
from pipeline.console.application import Console
from pipeline.core.errors import SubmissionError
from pipeline.local.emulator.admission import TOKEN_HEADER
from pipeline.local.host.control import LocalAws, local_session
from pipeline.target import Target
from tests.functional.conftest import EmbeddedAws
from tests.proxies.faults import FaultProxy

ROOT = Path(__file__).resolve().parents[2]
# What a run must never write into a log: each value is in a transaction that is submitted, and nowhere else.
PERSONAL = {
    "customer_id": "customer-tell-nobody-77",
    "customer_name": "Wilhelmine Tellnobody",
    "beneficiary_name": "Bartholomew Tellnobody",
    "amount": "7341.57",
    "merchant_id": "merchant-tell-nobody-42",
}
PROMOTED = {"source": "dev", "number": None, "from_region": None, "smoke": True, "skip_doctor": False, "yes": True}
CARD_NUMBER = "4929420573595709"


@dataclass(frozen=True)
class Request:
    """A request as it was given to botocore. service: as boto3 calls it; step: see ``Deployed.run``."""

    command: str
    step: str
    service: str
    operation: str
    parameters: Mapping[str, Any]


@dataclass
class Deployed:
    local: LocalAws
    root: Path
    proxy: FaultProxy
    requests: list[Request] = field(default_factory=list)
    registry_calls: dict[str, set[str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    registry_steps: dict[str, list[str]] = field(default_factory=dict)
    command: str = ""
    step: str = ""
    target: Target | None = None

    @property
    def aws(self) -> EmbeddedAws:
        return EmbeddedAws.of(self.local)

    def run(self, name: str, called: Any, /, *, step: str = "", environment: str = "dev", **arguments: Any) -> Outcome:
        """A command of ours. step: what its outcome is kept under, when it runs more than once."""
        context = _Recorded(
            environment,
            project=self.root,
            report=lambda event: self.said.append(repr(event)),
            console=Lines(write=self.said.append, tell=self.said.append),
            deployed=self,
        )
        self.command, self.step = name, step or name
        self.proxy.clear()
        outcome: Outcome = called(context, **arguments)
        calls = [call.partition("?")[0] for call in self.proxy.calls if " " in call]
        self.registry_calls.setdefault(name, set()).update(calls)
        self.registry_steps[self.step] = [call for call in calls if call.split(" ")[1].startswith("/v2/")]
        if name != "invoke":  # its result is the function's
            self.said.append(outcome.text)
        self.outcomes[step or name] = outcome
        return outcome

    def submit(self, transaction: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.run("submit", running.submit, transaction=json.dumps(transaction)).result

    def sent_by(self, command: str) -> set[tuple[str, str]]:
        return {(each.service, each.operation) for each in self.requests if each.command == command}

    def note(self, target: Target) -> Target:
        """The same target through the proxy, which records its requests."""
        if self.target is None:
            target._session.register("before-parameter-build", self._note_request)
            self.target = Target(target.name, target.region, target._session, self.proxy.endpoint)
        return self.target

    def _note_request(self, params: Any, model: Any, **_more: Any) -> None:
        self.requests.append(
            Request(self.command, self.step, model.service_model.service_name, model.name, dict(params))
        )

    def hasten(self) -> None:
        """Let the state machines wait a hundredth of what they would."""
        request = urllib.request.Request(
            f"{self.local.endpoint}/_ministack/config",
            json.dumps({"stepfunctions._SFN_WAIT_SCALE": "0.01"}).encode(),
            {"Content-Type": "application/json", TOKEN_HEADER: self.local.token},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert "_SFN_WAIT_SCALE" in answer.read().decode()


@dataclass
class _Recorded(Context):
    deployed: Deployed = field(kw_only=True)

    def started_target(self) -> Target:
        return self.deployed.note(super().started_target())

    def running_target(self) -> Target:
        return self.deployed.note(super().running_target())


@contextmanager
def deployed_environment(folder: Path) -> Iterator[Deployed]:
    """Every command once, as a user would run them; the environment "dev" exists until the end of the block."""
    root = folder / "project"
    shutil.copytree(ROOT / "images", root / "images")
    shutil.copy(ROOT / "environments.toml", root)
    variables = {
        "TRANSACTION_PIPELINE_LOCAL": str(folder / "local"),
        "TRANSACTION_PIPELINE_CACHE": str(folder / "cache"),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with local_session(folder / "local") as local, FaultProxy(local.endpoint) as proxy:
            deployed = Deployed(local, root, proxy)
            deployed.hasten()
            _use(deployed)
            yield deployed
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _use(deployed: Deployed) -> None:
    run = deployed.run
    run("up", releasing.up, step="up: first", smoke=True, sbom=True, yes=True)
    run("up", releasing.up, step="up: nothing changed", smoke=True, sbom=True, yes=True)
    handler = deployed.root / "images" / "fraud-detection" / "handler.py"
    handler.write_text(handler.read_text() + "\n# one line more\n")
    run("plan", history.plan)
    run("up", releasing.up, step="up: one line changed", smoke=False, sbom=True, yes=True)
    run("releases", history.releases)
    run("why-changed", proving.why_changed, before="1", after="2")
    run("rollback", history.rollback, to=None, images_only=False, yes=True)
    definition = deployed.root / "images" / "fraud-detection" / "function.toml"
    kept = definition.read_text()
    definition.write_text(kept.replace("timeout = 60", "timeout = 50"))
    run("up", releasing.up, step="up: template changed", smoke=False, sbom=True, yes=True)
    run("rollback", history.rollback, step="rollback: template", to=None, images_only=False, yes=True)
    definition.write_text(kept)
    run("prune", history.prune, keep=1, dry_run=False)
    run("status", running.status)
    run("doctor", doctor.doctor)
    run("doctor", doctor.doctor, step="doctor: nothing there", environment="nowhere")
    run("plan", history.plan, step="plan: nothing there", environment="nowhere")
    run("infra", releasing.infra, step="infra: images kept", yes=True)
    run("infra", releasing.infra, environment="other", yes=True)
    run("promote", promoting.promote, step="promote: plan", environment="other", plan=True, **PROMOTED)
    run("down", releasing.down, environment="other", keep_data=False, yes=True)
    run("promote", promoting.promote, environment="other", plan=False, **PROMOTED)
    run("promote", promoting.promote, step="promote: again", environment="other", plan=False, **PROMOTED)
    run("down", releasing.down, step="down: promoted", environment="other", keep_data=False, yes=True)
    transaction = {"transaction_id": "told-1", "currency": "USD", **PERSONAL}
    deployed.submit(transaction)
    deployed.submit(transaction)
    deployed.submit({**transaction, "customer_name": "Somebody Else"})
    deployed.submit({**transaction, "transaction_id": "told-2", "pan": CARD_NUMBER})
    park(deployed, {**transaction, "transaction_id": "told-3"})
    recorded = deployed.root / "recorded.jsonl"
    recorded.write_text(json.dumps(transaction) + "\n")
    released = handler.read_text()
    handler.write_text(released + "\n# and another\n")
    run("rehearse", rehearsing.rehearse, recorded=recorded)
    handler.write_text(released)
    run("explain", running.explain, transaction_id="told-1", picture=None)
    run("logs", development.logs, function=None, transaction=None, since="1h", follow=False)
    document = {"transaction": transaction, "received_at": "2026-11-23T14:00:00.000Z", "execution": "e"}
    event = io.BytesIO(json.dumps(document).encode())
    run("invoke", development.invoke, function="transaction-validation", event=event, debug=False, port=None)
    run("console", read_console)
    run("console", examine_in_console, step="console: nothing there", environment="nowhere")
    run("redrive", running.redrive, dry_run=False, transaction_id=None, limit=None)


def read_console(context: Context) -> Outcome:
    """Everything that the pages of a console read, once."""
    console = Console(subject_of(context, allow_changes=False), Path())
    try:
        console.flow_values()
        console.story("told-1")
        console.of_customer(PERSONAL["customer_id"])
        console.parked()
        console.releases()
        console.stacks()
        console.subject.examine()
    finally:
        console.close()
    return Outcome({}, "")


def examine_in_console(context: Context) -> Outcome:
    subject_of(context, allow_changes=False).examine()
    return Outcome({}, "")


def park(deployed: Deployed, transaction: Mapping[str, Any]) -> None:
    """Submit a transaction while no function can be invoked."""
    [grant] = [each for each in grants(deployed) if each.action == "lambda:InvokeFunction" and each.resource == "*"]
    try:
        with without(deployed, grant):
            deployed.submit(transaction)
    except SubmissionError:
        return
    raise AssertionError("it was not parked")


@dataclass(frozen=True)
class Grant:
    """An action that a role's inline policy allows; resource "*": all resources of the statement."""

    role: str
    policy: str
    action: str
    resource: str = "*"

    def __str__(self) -> str:
        return f"{self.role}: {self.action}" + ("" if self.resource == "*" else f" on {self.resource}")


def roles(deployed: Deployed) -> dict[str, str]:
    """Logical id → name of every role of both stacks."""
    client = deployed.aws.client("cloudformation")
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for stack in ("transaction-registry-dev", "transaction-pipeline-dev")
        for each in client.list_stack_resources(StackName=stack)["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::IAM::Role"
    }


def grants(deployed: Deployed) -> list[Grant]:
    """Every action of every role, and where a statement has several resources, every action on each."""
    iam, found = deployed.aws.client("iam"), []
    for logical_id, name in roles(deployed).items():
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for statement in document["Statement"]:
                resources = many(statement["Resource"])
                for action in many(statement["Action"]):
                    found.append(Grant(logical_id, policy, action))
                    if len(resources) > 1:
                        found += [Grant(logical_id, policy, action, each) for each in resources]
    return found


@contextmanager
def without(deployed: Deployed, *taken: Grant) -> Iterator[None]:
    """Take grants away, and give them back at the end."""
    iam, names = deployed.aws.client("iam"), roles(deployed)
    before = {}
    for grant in taken:
        name = names[grant.role]
        document = iam.get_role_policy(RoleName=name, PolicyName=grant.policy)["PolicyDocument"]
        before.setdefault((name, grant.policy), document)
        less = {**document, "Statement": [each for one in document["Statement"] for each in _less(one, grant)]}
        assert less != document
        iam.put_role_policy(RoleName=name, PolicyName=grant.policy, PolicyDocument=json.dumps(less))
    try:
        yield
    finally:
        for (name, policy), document in before.items():
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


def _less(statement: Mapping[str, Any], grant: Grant) -> Iterator[Mapping[str, Any]]:
    actions = many(statement["Action"])
    if grant.action not in actions:
        yield statement
        return
    rest = [action for action in actions if action != grant.action]
    if rest:
        yield {**statement, "Action": rest}
    others = [each for each in many(statement["Resource"]) if each != grant.resource]
    if grant.resource != "*" and others:
        yield {**statement, "Action": [grant.action], "Resource": others}


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
