"""Reserved tags and names, and limited sizes, by service."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict import control_plane
from pipeline.local.emulator.strict.refusal import Fields, Refusal

# Amazon VPC user guide, quotas: the defaults, which AWS raises on request.
VPCS_MAX, GATEWAYS_MAX = 5, 20
STANDARD_PARAMETER_MAX, ADVANCED_PARAMETER_MAX = 4_096, 8_192
EXECUTION_INPUT_MAX = 262_144


_QUERY_TAG = re.compile(r"(?:^|\.)(?:Tags?)(?:\.member)?\.\d+\.Key$")


def tag_keys(parameters: Any) -> list[str]:
    """The keys of every list or map of tags in a request, however the service writes them."""
    found: list[str] = []

    def walk(value: Any, inside: bool) -> None:
        if isinstance(value, Mapping):
            for key in ("Key", "key", "TagKey"):
                if inside and isinstance(value.get(key), str):
                    found.append(value[key])
            keyed = inside and not value.keys() & {"Key", "key", "TagKey"}
            found.extend(key for key in value if keyed)
            for name, each in value.items():
                walk(each, name in ("Tags", "tags", "Tag"))
        elif isinstance(value, list):
            for each in value:
                walk(each, inside)

    walk(parameters, False)
    if isinstance(parameters, Mapping):  # the query protocol: Tags.member.1.Key, TagSpecification.1.Tag.2.Key
        found.extend(str(value) for name, value in parameters.items() if _QUERY_TAG.search(str(name)))
    return found


def _reserved_tag(parameters: Mapping[str, Any]) -> Fields:
    key = next((each for each in tag_keys(parameters) if each.lower().startswith("aws:")), None)
    return {"key": key} if key is not None else None


def _tag_row(service: str, code: str, text: str, *calls: str) -> tuple[Refusal, ...]:
    source = "D Tagging AWS resources user guide, Tag naming limits; 3P"
    return tuple(
        Refusal(service, call, "a tag key that begins with aws:", code, text, source, _reserved_tag) for call in calls
    )


def _large_parameter(tier: str, limit: int) -> Any:
    def applies(parameters: Mapping[str, Any]) -> Fields:
        given = parameters.get("Tier") or "Standard"
        size = len(str(parameters.get("Value", "")).encode())
        return {"limit": limit} if given == tier and size > limit else None

    return applies


def _long_input(parameters: Mapping[str, Any]) -> Fields:
    size = len(str(parameters.get("input", "")).encode())
    return {"limit": EXECUTION_INPUT_MAX} if size > EXECUTION_INPUT_MAX else None


def _reserved_alias(parameters: Mapping[str, Any]) -> Fields:
    return {} if str(parameters.get("AliasName", "")).startswith("alias/aws/") else None


def _reserved_log_group(parameters: Mapping[str, Any]) -> Fields:
    return {} if str(parameters.get("logGroupName", "")).lower().startswith("aws/") else None


def _reserved_bucket(parameters: Mapping[str, Any]) -> Fields:
    name = str(parameters.get("Bucket", ""))
    reserved = name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(
        ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
    )
    return {} if reserved else None


def _prefix(smallest: int, largest: int) -> Any:
    def applies(parameters: Mapping[str, Any]) -> Fields:
        block = str(parameters.get("CidrBlock", ""))
        try:
            length = ipaddress.ip_network(block, strict=False).prefixlen
        except ValueError:
            return None
        return None if largest <= length <= smallest else {"block": block}

    return applies


def _many_vpcs(_parameters: Mapping[str, Any]) -> Fields:
    return {} if control_plane.fresh_account() and control_plane.vpcs() >= VPCS_MAX else None


def _many_gateways(parameters: Mapping[str, Any]) -> Fields:
    gateway = parameters.get("VpcEndpointType", "Gateway") == "Gateway"
    full = control_plane.fresh_account() and control_plane.gateway_endpoints() >= GATEWAYS_MAX
    return {} if gateway and full else None


NAME_REFUSALS = (
    *_tag_row(
        "ecr", "InvalidTagParameterException",
        "Invalid parameter at 'tags' failed to satisfy constraint: 'aws: prefixed tag key names are not allowed for"
        " external use. Key: {key}'",
        "CreateRepository", "TagResource",
    ),
    *_tag_row(
        "lambda", "InvalidParameterValueException",
        "System tags cannot be added/updated by requester: {key}", "CreateFunction", "TagResource",
    ),
    *_tag_row(
        "sqs", "InvalidParameterValue", "Tag keys cannot begin with aws: (case-insensitive): {key}",
        "CreateQueue", "TagQueue",
    ),
    *_tag_row(
        "dynamodb", "ValidationException",
        "One or more parameter values were invalid: Tag keys cannot begin with aws: {key}",
        "CreateTable", "TagResource",
    ),
    *_tag_row(
        "ssm", "ValidationException",
        "Tag key can't begin with aws: as it is reserved for AWS use: {key}", "PutParameter", "AddTagsToResource",
    ),
    *_tag_row(
        "states", "ValidationException", "Tag keys cannot begin with aws: {key}", "CreateStateMachine", "TagResource",
    ),
    *_tag_row(
        "logs", "InvalidParameterException", "Tag keys cannot begin with aws: {key}", "CreateLogGroup", "TagResource",
    ),
    *_tag_row(
        "kms", "TagException", "Tag keys cannot begin with aws: {key}", "CreateKey", "TagResource",
    ),
    *_tag_row(
        "ec2", "InvalidParameterValue",
        "Tag keys starting with 'aws:' are reserved for internal use: {key}", "*",
    ),
    *_tag_row(
        "iam", "InvalidInput", "Tag keys starting with aws: are reserved: {key}", "CreateRole", "TagRole",
    ),
    *_tag_row(
        "sns", "InvalidParameter", "Invalid parameter: Tag keys cannot begin with aws: {key}",
        "CreateTopic", "TagResource",
    ),
    Refusal(
        "ssm", "PutParameter", f"a value of more than {STANDARD_PARAMETER_MAX:,} bytes in the standard tier",
        "ValidationException",
        "Standard tier parameters support a maximum parameter value of {limit} characters. To create a larger parameter"
        " value, upgrade the parameter to use the advanced-parameter tier.",
        "D API_PutParameter", _large_parameter("Standard", STANDARD_PARAMETER_MAX),
    ),
    Refusal(
        "ssm", "PutParameter", f"a value of more than {ADVANCED_PARAMETER_MAX:,} bytes in the advanced tier",
        "ValidationException",
        "Advanced tier parameters support a maximum parameter value of {limit} characters.",
        "D API_PutParameter", _large_parameter("Advanced", ADVANCED_PARAMETER_MAX),
    ),
    *(
        Refusal(
            "states", call, f"an input of more than {EXECUTION_INPUT_MAX:,} bytes", "ValidationException",
            "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length less"
            " than or equal to {limit}",
            "D API_StartSyncExecution; B", _long_input,
        )
        for call in ("StartExecution", "StartSyncExecution")
    ),
    Refusal(
        "kms", "CreateAlias", "an alias that begins with alias/aws/", "NotAuthorizedException",
        "Alias names that begin with alias/aws/ are reserved", "D KMS API_CreateAlias", _reserved_alias,
    ),
    Refusal(
        "logs", "CreateLogGroup", "a name that begins with aws/", "InvalidParameterException",
        "Log groups starting with AWS/ are reserved for AWS.",
        "D CloudWatch Logs API_CreateLogGroup", _reserved_log_group,
    ),
    Refusal(
        "s3", "CreateBucket", "a reserved prefix or suffix", "InvalidBucketName",
        "The specified bucket is not valid.", "D S3 user guide, Bucket naming rules", _reserved_bucket,
    ),
    Refusal(
        "ec2", "CreateVpc", "a network that is not between /16 and /28", "InvalidVpc.Range",
        "The CIDR '{block}' is invalid.", "D VPC user guide, VPC CIDR blocks", _prefix(28, 16),
    ),
    Refusal(
        "ec2", "CreateVpc", f"on a fresh account: there are {VPCS_MAX} VPCs in the region", "VpcLimitExceeded",
        "The maximum number of VPCs has been reached.", "D VPC user guide, quotas; D EC2 API error codes", _many_vpcs,
    ),
    Refusal(
        "ec2", "CreateVpcEndpoint", f"on a fresh account: there are {GATEWAYS_MAX} gateway endpoints in the region",
        "VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.",
        "D VPC user guide, quotas; D EC2 API error codes", _many_gateways,
    ),
    Refusal(
        "ec2", "CreateSubnet", "a network that is not between /16 and /28", "InvalidSubnet.Range",
        "The CIDR '{block}' is invalid.", "D VPC user guide, Subnet sizing", _prefix(28, 16),
    ),
)  # fmt: skip
