"""The network of the pipeline stack: private subnets that reach only the endpoints of called services."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from troposphere import And, Equals, GetAZs, If, Not, NoValue, Parameter, Ref, Select, Split, Sub, Tags, Template, ec2

from cfn.calls import GATEWAY_SERVICES, calls_by_endpoint, interface_endpoints
from cfn.names import DYNAMODB_PREFIX_LIST, S3_PREFIX_LIST, ZONES, Names, pascal_case
from cfn.problems import SettingsError
from cfn.settings import Call, FunctionDefinition, Settings
from cfn.statements import call_statements, resource_arn

_KNOWS_PREFIX_LISTS, _KNOWS_ZONES = "KnowsPrefixLists", "KnowsZones"

SUBNET_MIN_ADDRESSES = 16  # Amazon VPC user guide: a subnet is a /28 or larger


@dataclass(frozen=True, slots=True)
class Network:
    """The network of functions: references to the subnets and security groups, or ids of existing ones.

    vpc  None for an existing one
    """

    vpc: Any | None
    subnets: tuple[Any, ...]
    security_groups: tuple[Any, ...]


def subnet_blocks(settings: Settings) -> list[str]:
    """One address block per zone, of equal size. Raises SettingsError for a block that cannot be split so."""
    what = f"the network of {settings.environment} cannot be made"
    try:
        block = ipaddress.IPv4Network(settings.vpc_cidr)
    except ValueError as problem:
        raise SettingsError(what, f"vpc_cidr is {settings.vpc_cidr!r}: {problem}", "Write 10.20.0.0/20.") from problem
    if not 16 <= block.prefixlen <= 28:
        raise SettingsError(what, f"vpc_cidr is {block} and a VPC is a /16 to a /28", "Write 10.20.0.0/20.")
    if not 1 <= settings.zones <= 6:
        raise SettingsError(what, f"zones is {settings.zones} and a region has 1 to 6", "Write 3.")
    bits = (settings.zones - 1).bit_length()
    if block.num_addresses >> bits < SUBNET_MIN_ADDRESSES:
        raise SettingsError(
            what, f"{block} has no room for {settings.zones} subnets of at least a /28", "Give a larger vpc_cidr."
        )
    return [str(subnet) for subnet in list(block.subnets(prefixlen_diff=bits))[: settings.zones]]


def add_network(
    template: Template,
    settings: Settings,
    names: Names,
    functions: Sequence[FunctionDefinition],
    *,
    outliving: Sequence[str] = (),
) -> Network | None:
    """Add the VPC, its subnets, security groups and endpoints; None, and nothing, if no function runs in a VPC.

    Where the settings name an existing network, nothing is added either.

    outliving  logical ids of what must still be there while the network is deleted: Lambda frees a function's network
               interfaces with the function's own role, some minutes after the function is gone, and only then can
               their security group go (Lambda guide, "Understanding Hyperplane ENIs")
    """
    functions = [function for function in functions if settings.in_vpc(function)]
    if not functions and not settings.has_transactions:
        return None
    if settings.subnets:
        return Network(None, settings.subnets, settings.security_groups)
    blocks = subnet_blocks(settings)
    vpc = template.add_resource(
        ec2.VPC(
            "Vpc",
            CidrBlock=settings.vpc_cidr,
            # Both are needed for the private DNS of the interface endpoints.
            EnableDnsSupport=True,
            EnableDnsHostnames=True,
            Tags=Tags(Name=names.pipeline_stack),
        )
    )
    # One table for all: there is no NAT and no internet gateway, so nothing differs between the zones.
    routes = template.add_resource(ec2.RouteTable("PrivateRoutes", VpcId=Ref(vpc)))
    zones = _add_zones(template)
    subnets = []
    for number, block in enumerate(blocks, start=1):
        subnet = template.add_resource(
            ec2.Subnet(
                f"PrivateSubnet{number}",
                VpcId=Ref(vpc),
                CidrBlock=block,
                AvailabilityZone=Select(number - 1, zones),
                MapPublicIpOnLaunch=False,
                Tags=Tags(Name=f"{names.pipeline_stack}-private-{number}"),
            )
        )
        template.add_resource(
            ec2.SubnetRouteTableAssociation(
                f"PrivateSubnet{number}Routes", SubnetId=Ref(subnet), RouteTableId=Ref(routes)
            )
        )
        subnets.append(subnet)
    calls = calls_by_endpoint(settings, functions)
    interfaces = {service: calls[service] for service in interface_endpoints(settings, functions)}
    group = _add_functions_group(template, settings, vpc, outliving, interfaces=bool(interfaces))
    _add_gateways(template, settings, names, calls, vpc, routes)
    if interfaces:
        _add_interfaces(template, names, interfaces, vpc, subnets, group)
    return Network(Ref(vpc), tuple(Ref(subnet) for subnet in subnets), (Ref(group),))


def _add_zones(template: Template) -> Any:
    """The parameter with the zones, which ``pipeline.environment.zones`` chooses. Empty: the region's first ones, of
    which Lambda or an endpoint may not support each."""
    template.add_parameter(
        Parameter(ZONES, Type="String", Default="", Description="As eu-west-1a,eu-west-1b. Empty: the first ones")
    )
    template.add_condition(_KNOWS_ZONES, Not(Equals(Ref(ZONES), "")))
    return If(_KNOWS_ZONES, Split(",", Ref(ZONES)), GetAZs())


def _add_functions_group(
    template: Template, settings: Settings, vpc: Any, outliving: Sequence[str], *, interfaces: bool
) -> Any:
    for name, service in ((DYNAMODB_PREFIX_LIST, "DynamoDB"), (S3_PREFIX_LIST, "S3")):
        template.add_parameter(
            Parameter(
                name,
                Type="String",
                Default="",
                AllowedPattern="^(pl-[0-9a-f]{8,17})?$",
                # CloudFormation has no attribute for it (DescribeManagedPrefixLists finds it).
                Description=f"Prefix list of {service}. Empty: egress to any address",
            )
        )
    template.add_condition(
        _KNOWS_PREFIX_LISTS, And(*(Not(Equals(Ref(name), "")) for name in (DYNAMODB_PREFIX_LIST, S3_PREFIX_LIST)))
    )

    def https(description: str, **destination: Any) -> ec2.SecurityGroupRule:
        return ec2.SecurityGroupRule(IpProtocol="tcp", FromPort=443, ToPort=443, Description=description, **destination)

    return template.add_resource(
        ec2.SecurityGroup(
            "FunctionsSecurityGroup",
            GroupDescription="Functions: HTTPS to AWS endpoints, nothing in",
            VpcId=Ref(vpc),
            SecurityGroupEgress=[
                # By address: the endpoints' group names this one, and naming it here as well would be a circle.
                *(
                    [https("HTTPS to the interface endpoints in this VPC", CidrIp=settings.vpc_cidr)]
                    if interfaces
                    else []
                ),
                If(
                    _KNOWS_PREFIX_LISTS,
                    https("HTTPS to DynamoDB", DestinationPrefixListId=Ref(DYNAMODB_PREFIX_LIST)),
                    # Without a route to the internet only the gateway endpoints are reached this way.
                    https("HTTPS to the gateway endpoints", CidrIp="0.0.0.0/0"),
                ),
                If(
                    _KNOWS_PREFIX_LISTS,
                    https("HTTPS to S3", DestinationPrefixListId=Ref(S3_PREFIX_LIST)),
                    NoValue,
                ),
            ],
            **({"DependsOn": list(outliving)} if outliving else {}),
        )
    )


def _add_gateways(
    template: Template, settings: Settings, names: Names, calls: Mapping[str, tuple[Call, ...]], vpc: Any, routes: Any
) -> None:
    """The endpoints of DynamoDB and S3, which cost nothing."""
    for service in GATEWAY_SERVICES:
        template.add_resource(
            ec2.VPCEndpoint(
                f"{pascal_case(service)}Endpoint",
                VpcEndpointType="Gateway",
                VpcId=Ref(vpc),
                ServiceName=Sub(f"com.amazonaws.${{AWS::Region}}.{service}"),
                RouteTableIds=[Ref(routes)],
                PolicyDocument=_gateway_policy(names, service, calls)
                if settings.has_transactions
                # An endpoint allows only what the roles of the functions allow.
                else _policy([{"Effect": "Allow", "Action": f"{service}:*", "Resource": "*"}]),
            )
        )


def _add_interfaces(
    template: Template,
    names: Names,
    interfaces: Mapping[str, tuple[Call, ...]],
    vpc: Any,
    subnets: Sequence[Any],
    functions_group: Any,
) -> None:
    group = template.add_resource(
        ec2.SecurityGroup(
            "EndpointsSecurityGroup",
            GroupDescription="Interface endpoints: HTTPS from the functions",
            VpcId=Ref(vpc),
            SecurityGroupIngress=[
                ec2.SecurityGroupRule(
                    IpProtocol="tcp",
                    FromPort=443,
                    ToPort=443,
                    Description="HTTPS from the functions",
                    SourceSecurityGroupId=Ref(functions_group),
                )
            ],
            # Endpoints only answer. A group without egress rules would get one that allows everything.
            SecurityGroupEgress=[
                ec2.SecurityGroupRule(
                    IpProtocol="tcp",
                    FromPort=443,
                    ToPort=443,
                    Description="Nothing leaves: no host has this address",
                    CidrIp="127.0.0.1/32",
                )
            ],
        )
    )
    for service, made in interfaces.items():
        template.add_resource(
            ec2.VPCEndpoint(
                f"{pascal_case(service)}Endpoint",
                # CloudFormation's defaults would make a gateway without private DNS.
                VpcEndpointType="Interface",
                PrivateDnsEnabled=True,
                VpcId=Ref(vpc),
                ServiceName=Sub(f"com.amazonaws.${{AWS::Region}}.{service}"),
                SubnetIds=[Ref(subnet) for subnet in subnets],
                SecurityGroupIds=[Ref(group)],
                PolicyDocument=_policy(call_statements(names, made)),
            )
        )


def _gateway_policy(names: Names, service: str, calls: Mapping[str, tuple[Call, ...]]) -> dict[str, Any]:
    if service == "s3":
        # The one bucket of a region where ECR keeps layers (Amazon ECR user guide, "VPC endpoints"). Reads of it are
        # signed by ECR, so no principal of this account could be asked for.
        bucket = Sub("arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket/*")
        return {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": bucket}],
        }
    if service in calls:
        return _policy(call_statements(names, calls[service]))
    # A policy needs a statement, and without one everything would be allowed.
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": f"{service}:*",
                "Resource": resource_arn(names, "state-table"),
            }
        ],
    }


def _policy(statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same permissions as the callers' roles have, for principals of this account only."""
    own_account = {"StringEquals": {"aws:PrincipalAccount": Ref("AWS::AccountId")}}
    return {
        "Version": "2012-10-17",
        "Statement": [{**statement, "Principal": "*", "Condition": own_account} for statement in statements],
    }
