"""The candidates as functions: a stack of their own, made for one rehearsal and deleted after it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from cfn.names import LIVE_ALIAS, Names, pascal_case
from cfn.rehearsal import ROLE_OUTPUT, Candidate, rehearsal_template
from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.events import Report, ignore, step
from pipeline.operations.invoke import read_payload, read_report
from pipeline.rehearsal.replay import TaskFailed
from pipeline.stacks import StackOutputs, WantedStack, apply_stack, delete_stack, plan_stack, read_stack
from pipeline.target import Target

# Seconds until a new role and its policy are known everywhere (IAM user guide, "Changes that I make are not always
# immediately visible").
_PROPAGATION = 60.0
_DENIED = ("AccessDenied", "AccessDeniedException")
# Invocations of each function that the running image is given too, for a comparison of their durations.
TIMED = 200
_RUNNING = "running"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cast:
    """What is rehearsed.

    template  of the release, as JSON
    images    function → URI of its candidate
    running   function → URI of the image that takes its traffic; functions on placeholders have none
    table_arn  of the state table; "" for a project without transactions
    """

    template: str
    images: Mapping[str, str]
    running: Mapping[str, str] = field(default_factory=dict)
    table_arn: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stage:
    """The deployed candidates.

    target     with the permissions of the rehearsal's role only
    functions  folder names → names in Lambda; those of the running images are called ``running-<folder>``
    durations  milliseconds of each invocation, by folder name, and of the running image by ``running-<folder>``
    """

    target: Target
    functions: Mapping[str, str]
    opened: float = field(default_factory=time.monotonic)
    durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def invoke(self, function: str, event: Any) -> Any:
        """The candidate's response. Raises TaskFailed as Step Functions names the error."""
        payload = json.dumps(event).encode()
        running = f"{_RUNNING}-{function}"
        if running in self.functions and self._begins(running):
            self._invoke(running, payload)
        return self._invoke(function, payload)

    def _begins(self, running: str) -> bool:
        with self._lock:
            return len(self.durations[running]) < TIMED

    def _invoke(self, function: str, payload: bytes) -> Any:
        client, name = self.target.client("lambda"), self.functions[function]
        try:
            answer = _allowed(self.opened, lambda: client.invoke(FunctionName=name, Payload=payload, LogType="Tail"))
        except ClientError as problem:
            code = error_code(problem)
            if code not in ("TooManyRequestsException", "ServiceException", "ResourceNotReadyException"):
                raise
            raise TaskFailed(f"Lambda.{code}", str(problem)) from problem
        response = read_payload(answer["Payload"].read())
        log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines()
        if (duration := read_report(log).get("duration")) is not None:
            with self._lock:
                self.durations[function].append(duration)
        if "FunctionError" in answer:
            kind = response.get("errorType", "Lambda.Unknown") if isinstance(response, dict) else "Lambda.Unknown"
            raise TaskFailed(str(kind), json.dumps(response))
        return response


@contextmanager
def open_stage(target: Target, names: Names, cast: Cast, report: Report) -> Iterator[Stage]:
    """Deploy the candidates beside the running functions, for the block. What a killed rehearsal left goes first.

    Raises StackFailed if they cannot be created.
    """
    remove_stage(target, names, report)
    candidates = _candidates(target, names, cast)
    try:
        with step(report, "stage", names.rehearsal_stack) as running:
            cloudformation = target.client("cloudformation")
            body = rehearsal_template(candidates, cast.table_arn)
            wanted = WantedStack(names.rehearsal_stack, body, tags=cast.tags)
            outputs = apply_stack(cloudformation, plan_stack(read_stack(cloudformation, wanted.name), wanted), report)
            running.detail = f"{len(cast.images)} candidates"
        yield _entered(target, names, outputs, candidates)
    finally:
        # Without reports: after Ctrl-C they raise, and CloudFormation is to be asked first.
        remove_stage(target, names)


def _entered(target: Target, names: Names, outputs: StackOutputs, candidates: list[Candidate]) -> Stage:
    role, opened = outputs[ROLE_OUTPUT], time.monotonic()
    session = _allowed(opened, lambda: target.assuming(role, f"rehearse-{names.environment}"))
    return Stage(session, {each.name: outputs[each.output] for each in candidates}, opened)


def remove_stage(target: Target, names: Names, report: Report = ignore) -> bool:
    """Delete the rehearsal stack, from any status. Returns False if there is none."""
    cloudformation = target.client("cloudformation")
    state = read_stack(cloudformation, names.rehearsal_stack)
    if state.status.gone:
        return False
    with step(report, "delete", names.rehearsal_stack):
        # Before the stack: CloudFormation would wait for network interfaces, which the running functions share.
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=state.stack_id):
            for resource in page["StackResourceSummaries"]:
                if resource["ResourceType"] == "AWS::Lambda::Function" and resource.get("PhysicalResourceId"):
                    _delete_function(target.client("lambda"), resource["PhysicalResourceId"])
        return delete_stack(cloudformation, state.stack_id, report)


def _delete_function(client: Any, name: str) -> None:
    try:
        client.delete_function(FunctionName=name)
    except ClientError as problem:
        # Gone, or still being created: the deletion of the stack waits for it.
        if error_code(problem) not in (
            "ResourceNotFoundException", "ResourceConflictException",
        ):  # fmt: skip
            raise


def _candidates(target: Target, names: Names, cast: Cast) -> list[Candidate]:
    resources = json.loads(cast.template)["Resources"]
    found = []
    for name, image in sorted(cast.images.items()):
        properties = resources[f"{pascal_case(name)}Function"]["Properties"]
        live = target.client("lambda").get_function_configuration(
            FunctionName=names.function(name), Qualifier=LIVE_ALIAS
        )
        variables = live.get("Environment", {}).get("Variables", {})
        network = {
            key: live["VpcConfig"][key]
            for key in ("SubnetIds", "SecurityGroupIds")
            if live.get("VpcConfig", {}).get("SubnetIds")
        }
        found.append(Candidate(name, image, properties, variables, network))
        if (running := cast.running.get(name, image)) != image:
            found.append(Candidate(f"{_RUNNING}-{name}", running, properties, variables, network))
    return found


def _allowed(opened: float, call: Callable[[], _T]) -> _T:
    """The result of a call that a role makes which was created at ``opened``: refusals are repeated at first."""
    while True:
        try:
            return call()
        except ClientError as problem:
            denied = error_code(problem) in _DENIED
            if not denied or time.monotonic() - opened > _PROPAGATION:
                raise
        interruption.sleep(1.0)
