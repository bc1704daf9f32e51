"""Checks of the caller: credentials, clock, region, and the permissions that ``up`` needs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.doctor.permissions import On, Permission
from pipeline.doctor.policy import fifo_arns, permissions_of, resource_arns
from pipeline.doctor.situation import Caller, Situation
from pipeline.doctor.verdict import Verdict, error, ok, unknown, warning

# AWS refuses signatures if the clocks differ by more than 5 minutes, for some services 15 (AWS documentation, IAM user
# guide, "Troubleshoot Signature Version 4 requests"). Seconds.
SKEW_MAX = 300.0
# Differences from here on are worth a warning.
SKEW_NOTICED = 60.0
_NOT_SIGNED_IN = {
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
    "InvalidAccessKeyId",
}  # fmt: skip
_CLOCK = {"SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException", "RequestTimeTooSkewed"}


def check_credentials(situation: Situation) -> Verdict:
    """AWS accepts the credentials."""
    try:
        caller = situation.caller
    except ClientError as problem:
        code = error_code(problem)
        if code in _NOT_SIGNED_IN:
            return error(f"AWS rejected the credentials: {problem}", "Run `aws sso login` or `aws configure`.")
        if code in _CLOCK:
            return error(
                f"AWS rejected the signature: {problem}", "Correct this machine's clock; see the check `clock`."
            )
        raise
    return ok(f"{caller.arn}, account {caller.account}")


def check_clock(situation: Situation) -> Verdict:
    """This machine's clock agrees with the Date header of AWS's response; error responses have one too."""
    try:
        caller = situation.caller
        served, asked_at = caller.served, caller.asked_at
    except ClientError as problem:
        served = problem.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        asked_at = time.time()
    if not served:
        return unknown("the response has no Date header")
    skew = asked_at - parsedate_to_datetime(served).timestamp()
    said = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    cure = "Synchronise it with a time server: timedatectl set-ntp true"
    if abs(skew) > SKEW_MAX:
        return error(f"{said}; AWS refuses signatures beyond {SKEW_MAX:.0f} s", cure)
    if abs(skew) > SKEW_NOTICED:
        return warning(said, cure)
    return ok(f"within {max(1.0, abs(skew)):.0f} s of AWS's")


def check_region(situation: Situation) -> Verdict:
    """The region exists and the account has enabled it. Regions launched since 2019 are disabled by default."""
    region = situation.target.region
    try:
        answer = situation.client("ec2").describe_regions(RegionNames=[region], AllRegions=True)
    except ClientError as problem:
        if error_code(problem) == "InvalidParameterValue":
            return error(f"there is no region {region}", "Use another --region.")
        raise
    found = [each for each in answer["Regions"] if each["RegionName"] == region]
    if not found:
        return error(f"there is no region {region}", "Use another --region.")
    status = found[0].get("OptInStatus", "opt-in-not-required")
    if status == "not-opted-in":
        return error(
            f"the account has not enabled {region}",
            f"aws account enable-region --region-name {region}, and wait until it is enabled; or use another --region.",
        )
    return ok(f"{region} ({status})")


def check_permissions(situation: Situation) -> Verdict:
    """The caller is allowed every action that ``up`` needs, according to IAM's policy simulator.

    The simulation uses the ARNs that ``up`` works on, so narrow policies are judged correctly. It ignores resource
    policies, and conditions on keys that only a real request has.
    """
    caller = situation.caller
    if caller.arn.endswith(":root"):
        return ok("the caller is the root user, who is allowed everything; a dedicated role would be safer")
    wanted = permissions_of("up", situation.bodies.values())
    functions = [source.name for source in situation.sources]
    principal = _principal(situation, caller)
    denied: dict[str, str] = {}
    conditional: list[str] = []
    for on, actions in _by_resource(wanted).items():
        arns = resource_arns(on, situation.names, functions, situation.arn)
        arns += fifo_arns(arns, situation.bodies.values())
        for result in _simulate(situation.client("iam"), principal, actions, arns):
            action, decision = result["EvalActionName"], result["EvalDecision"]
            if decision == "allowed":
                continue
            if result.get("MissingContextValues") and decision == "implicitDeny":
                conditional.append(action)
            else:
                denied[action] = _why(result)
    conditional = [action for action in dict.fromkeys(conditional) if action not in denied]
    if denied:
        said = ", ".join(f"{action}{why}" for action, why in sorted(denied.items()))
        return error(
            f"{principal} is not allowed {len(denied)} of the {len(wanted)} actions that `up` needs: {said}",
            "Allow them; docs/permissions.md lists the actions that each command needs.",
        )
    if conditional:
        return warning(
            f"whether {principal} is allowed {', '.join(sorted(conditional))} depends on conditions",
            "Ignore this if the conditions hold for `up`; otherwise allow the actions unconditionally.",
        )
    return ok(f"{principal} is allowed all {len(wanted)} actions that `up` needs")


def _why(result: Mapping[str, Any]) -> str:
    if not result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return " (denied by the organization)"
    if not result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True):
        return " (outside the permissions boundary)"
    return " (denied)" if result["EvalDecision"] == "explicitDeny" else ""


def _simulate(iam: Any, principal: str, actions: list[str], arns: list[str]) -> Iterator[Mapping[str, Any]]:
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal, ActionNames=actions, ResourceArns=arns
    )
    for page in pages:
        yield from page["EvaluationResults"]


def _principal(situation: Situation, caller: Caller) -> str:
    """The ARN of the user or role to simulate. The ARN of a session omits the path of its role; GetRole returns it."""
    kind, _, rest = caller.arn.split(":", 5)[5].partition("/")
    if kind != "assumed-role":
        return caller.arn
    role: str = situation.client("iam").get_role(RoleName=rest.split("/")[0])["Role"]["Arn"]
    return role


def _by_resource(permissions: tuple[Permission, ...]) -> dict[On, list[str]]:
    found: dict[On, list[str]] = {}
    for each in permissions:
        found.setdefault(each.on, []).append(each.action)
    return found
