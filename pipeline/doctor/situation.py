"""What all checks look at: the target, what would be deployed there, and what stands, each read once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import Names
from cfn.settings import Settings
from pipeline.model import FunctionSource
from pipeline.stacks import StackState, read_stack
from pipeline.stacks.state import says_absent
from pipeline.target import Target


@dataclass(frozen=True, slots=True)
class Standing:
    """A stack as it stands. resources: logical id → physical id of what it owns."""

    state: StackState
    resources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. principal: the ARN of the user or role behind a session; served: the Date header of AWS's answer."""

    account: str
    arn: str
    served: str
    asked_at: float


@dataclass(frozen=True)
class Situation:
    """What a check may look at. The three futures are readings that several checks need; asking raises what they did.

    templates  "registry" and "pipeline" as JSON values
    """

    target: Target
    settings: Settings
    sources: tuple[FunctionSource, ...]
    names: Names
    templates: Mapping[str, Mapping[str, Any]]
    bodies: Mapping[str, str]
    caller_reading: Future[Caller]
    registry_reading: Future[Standing]
    pipeline_reading: Future[Standing]

    def client(self, service: str) -> Any:
        return self.target.client(service)

    @property
    def caller(self) -> Caller:
        return self.caller_reading.result()

    @property
    def registry(self) -> Standing:
        return self.registry_reading.result()

    @property
    def pipeline(self) -> Standing:
        return self.pipeline_reading.result()

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``: the second part of every ARN."""
        return self.caller.arn.split(":")[1]

    def arn(self, service: str, resource: str) -> str:
        """The ARN of something of this account and region. IAM's have no region, and nothing else here is global."""
        region = "" if service == "iam" else self.target.region
        return f"arn:{self.partition}:{service}:{region}:{self.caller.account}:{resource}"

    def resources(self, kind: str) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Every resource of a CloudFormation type in both templates: (template, logical id, properties)."""
        return [
            (name, logical_id, each.get("Properties", {}))
            for name, template in self.templates.items()
            for logical_id, each in template["Resources"].items()
            if each["Type"] == kind
        ]

    def standing(self, template: str) -> Standing:
        return self.registry if template == "registry" else self.pipeline


def read_standing(cloudformation: Any, name: str) -> Standing:
    """A stack and what it owns; nothing is owned by a stack that is not there."""
    state = read_stack(cloudformation, name)
    if state.status.gone:
        return Standing(state, {})
    try:
        pages = list(cloudformation.get_paginator("list_stack_resources").paginate(StackName=name))
    except ClientError as problem:
        if says_absent(problem):
            return Standing(state, {})
        raise
    found = [each for page in pages for each in page["StackResourceSummaries"]]
    return Standing(
        state,
        {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for each in found
            if each["ResourceStatus"] != "DELETE_COMPLETE" and each.get("PhysicalResourceId")
        },
    )
