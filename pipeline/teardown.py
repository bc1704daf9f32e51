"""What an environment's end needs besides deleting its stacks: interfaces that are slow to go, data that stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline import interruption
from pipeline.events import Note, Report, ignore
from pipeline.stacks import RetainedResource, retained_resources

# How a person deletes what was kept on purpose.
_COMMANDS = {
    "AWS::DynamoDB::Table": "aws dynamodb delete-table --table-name {name}",
    "AWS::ECR::Repository": "aws ecr delete-repository --force --repository-name {name}",
    "AWS::Logs::LogGroup": "aws logs delete-log-group --log-group-name {name}",
}
_LAMBDA_INTERFACE = "AWS Lambda VPC ENI*"


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that outlives its stack, and the command that deletes it all the same."""

    resource: RetainedResource
    command: str


def kept_by(template_body: str) -> tuple[Kept, ...]:
    """What a stack with this template leaves behind when it is deleted. Pure."""
    return tuple(
        Kept(each, _COMMANDS[each.resource_type].format(name=each.name)) for each in retained_resources(template_body)
    )


def free_network_interfaces(
    clients: Callable[[str], Any], functions: Iterable[str], report: Report = ignore, *, timeout: float = 120.0
) -> int:
    """Delete the functions and their network interfaces before their stack goes; how many interfaces were deleted.

    Lambda gives up the interfaces of a VPC function only some time after the function is gone (AWS documentation: up to
    20 minutes), and until then neither subnets nor security groups can be deleted. So the functions go first, with all
    their versions, each of which holds the interfaces too; their stack takes a function that is gone as deleted.
    Interfaces that Lambda has let go are deleted here. What is still held after ``timeout`` seconds is left to
    CloudFormation, whose deletion waits for it.
    """
    lambda_client, ec2 = clients("lambda"), clients("ec2")
    groups: set[str] = set()
    for name in functions:
        groups |= _delete_function(lambda_client, name)
    if not groups:
        return 0
    deadline, pause, deleted = time.monotonic() + timeout, 0.2, 0
    while interfaces := _interfaces(ec2, groups):
        for interface in interfaces:
            if interface["Status"] == "available":
                deleted += _delete_interface(ec2, interface["NetworkInterfaceId"])
        if time.monotonic() > deadline:
            report(Note(f"Lambda still holds {len(interfaces)} network interfaces; CloudFormation waits for them"))
            break
        interruption.sleep(pause)
        pause = min(pause * 1.5, 5.0)
    return deleted


def _delete_function(lambda_client: Any, name: str) -> set[str]:
    """Delete a function with its versions and aliases; the security groups that it was in, if it was in a VPC.

    A function outside of a VPC holds nothing, so it is left to its stack.
    """
    try:
        found = lambda_client.get_function_configuration(FunctionName=name)
        groups = set(found.get("VpcConfig", {}).get("SecurityGroupIds", []))
        if groups:
            lambda_client.delete_function(FunctionName=name)
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return set()
        raise
    return groups


def _interfaces(ec2: Any, groups: Iterable[str]) -> list[Any]:
    filters = [
        {"Name": "group-id", "Values": sorted(groups)},
        {"Name": "description", "Values": [_LAMBDA_INTERFACE]},
    ]
    pages = ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters)
    return [interface for page in pages for interface in page["NetworkInterfaces"]]


def _delete_interface(ec2: Any, interface_id: str) -> int:
    try:
        ec2.delete_network_interface(NetworkInterfaceId=interface_id)
    except ClientError as problem:
        # Lambda deletes them too, and may be faster, or take one back for a moment.
        if problem.response.get("Error", {}).get("Code") not in (
            "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterface.InUse", "InvalidParameterValue",
        ):  # fmt: skip
            raise
        return 0
    return 1
