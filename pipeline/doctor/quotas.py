"""Checks of account quotas: concurrent executions, memory, VPCs and VPC endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.concurrency import loaded, reservation
from cfn.names import RESERVED_CONCURRENCY
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok, unknown, warning
from pipeline.environment.parameters import UNRESERVED_MIN, fitting_reservation


def check_concurrency(situation: Situation) -> Verdict:
    """The reserved concurrency leaves 100 executions unreserved. A warning at most: ``up`` reserves what fits.

    GetAccountSettings counts all reservations of the account as taken, including those of these functions.
    """
    functions = loaded(situation.settings, (source.definition for source in situation.sources))
    count, wanted = len(functions), reservation(situation.settings, functions)
    if not wanted or not count:
        return ok("nothing is reserved")
    limit = situation.client("lambda").get_account_settings()["AccountLimit"]
    total, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
    state = situation.pipeline.state
    own = 0 if state.status.gone else int(state.parameters.get(RESERVED_CONCURRENCY) or 0) * count
    others = max(0, total - free - own)
    fits = fitting_reservation(free + own, count, wanted)
    said = f"the account has {total} concurrent executions, of which other functions reserve {others}"
    if fits >= wanted:
        return ok(f"{said}; {count} functions reserve {wanted} each")
    cure = f"set reserved_concurrency = {fits}" if fits else "remove reserved_concurrency or set it to 0"
    return warning(
        f"{said}: {count} functions cannot reserve {wanted} each and leave {UNRESERVED_MIN} unreserved",
        f"`up` reserves {fits or 'none'} instead. To silence this, {cure}; or request a higher quota: aws"
        " service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384"
        " --desired-value 1000",
    )


# The memory limit (MB) of functions in new accounts, and the concurrent executions of accounts without such limits
# (Lambda quotas: "New AWS accounts have reduced concurrency and memory quotas"). No call reads the memory quota.
NEW_ACCOUNT_MEMORY = 3_008
_FULL_CONCURRENCY = 1_000


def check_memory(situation: Situation) -> Verdict:
    """New accounts give a function at most 3,008 MB. A warning at most, since only Lambda knows the limit."""
    large = [
        f"{source.name} ({source.definition.memory:,} MB)"
        for source in situation.sources
        if source.definition.memory > NEW_ACCOUNT_MEMORY
    ]
    if not large:
        return ok(f"no function has more than {NEW_ACCOUNT_MEMORY:,} MB, which every account allows")
    total = situation.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    if total >= _FULL_CONCURRENCY:
        return ok(f"{', '.join(large)}: an account with {total:,} concurrent executions has no reduced limit")
    return warning(
        f"{', '.join(large)}: an account with {total:,} concurrent executions is new, and Lambda may refuse more than"
        f" {NEW_ACCOUNT_MEMORY:,} MB",
        f"Set memory = {NEW_ACCOUNT_MEMORY} or less in function.toml, or ask AWS Support for more.",
    )


# Quota codes and defaults of VPCs per Region and Gateway VPC endpoints per Region (Amazon VPC user guide, "quotas").
_VPCS, _VPCS_DEFAULT = "L-F678F1CE", 5
_GATEWAYS, _GATEWAYS_DEFAULT = "L-1B52E74A", 20


def check_quotas(situation: Situation) -> Verdict:
    """The quotas leave room for the VPC and gateway endpoints that the stack has yet to create."""
    stack = situation.pipeline
    ec2 = situation.client("ec2")
    verdicts = []
    if situation.resources("AWS::EC2::VPC") and "Vpc" not in stack.resources:
        vpcs = sum(len(page["Vpcs"]) for page in ec2.get_paginator("describe_vpcs").paginate())
        verdicts.append(_room(situation, "VPCs", vpcs, 1, _VPCS, _VPCS_DEFAULT))
    gateways = [
        logical_id
        for _, logical_id, properties in situation.resources("AWS::EC2::VPCEndpoint")
        if properties.get("VpcEndpointType") == "Gateway" and logical_id not in stack.resources
    ]
    if gateways:
        pages = ec2.get_paginator("describe_vpc_endpoints").paginate(
            Filters=[{"Name": "vpc-endpoint-type", "Values": ["Gateway"]}]
        )
        there = sum(len(page["VpcEndpoints"]) for page in pages)
        verdicts.append(_room(situation, "gateway endpoints", there, len(gateways), _GATEWAYS, _GATEWAYS_DEFAULT))
    return combine(verdicts, "there is no network to create")


def _room(situation: Situation, what: str, there: int, more: int, code: str, default: int) -> Verdict:
    quota, why = _quota(situation, code)
    said = f"{there} {what} exist and {more} more would be created"
    if quota is None:
        if there + more <= default:
            return ok(f"{said}; the default quota is {default}")
        return unknown(f"{said}; the quota could not be read: {why}", "Allow servicequotas:GetServiceQuota.")
    if there + more <= quota:
        return ok(f"{said}; the quota is {quota}")
    return error(
        f"{said}, but the quota is {quota}",
        "Delete an unused one, or request a higher quota: aws service-quotas request-service-quota-increase"
        f" --service-code vpc --quota-code {code} --desired-value {there + more + 5}",
    )


def _quota(situation: Situation, code: str) -> tuple[int | None, str]:
    """(the quota, ""), or (None, why it could not be read)."""
    if situation.target.is_local:
        return None, "the embedded AWS has no quotas"
    try:
        answer: Mapping[str, Any] = situation.client("service-quotas").get_service_quota(
            ServiceCode="vpc", QuotaCode=code
        )
    except (ClientError, BotoCoreError) as problem:
        return None, str(problem)
    return int(answer["Quota"]["Value"]), ""
