"""Services that a function in a VPC is allowed to call but cannot reach from its subnet."""

from __future__ import annotations

from collections.abc import Iterator

from ._endpoints import ENDPOINT, service_of, type_of
from ._policies import grants_of, role_of
from ._template import FUNCTIONS, Finding, Resource, TemplateRule, View, as_dict, as_list, is_true, text

# IAM prefix → endpoint services. Without logs, xray and ecr (Lambda delivers and pulls outside the VPC), kms (called by
# the services that encrypt), ec2 (Lambda creates the interfaces) and iam (no endpoint).
_SERVICES: dict[str, tuple[str, ...]] = {
    "dynamodb": ("dynamodb",),
    "s3": ("s3",),
    "sns": ("sns",),
    "sqs": ("sqs",),
    "states": ("states", "sync-states"),
    "lambda": ("lambda",),
    "events": ("events",),
    "secretsmanager": ("secretsmanager",),
    "ssm": ("ssm",),
    "sts": ("sts",),
    "kinesis": ("kinesis-streams",),
    "firehose": ("kinesis-firehose",),
    "cloudwatch": ("monitoring",),
    "rds-data": ("rds-data",),
    "execute-api": ("execute-api",),
    "athena": ("athena",),
    "glue": ("glue",),
    "batch": ("batch",),
    "codebuild": ("codebuild",),
}
_SYNCHRONOUS = "states:startsyncexecution"
# Calls that Lambda itself makes with a function's role: polling event sources, and delivery to destinations.
_POLLING = frozenset(
    f"{service}:{action}".lower()
    for service, actions in {
        "sqs": "ReceiveMessage DeleteMessage GetQueueAttributes ChangeMessageVisibility GetQueueUrl",
        "kinesis": "DescribeStream DescribeStreamSummary GetRecords GetShardIterator ListShards ListStreams "
        "SubscribeToShard DescribeStreamConsumer",
        "dynamodb": "DescribeStream GetRecords GetShardIterator ListStreams",
    }.items()
    for action in actions.split()
)
_DELIVERY = frozenset({"sns:publish", "sqs:sendmessage", "lambda:invokefunction", "events:putevents", "s3:putobject"})


class ServiceUnreachable(TemplateRule):
    id = "W9543"
    shortdesc = "A function in a VPC is allowed a service that its subnet cannot reach"
    description = (
        "The role of the function allows a service, but its subnet has neither an endpoint for it nor a route through "
        "NAT (a function has no public address, so an internet gateway is not enough): calls hang until the function "
        "times out."
    )
    source_url = "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc-internet.html"
    tags = ("resources", "lambda", "ec2", "vpc")
    concerns = (*FUNCTIONS, "AWS::EC2::*", "AWS::IAM::*", "AWS::Lambda::*")

    def find(self, view: View) -> Iterator[Finding]:
        if not view.is_complete or any(service_of(e) is None for e in view.resources(ENDPOINT)):
            return
        for function in view.resources(*FUNCTIONS):
            config = as_dict(function.get("VpcConfig"))
            subnets = [view.target(s, "AWS::EC2::Subnet") for s in as_list(config.get("SubnetIds"))]
            role = role_of(view, function.get("Role"))
            if not role or not subnets or None in subnets or is_true(config.get("Ipv6AllowedForDualStack")):
                continue
            closed = [subnet for subnet in subnets if subnet and not _has_way_out(view, subnet)]
            for services, action in _called(view, function, role):
                for subnet in closed:
                    if not any(_serves(view, endpoint, subnet, services) for endpoint in view.resources(ENDPOINT)):
                        yield Finding(
                            function.at("VpcConfig"),
                            f"The role allows {action}, but {subnet.id} has no endpoint for {' or '.join(services)} "
                            "and no route through NAT",
                        )
                        break


def _called(view: View, function: Resource, role: Resource) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (endpoint services that the function may need, an action that shows it)."""
    delivers = "DeadLetterConfig" in function.properties or any(
        function.id in config.depends_on for config in view.resources("AWS::Lambda::EventInvokeConfig")
    )
    seen: set[tuple[str, ...]] = set()
    for statement in grants_of(view, role).statements:
        for action in statement.actions:
            lower = action.lower()
            services = _SERVICES.get(lower.partition(":")[0], ())
            if lower in _POLLING or (delivers and lower in _DELIVERY):
                continue
            if services and "states" in services:
                services = ("sync-states",) if lower == _SYNCHRONOUS else services if "*" in lower else ("states",)
            if services and services not in seen:
                seen.add(services)
                yield services, action


def _route_table(view: View, subnet: Resource) -> str | None:
    """The route table of a subnet; "" for the main one of the VPC; None if unknown."""
    if not view.target(subnet.get("VpcId"), "AWS::EC2::VPC"):
        return None
    found = ""
    for association in view.resources("AWS::EC2::SubnetRouteTableAssociation"):
        target = view.target(association.get("SubnetId"))
        if target is None:
            return None
        if target == subnet:
            found = text(association.get("RouteTableId"))
    return found


def _has_way_out(view: View, subnet: Resource) -> bool:
    """Whether the subnet may have a route through NAT; True if unknown."""
    table = _route_table(view, subnet)
    if table is None or (table and not view.target(table, "AWS::EC2::RouteTable")):
        return True
    for route in view.resources("AWS::EC2::Route"):
        owner = route.get("RouteTableId")
        if not view.target(owner, "AWS::EC2::RouteTable"):
            return True
        is_public = view.target(route.get("GatewayId"), "AWS::EC2::InternetGateway") is not None
        if owner == table and not is_public:
            return True
    return False


def _serves(view: View, endpoint: Resource, subnet: Resource, services: tuple[str, ...]) -> bool:
    if service_of(endpoint) not in services or endpoint.get("VpcId") != subnet.get("VpcId"):
        return False
    if type_of(endpoint) != "Gateway":
        return True  # private DNS serves the whole VPC
    tables = endpoint.get("RouteTableIds")
    if not isinstance(tables, list):
        return isinstance(tables, str)  # unknown, or absent
    return _route_table(view, subnet) in tables or any(view.target(t) is None for t in tables)
