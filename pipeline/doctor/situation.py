"""The input of all checks: the target, what would be deployed, and what is deployed, each read once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import Names
from cfn.settings import Settings
from pipeline.assembly.model import FunctionSource
from pipeline.environment.synth import Templates
from pipeline.stacks import StackState, read_stack
from pipeline.stacks.state import says_absent
from pipeline.target import Target

# The number of calls that look_at submits to its pool.
READINGS = 3


@dataclass(frozen=True, slots=True)
class DeployedStack:
    """A deployed stack. resources: logical id → physical id."""

    state: StackState
    resources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind the credentials.

    served    the Date header of AWS's response
    asked_at  the same moment by this machine's clock (seconds since the epoch)
    """

    account: str
    arn: str
    served: str
    asked_at: float


@dataclass(frozen=True)
class Situation:
    """The input of a check. The futures are readings shared by checks; using one raises the error of its call.

    templates  "registry" and "pipeline", parsed
    bodies     the same as the text that is sent
    """

    target: Target
    settings: Settings
    sources: tuple[FunctionSource, ...]
    names: Names
    templates: Mapping[str, Mapping[str, Any]]
    bodies: Mapping[str, str]
    caller_reading: Future[Caller]
    registry_reading: Future[DeployedStack]
    pipeline_reading: Future[DeployedStack]

    def client(self, service: str) -> Any:
        return self.target.client(service)

    @property
    def caller(self) -> Caller:
        return self.caller_reading.result()

    @property
    def registry(self) -> DeployedStack:
        return self.registry_reading.result()

    @property
    def pipeline(self) -> DeployedStack:
        return self.pipeline_reading.result()

    @property
    def partition(self) -> str:
        """The partition in ARNs: ``aws``, ``aws-cn`` or ``aws-us-gov``."""
        return self.caller.arn.split(":")[1]

    def arn(self, service: str, resource: str) -> str:
        """An ARN in this account and region; IAM's ARNs have no region."""
        region = "" if service == "iam" else self.target.region
        return f"arn:{self.partition}:{service}:{region}:{self.caller.account}:{resource}"

    def resources(self, kind: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        """(template, logical id, properties) of every resource of a CloudFormation type in both templates."""
        return [
            (name, logical_id, each.get("Properties", {}))
            for name, template in self.templates.items()
            for logical_id, each in template["Resources"].items()
            if each["Type"] == kind
        ]

    def stack(self, template: str) -> DeployedStack:
        return self.registry if template == "registry" else self.pipeline


def look_at(
    target: Target,
    settings: Settings,
    sources: Sequence[FunctionSource],
    names: Names,
    templates: Templates,
    pool: Executor,
) -> Situation:
    """Start the shared readings in ``pool``."""
    bodies = {"registry": templates.registry, "pipeline": templates.pipeline}
    return Situation(
        target,
        settings,
        tuple(sources),
        names,
        {name: json.loads(body) for name, body in bodies.items()},
        bodies,
        pool.submit(lambda: read_caller(target.client("sts"))),
        pool.submit(lambda: read_deployed(target.client("cloudformation"), names.registry_stack)),
        pool.submit(lambda: read_deployed(target.client("cloudformation"), names.pipeline_stack)),
    )


def read_caller(sts: Any) -> Caller:
    """The account, the identity behind the credentials, and AWS's time."""
    asked_at = time.time()
    answer = sts.get_caller_identity()
    served = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    return Caller(answer["Account"], answer["Arn"], served, (asked_at + time.time()) / 2)


def read_deployed(cloudformation: Any, name: str) -> DeployedStack:
    """A stack and its resources; a stack that does not exist has none."""
    state = read_stack(cloudformation, name)
    if state.status.gone:
        return DeployedStack(state, {})
    try:
        pages = list(cloudformation.get_paginator("list_stack_resources").paginate(StackName=name))
    except ClientError as problem:
        if says_absent(problem):
            return DeployedStack(state, {})
        raise
    found = [each for page in pages for each in page["StackResourceSummaries"]]
    return DeployedStack(
        state,
        {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for each in found
            if each["ResourceStatus"] != "DELETE_COMPLETE" and each.get("PhysicalResourceId")
        },
    )
