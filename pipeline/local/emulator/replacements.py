"""Which changes replace a resource, for the types that ministack does not know: it calls every change of one a maybe.

A change set would then say that a log group may be replaced because it is kept for another number of days, and `up`
would ask before it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

# ``createOnlyProperties`` of the resource schemas, as far as they are properties of the resource itself; a test holds
# them against the schemas.
CREATE_ONLY: Mapping[str, tuple[str, ...]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName",),
    "AWS::CodeDeploy::Application": ("ApplicationName", "ComputePlatform"),
    "AWS::CodeDeploy::DeploymentGroup": ("ApplicationName", "DeploymentGroupName"),
    "AWS::EC2::RouteTable": ("VpcId",),
    "AWS::EC2::SecurityGroup": ("GroupDescription", "GroupName", "VpcId"),
    "AWS::EC2::Subnet": (
        "AvailabilityZone", "AvailabilityZoneId", "CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "Ipv6IpamPoolId",
        "Ipv6Native", "Ipv6NetmaskLength", "OutpostArn", "VpcId",
    ),
    "AWS::EC2::SubnetRouteTableAssociation": ("RouteTableId", "SubnetId"),
    "AWS::EC2::VPC": ("CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "VpcEncryptionControl"),
    "AWS::EC2::VPCEndpoint": (
        "ResourceConfigurationArn", "ServiceName", "ServiceNetworkArn", "ServiceRegion", "VpcEndpointType", "VpcId",
    ),
    "AWS::KMS::Alias": ("AliasName",),
    "AWS::KMS::Key": (),
    "AWS::Lambda::Alias": ("FunctionName", "Name"),
    "AWS::Lambda::Version": (
        "CodeSha256", "Description", "FunctionName", "ProvisionedConcurrencyConfig", "RuntimePolicy",
    ),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::SNS::TopicPolicy": (),
    "AWS::SQS::QueuePolicy": (),
}  # fmt: skip


def know_replacements() -> None:
    """Tell ministack, but for types that it knows by now. Loads its CloudFormation."""
    provisioners: Any = importlib.import_module("ministack.services.cloudformation.provisioners")
    for kind, names in CREATE_ONLY.items():
        provisioners._REPLACING_PROPERTIES.setdefault(kind, names)
