"""Delete an environment: its stacks, network interfaces and ledger, except for retained resources."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cfn.names import Names
from cfn.render import TEMPLATE_BODY_MAX
from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.events import Event, Note, Report, ResourceChanged, ignore, step
from pipeline.core.shown import counted
from pipeline.ledger.releases import delete_ledger, list_releases, parameter_name
from pipeline.rehearsal.stage import remove_stage
from pipeline.release.buckets import BUCKET, empty_bucket, stack_buckets
from pipeline.stacks import RetainedResource, StackState, data_resources, delete_keeping, read_stack, retained_resources
from pipeline.stacks.state import says_absent
from pipeline.stacks.templates_bucket import find_bucket, upload_template
from pipeline.target import Target

# The command that deletes a retained resource.
_COMMANDS = {
    "AWS::DynamoDB::Table": "aws dynamodb delete-table --table-name {name}",
    "AWS::ECR::Repository": "aws ecr delete-repository --force --repository-name {name}",
    "AWS::SQS::Queue": 'aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name {name}'
    ' --query QueueUrl --output text)"',
    "AWS::Logs::LogGroup": "aws logs delete-log-group --log-group-name {name}",
}
_UNPROTECT_TABLE = "aws dynamodb update-table --no-deletion-protection-enabled --table-name {name} && "
_LAMBDA_INTERFACE = "AWS Lambda VPC ENI*"


@dataclass(frozen=True, slots=True)
class Kept:
    """A resource that outlives its stack, and the command that deletes it."""

    resource: RetainedResource
    command: str


@dataclass(frozen=True, slots=True)
class TakenDown:
    """The deleted stacks and the retained resources. ``ledger``: whether the ledger was deleted."""

    deleted: tuple[str, ...]
    kept: tuple[Kept, ...]
    ledger: bool


def take_down(target: Target, names: Names, report: Report = ignore, *, keep_data: bool = False) -> TakenDown:
    """Delete the stacks of an environment from any status, the registry stack last. Safe to repeat.

    Tables, queues, repositories and log groups stay if the template retains them, or all of them with ``keep_data``.
    The ledger stays with the repositories whose images it describes. The bucket of a large template stays because other
    environments use it; its objects expire.

    Raises StackFailed with the first resource that could not be deleted.
    """
    cloudformation = target.client("cloudformation")
    # Of a rehearsal that was killed. It comes first, because its functions are in the network of the others.
    deleted = [names.rehearsal_stack] if remove_stage(target, names, report) else []
    kept: list[Kept] = []
    large = False
    for name in (names.pipeline_stack, names.registry_stack):
        state = read_stack(cloudformation, name)
        if state.status.gone:
            continue
        template = state.template or _read_template(cloudformation, state)
        stays = kept_by(template, keep_data=keep_data)
        for bucket in stack_buckets(cloudformation, name, template):
            if keep_data:
                stays = (*stays, Kept(bucket, f"aws s3 rb --force s3://{bucket.name}"))
            else:
                empty_bucket(target.client, bucket.name, report)
        large = large or len(template.encode()) > TEMPLATE_BODY_MAX
        with step(report, "delete", name) as running, _interfaces_freed(target.client, template, report) as watching:
            kept_ids = [each.resource.logical_id for each in stays]
            upload = partial(upload_template, target.client, report=report)
            delete_keeping(cloudformation, name, kept_ids, watching, upload=upload)
            running.detail = f"kept {counted(len(stays), 'resource')}" if stays else "deleted"
        deleted.append(name)
        kept += stays
    if large and (templates := find_bucket(target.client)):
        kept.append(Kept(RetainedResource("Templates", BUCKET, templates), f"aws s3 rb --force s3://{templates}"))
    ssm = target.client("ssm")
    if any(each.resource.resource_type == "AWS::ECR::Repository" for each in kept):
        if list_releases(ssm, names.ledger):
            parameter = parameter_name(names.ledger)
            ledger = RetainedResource("Ledger", "AWS::SSM::Parameter", parameter)
            kept.append(Kept(ledger, f"aws ssm delete-parameter --name {parameter}"))
        return TakenDown(tuple(deleted), tuple(kept), ledger=False)
    return TakenDown(tuple(deleted), tuple(kept), ledger=delete_ledger(ssm, names.ledger))


def kept_by(template_body: str, *, keep_data: bool = False) -> tuple[Kept, ...]:
    """The resources that stay when a stack with this template is deleted; with ``keep_data`` all data. Pure."""
    if not template_body:
        return ()
    resources = json.loads(template_body).get("Resources", {})
    stays = data_resources(template_body) if keep_data else retained_resources(template_body)
    return tuple(Kept(each, _command(each, resources[each.logical_id])) for each in stays)


def _command(kept: RetainedResource, resource: Mapping[str, Any]) -> str:
    command = _COMMANDS[kept.resource_type]
    if resource.get("Properties", {}).get("DeletionProtectionEnabled"):
        command = _UNPROTECT_TABLE + command
    return command.format(name=kept.name)


def _read_template(cloudformation: Any, state: StackState) -> str:
    """The template of a stack that can no longer be updated; "" if it cannot be read."""
    try:
        body = cloudformation.get_template(StackName=state.stack_id, TemplateStage="Original").get("TemplateBody", "")
    except ClientError as problem:
        if says_absent(problem) or error_code(problem) == "ValidationError":
            return ""
        raise
    return body if isinstance(body, str) else json.dumps(body)


@contextmanager
def _interfaces_freed(clients: Callable[[str], Any], template_body: str, report: Report) -> Iterator[Report]:
    """Free network interfaces in a thread while the block deletes the stack; yields the report for the deletion.

    Starts once CloudFormation deletes resources, so that a stack that stays never loses its functions.
    """
    functions = vpc_functions(clients("lambda"), _function_names(template_body))
    begun, over = threading.Event(), threading.Event()

    def watching(event: Event) -> None:
        if isinstance(event, ResourceChanged) and event.status == "DELETE_IN_PROGRESS":
            begun.set()
        report(event)

    def free() -> None:
        begun.wait()
        try:
            if not over.is_set():
                free_network_interfaces(clients, functions, report, over=over.is_set)
        except (BotoCoreError, ClientError) as problem:
            report(Note(f"network interfaces were not freed ({problem}); CloudFormation waits for them"))

    beside = threading.Thread(target=free, daemon=True, name="network interfaces")
    if functions:
        beside.start()
    try:
        yield watching
    finally:
        over.set()
        begun.set()
        if functions:
            beside.join(timeout=10)


def _function_names(template_body: str) -> list[str]:
    resources = json.loads(template_body).get("Resources", {}) if template_body else {}
    return [
        name
        for each in resources.values()
        if each.get("Type") == "AWS::Lambda::Function"
        and isinstance(name := each.get("Properties", {}).get("FunctionName"), str)
    ]


def vpc_functions(lambda_client: Any, names: Iterable[str]) -> dict[str, set[str]]:
    """The functions that are in a VPC, each with its security groups; others have no interfaces."""
    found: dict[str, set[str]] = {}
    for name in names:
        try:
            configuration = lambda_client.get_function_configuration(FunctionName=name)
        except ClientError as problem:
            if error_code(problem) != "ResourceNotFoundException":
                raise
            continue
        if groups := set(configuration.get("VpcConfig", {}).get("SecurityGroupIds", [])):
            found[name] = groups
    return found


def free_network_interfaces(
    clients: Callable[[str], Any],
    functions: Mapping[str, set[str]],
    report: Report = ignore,
    *,
    timeout: float = 1200.0,
    over: Callable[[], bool] = lambda: False,
) -> int:
    """Delete VPC functions and their network interfaces; returns the number of deleted interfaces.

    Lambda releases the interfaces of a function up to 20 minutes after its deletion (AWS documentation), and until then
    subnets and security groups cannot be deleted. So the functions are deleted first, with all versions, which use the
    interfaces too; CloudFormation treats a missing function as deleted. Released interfaces are deleted here; those in
    use after ``timeout`` seconds are left to CloudFormation.

    functions  name → its security groups, from ``vpc_functions``
    over       polled; True ends the call
    """
    if not functions:
        return 0
    lambda_client, ec2 = clients("lambda"), clients("ec2")
    for name in functions:
        _delete_function(lambda_client, name)
    groups = {group for each in functions.values() for group in each}
    deadline, pause, deleted = time.monotonic() + timeout, 0.2, 0
    while not over() and (interfaces := _interfaces(ec2, groups)):
        for interface in interfaces:
            if interface["Status"] == "available":
                deleted += _delete_interface(ec2, interface["NetworkInterfaceId"])
        if time.monotonic() > deadline:
            report(Note(f"Lambda still holds {len(interfaces)} network interfaces; CloudFormation waits for them"))
            break
        interruption.sleep(pause)
        pause = min(pause * 1.5, 5.0)
    return deleted


def _delete_function(lambda_client: Any, name: str) -> None:
    """Delete a function with its versions and aliases, unless CloudFormation has already."""
    try:
        lambda_client.delete_function(FunctionName=name)
    except ClientError as problem:
        if error_code(problem) not in ("ResourceNotFoundException", "ResourceConflictException"):
            raise


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
        # Lambda may have deleted it already, or be using it again for a moment.
        if error_code(problem) not in (
            "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterface.InUse", "InvalidParameterValue",
        ):  # fmt: skip
            raise
        return 0
    return 1
