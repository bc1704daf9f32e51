"""Which changes replace a resource, for types that ministack does not know.

ministack reports every change of such a type as a conditional replacement, so a change set would report that a new
retention may replace a log group, and `up` would ask for approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

# ``createOnlyProperties`` of the resource schemas, as far as they are properties of the resource itself; a test
# compares them with the schemas.
CREATE_ONLY: Mapping[str, tuple[str, ...]] = {
    "AWS::ApiGatewayV2::Api": ("ProtocolType",),
    "AWS::ApiGatewayV2::Integration": ("ApiId",),
    "AWS::ApiGatewayV2::Route": ("ApiId",),
    "AWS::ApiGatewayV2::Stage": ("ApiId", "StageName"),
    "AWS::CloudWatch::Alarm": ("AlarmName",),
    "AWS::CloudWatch::Dashboard": ("DashboardName",),
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
    "AWS::Lambda::EventSourceMapping": (
        "EventSourceArn", "SelfManagedEventSource", "StartingPosition", "StartingPositionTimestamp",
    ),
    "AWS::Lambda::Permission": (
        "Action", "EventSourceToken", "FunctionName", "FunctionUrlAuthType", "InvokedViaFunctionUrl", "Principal",
        "PrincipalOrgID", "SourceAccount", "SourceArn",
    ),
    "AWS::Lambda::Version": (
        "CodeSha256", "Description", "FunctionName", "ProvisionedConcurrencyConfig", "RuntimePolicy",
    ),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::Logs::MetricFilter": ("FilterName", "LogGroupName"),
    "AWS::SNS::Subscription": ("Endpoint", "Protocol", "TopicArn"),
    "AWS::SNS::TopicPolicy": (),
    "AWS::SQS::QueuePolicy": (),
    "AWS::Scheduler::Schedule": ("Name",),
    "AWS::SecretsManager::Secret": ("Name",),
}  # fmt: skip


def _add_types(known: dict[str, tuple[str, ...]], _module: Any) -> dict[str, tuple[str, ...]]:
    return {**known, **CREATE_ONLY}


REPLACEMENTS = (
    Patch(
        "services.cloudformation.provisioners:_REPLACING_PROPERTIES",
        "c3475cb5af6712d8",
        "lacks types: every change of one is described as a conditional replacement",
        "a change to a create-only property replaces the resource, any other does not",
        "S createOnlyProperties; D API_ResourceTargetDefinition, RequiresRecreation",
        _add_types,
    ),
)
