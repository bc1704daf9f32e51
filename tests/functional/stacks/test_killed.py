"""A run that is killed (SIGKILL) at any of its calls is completed by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from pipeline.stacks import NoChange, StackFailed
from tests.functional.conftest import EmbeddedAws
from tests.functional.stack_templates import decide, parameter, template, up, wanted
from tests.proxies.faults import FaultProxy, cut

PROGRAM = """
import json, sys
import boto3
from pipeline.stacks import (WantedStack, apply_stack, plan_stack, read_stack)
cfn = boto3.client("cloudformation", endpoint_url=sys.argv[1], region_name="us-east-1")
stack = json.loads(sys.stdin.readline())
wanted = WantedStack(stack["name"], stack["body"], stack["parameters"])
apply_stack(cfn, plan_stack(read_stack(cfn, wanted.name), wanted))
"""


@dataclass
class Case:
    """The start and the goal of a run."""

    name: str
    body: dict[str, Any]
    parameters: dict[str, str]


class Victim:
    """A process that applies a stack until it is killed."""

    def __init__(self, endpoint: str, aws: EmbeddedAws) -> None:
        key = {"AWS_ACCESS_KEY_ID": aws.access_key_id, "AWS_SECRET_ACCESS_KEY": aws.secret_access_key}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, endpoint], stdin=subprocess.PIPE, cwd=Path(__file__).parents[3],
            env={**os.environ, **key, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"},
        )  # fmt: skip

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def run(self, case: Case) -> int:
        """Let it continue and wait for its end; returns the exit code, negative for a signal."""
        stack = {"name": case.name, "body": json.dumps(case.body), "parameters": case.parameters}
        self._process.communicate(json.dumps(stack).encode() + b"\n", timeout=60)
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def proxy(embedded_aws: EmbeddedAws) -> Iterator[FaultProxy]:
    with FaultProxy(embedded_aws.endpoint) as running:
        yield running


def prepare(aws: EmbeddedAws, situation: str) -> Case:
    """A stack in the initial state of a case."""
    cfn, ssm, name = aws.client("cloudformation"), aws.client("ssm"), f"killed-{uuid.uuid4().hex[:8]}"
    match situation:
        case "creation":
            return Case(name, template(), {})
        case "update":
            up(cfn, wanted(name))
            return Case(name, template(), {"Seconds": "30"})
        case "failed creation":
            ssm.put_parameter(Name=f"{name}-taken", Type="String", Value="theirs")
            body = template(Thing=parameter(f"{name}-taken"))
            with pytest.raises(StackFailed):
                up(cfn, wanted(name, body=body))
            ssm.delete_parameter(Name=f"{name}-taken")
            return Case(name, body, {})
    raise AssertionError(situation)


def calls_of(aws: EmbeddedAws, proxy: FaultProxy, situation: str) -> list[str]:
    """The calls of an undisturbed run."""
    case = prepare(aws, situation)
    proxy.clear()
    client = aws.client("cloudformation", endpoint_url=proxy.endpoint)
    up(client, wanted(case.name, body=case.body, parameters=case.parameters))
    return list(proxy.calls)


@pytest.mark.parametrize("heard", ["AWS heard the call", "the call was lost"])
@pytest.mark.parametrize("situation", ["creation", "update", "failed creation"])
def test_killed_at_any_call_the_next_run_converges(
    embedded_aws: EmbeddedAws, proxy: FaultProxy, situation: str, heard: str
) -> None:
    calls = calls_of(embedded_aws, proxy, situation)
    direct = embedded_aws.client("cloudformation")
    # Reads do nothing, so one kill at the first of them and one at each call that changes something is all there is.
    moments = [0, *(index for index, call in enumerate(calls) if not call.startswith(("Describe", "Get", "List")))]
    assert len(moments) >= 3
    with contextlib.ExitStack() as victims:
        waiting = [
            victims.enter_context(Victim(proxy.endpoint, embedded_aws)) for _ in moments
        ]  # they start side by side
        for moment, victim in zip(moments, waiting, strict=True):
            case = prepare(embedded_aws, situation)
            proxy.clear()
            proxy.before("*", victim.kill, skip=moment)
            if heard == "the call was lost":
                proxy.add(cut("*", skip=moment))
            assert victim.run(case) == -signal.SIGKILL, calls[moment]
            proxy.wait_until_idle()
            expect_convergence(direct, case, calls[moment])


def expect_convergence(cfn: Any, case: Case, killed_at: str) -> None:
    """The next run ends in the same state as an undisturbed one, without leftovers."""
    stack = wanted(case.name, body=case.body, parameters=case.parameters)
    up(cfn, stack)
    assert isinstance(decide(cfn, stack), NoChange), killed_at
    left = cfn.list_change_sets(StackName=case.name)["Summaries"]
    assert [each for each in left if each["ExecutionStatus"] != "EXECUTE_COMPLETE"] == [], killed_at
    resources = cfn.describe_stack_resources(StackName=case.name)["StackResources"]
    assert {each["LogicalResourceId"] for each in resources} == set(case.body["Resources"]), killed_at
