"""The list of checks, and how they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import Names
from cfn.settings import Settings
from pipeline.assembly.model import FunctionSource
from pipeline.core.errors import PipelineError
from pipeline.doctor.credentials import check_clock, check_credentials, check_permissions, check_region
from pipeline.doctor.definition import check_state_machine
from pipeline.doctor.function_images import check_blob_mounting, check_images, check_repository_policies
from pipeline.doctor.keys import check_topic_keys
from pipeline.doctor.load import check_load
from pipeline.doctor.own_stacks import check_drift, check_log_groups, check_names, check_stacks
from pipeline.doctor.quotas import check_concurrency, check_memory, check_quotas
from pipeline.doctor.region import check_endpoint_services, check_prefix_lists, check_zones
from pipeline.doctor.situation import READINGS, Situation, look_at
from pipeline.doctor.verdict import NOTHING, CheckResult, Status, Verdict, unknown
from pipeline.environment.synth import Templates
from pipeline.target import Target

Check = Callable[[Situation], Verdict]

CHECKS: Mapping[str, Check] = {
    "credentials": check_credentials,
    "clock": check_clock,
    "region": check_region,
    "permissions": check_permissions,
    "stacks": check_stacks,
    "drift": check_drift,
    "names": check_names,
    "log groups": check_log_groups,
    "reserved concurrency": check_concurrency,
    "load": check_load,
    "memory": check_memory,
    "quotas": check_quotas,
    "zones": check_zones,
    "endpoint services": check_endpoint_services,
    "prefix lists": check_prefix_lists,
    "images": check_images,
    "blob mounting": check_blob_mounting,
    "repository policies": check_repository_policies,
    "state machine": check_state_machine,
    "topic keys": check_topic_keys,
}


# The checks whose failure makes `up` fail; if one of them could not be made, that is no good news.
RELIED_ON = frozenset(CHECKS) - {
    "blob mounting", "clock", "drift", "images", "load", "prefix lists", "quotas", "repository policies",
    "state machine", "topic keys",
}  # fmt: skip


def run_checks(
    target: Target, settings: Settings, sources: Sequence[FunctionSource], names: Names, templates: Templates
) -> tuple[CheckResult, ...]:
    """Run all checks concurrently and return their results in the order of CHECKS. Read-only.

    A check whose call AWS refuses is ``unknown``, with AWS's error; if it refuses the credentials, the error is shown
    once. An unexpected exception is raised.
    """
    # One thread per check and reading, so a check that waits for a reading cannot keep it from starting.
    with ThreadPoolExecutor(len(CHECKS) + READINGS) as pool:
        situation = look_at(target.impatient(), settings, sources, names, templates, pool)
        running: list[Future[CheckResult]] = [
            pool.submit(_run, name, check, situation) for name, check in CHECKS.items()
        ]
        return _once(tuple(future.result() for future in running), target)


def _once(results: tuple[CheckResult, ...], target: Target) -> tuple[CheckResult, ...]:
    """The results without the error of the credentials in every check that needs them."""
    failed = next(each for each in results if each.name == "credentials").status is not Status.OK
    if target.is_local or not failed:
        return results
    return tuple(
        replace(each, evidence="not checked: see credentials", cure=NOTHING)
        if each.status is Status.UNKNOWN and each.name != "credentials"
        else each
        for each in results
    )


def _run(name: str, check: Check, situation: Situation) -> CheckResult:
    started = time.monotonic()
    verdict = judge(check, situation)
    return CheckResult(
        name, verdict.status, verdict.evidence, verdict.cure, seconds=round(time.monotonic() - started, 3)
    )


def judge(check: Check, situation: Situation) -> Verdict:
    """The verdict of one check; UNKNOWN if a call fails."""
    try:
        return check(situation)
    except ClientError as problem:
        return _refused(problem, situation)
    except BotoCoreError as problem:
        return unknown(f"the request to AWS failed: {problem}", "Check the network, then run it again.")
    except PipelineError as problem:
        return unknown(f"{problem.what}: {problem.why}", problem.next_step)


def _refused(problem: ClientError, situation: Situation) -> Verdict:
    answer: Mapping[str, Any] = problem.response
    code = str(answer.get("Error", {}).get("Code", ""))
    text = str(answer.get("Error", {}).get("Message", ""))
    failure = f"{problem.operation_name} failed with {code}: {text}".rstrip(": ")
    if situation.target.is_local:
        return unknown(f"the embedded AWS does not support the call ({failure})")
    if code in _NOT_ALLOWED:
        cure = f"Allow the caller {problem.operation_name}; docs/permissions.md lists the actions that doctor needs."
        return unknown(failure, cure)
    return unknown(failure, "Run it again.")


_NOT_ALLOWED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
