"""Who asks, whether their clock and region are right, and whether they may do what ``up`` will do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from cfn.render import TEMPLATE_BODY_MAX
from pipeline.doctor.permissions import On, Permission, permissions_of_up
from pipeline.doctor.situation import Caller, Situation
from pipeline.doctor.verdict import Verdict, error, ok, unknown, warning
from pipeline.ledger.releases import parameter_name

# Signatures are refused when the clocks differ by more than this: 5 minutes, for some services 15 (AWS documentation,
# IAM user guide, "Troubleshoot Signature Version 4 requests").
SKEW_MAX = 300.0
# A clock this far off is on its way there.
SKEW_NOTICED = 60.0
_NOT_SIGNED_IN = {
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
    "InvalidAccessKeyId",
}  # fmt: skip
_CLOCK = {"SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException", "RequestTimeTooSkewed"}


def check_credentials(situation: Situation) -> Verdict:
    """AWS knows the credentials."""
    try:
        caller = situation.caller
    except ClientError as problem:
        code = problem.response.get("Error", {}).get("Code", "")
        if code in _NOT_SIGNED_IN:
            return error(f"AWS does not take the credentials: {problem}", "Run `aws sso login` or `aws configure`.")
        if code in _CLOCK:
            return error(
                f"AWS does not take the signature: {problem}", "Set this machine's clock; see the check clock."
            )
        raise
    return ok(f"{caller.arn}, account {caller.account}")


def check_clock(situation: Situation) -> Verdict:
    """This machine's clock is close to AWS's, which the Date header of any answer tells, also of a refusal."""
    try:
        caller = situation.caller
        served, asked_at = caller.served, caller.asked_at
    except ClientError as problem:
        served = problem.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        asked_at = time.time()
    if not served:
        return unknown("the answer has no Date header")
    skew = asked_at - parsedate_to_datetime(served).timestamp()
    said = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    cure = "Let it follow a time server: timedatectl set-ntp true"
    if abs(skew) > SKEW_MAX:
        return error(f"{said}; AWS refuses signatures from {SKEW_MAX:.0f} s", cure)
    if abs(skew) > SKEW_NOTICED:
        return warning(said, cure)
    return ok(f"within {max(1.0, abs(skew)):.0f} s of AWS's")


def check_region(situation: Situation) -> Verdict:
    """The region exists and is enabled for the account. Regions that opened since 2019 must be enabled first."""
    region = situation.target.region
    try:
        answer = situation.client("ec2").describe_regions(RegionNames=[region], AllRegions=True)
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") == "InvalidParameterValue":
            return error(f"there is no region {region}", "Give another --region.")
        raise
    found = [each for each in answer["Regions"] if each["RegionName"] == region]
    if not found:
        return error(f"there is no region {region}", "Give another --region.")
    status = found[0].get("OptInStatus", "opt-in-not-required")
    if status == "not-opted-in":
        return error(
            f"the account has not enabled {region}",
            f"aws account enable-region --region-name {region}, and wait until it is; or give another --region.",
        )
    return ok(f"{region} ({status})")


def check_permissions(situation: Situation) -> Verdict:
    """The caller may do everything that ``up`` does, as far as IAM's own simulation tells.

    Simulated on the ARNs that ``up`` works on, so that narrow policies are judged rightly. It does not see what it is
    not given: resource policies, and conditions on keys that only a real request has.
    """
    caller = situation.caller
    if caller.arn.endswith(":root"):
        return ok("the account's root user may do everything; a role of its own would be safer")
    kinds = {each["Type"] for template in situation.templates.values() for each in template["Resources"].values()}
    large = any(len(body.encode()) > TEMPLATE_BODY_MAX for body in situation.bodies.values())
    wanted = permissions_of_up(kinds, large=large)
    principal = _principal(situation, caller)
    denied: dict[str, str] = {}
    conditional: list[str] = []
    for on, actions in _by_resource(wanted).items():
        for result in _simulate(situation.client("iam"), principal, actions, _arns(situation, on)):
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
            f"{principal} may not call {len(denied)} of the {len(wanted)} actions that `up` needs: {said}",
            "Allow them; docs/permissions.md lists what each command needs.",
        )
    if conditional:
        return warning(
            f"whether {principal} may call {', '.join(sorted(conditional))} depends on conditions",
            "Nothing to do if the conditions are meant for this use; otherwise allow them without.",
        )
    return ok(f"{principal} may call all {len(wanted)} actions that `up` needs")


def _why(result: Mapping[str, Any]) -> str:
    if not result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return " (denied by the organization)"
    if not result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary", True):
        return " (outside of the permissions boundary)"
    return " (denied)" if result["EvalDecision"] == "explicitDeny" else ""


def _simulate(iam: Any, principal: str, actions: list[str], arns: list[str]) -> Iterator[Mapping[str, Any]]:
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal, ActionNames=actions, ResourceArns=arns
    )
    for page in pages:
        yield from page["EvaluationResults"]


def _principal(situation: Situation, caller: Caller) -> str:
    """The user or role to simulate: a session's ARN names its role without the path, which GetRole knows."""
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


def _arns(situation: Situation, on: On) -> list[str]:
    """ARNs of the form that ``up`` works on; what CloudFormation names itself begins with the stack's name."""
    names, arn = situation.names, situation.arn
    functions = [names.function(source.name) for source in situation.sources]
    stacks = [names.registry_stack, names.pipeline_stack]
    match on:
        case On.ANYTHING:
            return ["*"]
        case On.STACKS:
            return [arn("cloudformation", f"stack/{stack}/any") for stack in stacks]
        case On.REPOSITORIES:
            return [arn("ecr", f"repository/{name}") for name in functions] or ["*"]
        case On.FUNCTIONS:
            return [arn("lambda", f"function:{name}") for name in [*functions, names.placeholder_function]]
        case On.STATE_MACHINE:
            return [arn("states", f"stateMachine:{names.state_machine}")]
        case On.EXECUTIONS:
            return [arn("states", f"express:{names.state_machine}:any:any")]
        case On.TABLE:
            return [arn("dynamodb", f"table/{names.table}")]
        case On.TOPICS:
            return [arn("sns", names.alert_topic), arn("sns", names.alarm_topic)]
        case On.QUEUE:
            return [arn("sqs", names.dead_letter_queue)]
        case On.LOG_GROUPS:
            groups = [names.state_machine_log_group, names.placeholder_function, *functions]
            return [arn("logs", f"log-group:{group}") for group in groups]
        case On.ROLES:
            return [arn("iam", f"role/{stack}-any") for stack in stacks]
        case On.POLICIES:
            return [arn("iam", f"policy/{names.pipeline_stack}-any")]
        case On.ALARMS:
            return [arn("cloudwatch", f"alarm:{names.state_machine}-failed")]
        case On.TEMPLATES_BUCKET:
            return ["*"]  # its name is the account's, and a bucket's ARN has no account
        case On.LEDGER:
            return [arn("ssm", f"parameter{parameter_name(situation.settings.environment)}")]
