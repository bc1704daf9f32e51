"""Refusals of stack resources: by the calls of their handlers, existing names, reserved concurrency."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict import control_plane
from pipeline.local.emulator.strict.table import first_refusal

# The property with the name that only one resource of the account and region can have.
NAMES: Mapping[str, str] = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::IAM::Role": "RoleName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
_Calls = tuple[tuple[str, str, Mapping[str, Any]], ...]


def _exists(kind: str, name: str) -> bool:
    account, region = control_plane.account_id(), control_plane.region()
    service = control_plane.service
    match kind:
        case "AWS::CloudWatch::Alarm":
            return name in service("cloudwatch")._alarms
        case "AWS::DynamoDB::Table":
            return name in service("dynamodb")._tables
        case "AWS::ECR::Repository":
            return name in service("ecr")._repositories
        case "AWS::IAM::Role":
            return name in service("iam")._roles
        case "AWS::KMS::Alias":
            return f"arn:aws:kms:{region}:{account}:{name}" in service("kms")._aliases
        case "AWS::Lambda::Function":
            return name in service("lambda_svc")._functions
        case "AWS::Logs::LogGroup":
            return name in service("cloudwatch_logs")._log_groups
        case "AWS::SNS::Topic":
            return f"arn:aws:sns:{region}:{account}:{name}" in service("sns")._topics
        case "AWS::SQS::Queue":
            return name in service("sqs")._queue_name_to_url
        case "AWS::StepFunctions::StateMachine":
            return f"arn:aws:states:{region}:{account}:stateMachine:{name}" in service("stepfunctions")._state_machines
    return False


def refuse_creation(kind: str, properties: Mapping[str, Any]) -> None:
    """Raises ValueError with the handler's message if AWS refuses to create the resource."""
    name = properties.get(NAMES.get(kind, ""))
    if isinstance(name, str) and _exists(kind, name):
        raise ValueError(
            f"Resource of type '{kind}' with identifier '{name}' already exists."
            f" (RequestToken: {uuid.uuid4()}, HandlerErrorCode: AlreadyExists)"
        )
    _refuse(_creation_calls(kind, _without_system_tags(properties)))


def _without_system_tags(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties without the tags that CloudFormation itself sets."""
    tags = properties.get("Tags")
    if not isinstance(tags, list):
        return properties
    return {**properties, "Tags": [each for each in tags if not each["Key"].startswith("aws:cloudformation:")]}


def refuse_update(kind: str, physical_id: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises ValueError with the handler's message if AWS refuses to update the resource."""
    if kind != "AWS::Lambda::Function":
        return
    named = {**new, "FunctionName": physical_id}
    calls: list[tuple[str, str, Mapping[str, Any]]] = [("lambda", "UpdateFunctionConfiguration", named)]
    if old.get("Code") != new.get("Code"):
        calls.append(("lambda", "UpdateFunctionCode", {**(new.get("Code") or {}), "FunctionName": physical_id}))
    if old.get("ReservedConcurrentExecutions") != new.get("ReservedConcurrentExecutions"):
        calls.append(("lambda", "PutFunctionConcurrency", named))
    _refuse(tuple(calls))


def refuse_deletion(kind: str, physical_id: str, properties: Mapping[str, Any]) -> None:
    """Raises ValueError with the handler's message if AWS refuses to delete the resource."""
    if kind == "AWS::ECR::Repository":
        force = str(properties.get("EmptyOnDelete", False)).lower() == "true"
        _refuse((("ecr", "DeleteRepository", {"repositoryName": physical_id, "force": force}),))


def _creation_calls(kind: str, properties: Mapping[str, Any]) -> _Calls:
    match kind:
        case "AWS::Lambda::Function":
            named = {"FunctionName": "", **properties}
            return ("lambda", "CreateFunction", properties), ("lambda", "PutFunctionConcurrency", named)
        case "AWS::KMS::Alias":
            return (("kms", "CreateAlias", properties),)
        case "AWS::Logs::LogGroup":
            return (("logs", "CreateLogGroup", {"logGroupName": properties.get("LogGroupName", "")}),)
        case "AWS::EC2::VPC":
            return (("ec2", "CreateVpc", properties),)
        case "AWS::EC2::VPCEndpoint":
            return (("ec2", "CreateVpcEndpoint", properties),)
        case "AWS::EC2::Subnet":
            return (("ec2", "CreateSubnet", properties),)
    return ()


_SERVICE_NAMES = {"ecr": "Ecr", "lambda": "Lambda", "kms": "Kms", "logs": "CloudWatchLogs", "ec2": "Ec2"}


def _refuse(calls: _Calls) -> None:
    for service, call, parameters in calls:
        refused = first_refusal(service, call, parameters)
        if refused is not None:
            row, message = refused
            raise ValueError(
                f'Resource handler returned message: "{message} (Service: {_SERVICE_NAMES[service]}, Status Code:'
                f' {row.status}, Request ID: {uuid.uuid4()}) (SDK Attempt Count: 1)" (RequestToken: {uuid.uuid4()},'
                " HandlerErrorCode: InvalidRequest)"
            )


def apply_ignored(kind: str, physical_id: str, properties: Mapping[str, Any]) -> None:
    """Apply the properties that ministack's handlers ignore and that refusals depend on."""
    if kind == "AWS::Lambda::Function" and control_plane.function(physical_id) is not None:
        wanted = properties.get("ReservedConcurrentExecutions")
        record = control_plane.service("lambda_svc")._functions[physical_id]
        record["concurrency"] = None if wanted is None else int(wanted)
    if kind == "AWS::ECR::Repository" and control_plane.repository(physical_id) is not None:
        prefix = "ImageTagMutabilityExclusionFilter"
        control_plane.service("ecr")._repositories[physical_id]["imageTagMutabilityExclusionFilters"] = [
            {"filterType": each[f"{prefix}Type"], "filter": each[f"{prefix}Value"]}
            for each in properties.get(f"{prefix}s") or ()
        ]


def import_repository(identifier: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Adopt a repository: its physical id and attributes."""
    found = control_plane.service("ecr")._repositories[identifier["RepositoryName"]]
    return identifier["RepositoryName"], {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]}


def repository_problem(name: str) -> str | None:
    """The reason why a repository cannot be imported; None if it exists."""
    if control_plane.repository(name) is not None:
        return None
    return importlib.import_module("ministack.services.cloudformation.changesets")._IMPORT_NOT_FOUND.format(  # type: ignore[no-any-return]
        type="AWS::ECR::Repository", value=name
    )
