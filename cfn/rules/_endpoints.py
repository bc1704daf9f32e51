"""VPC endpoints of the wrong type, or that cannot be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ._template import Finding, Resource, TemplateRule, View, as_list, is_known, is_true, text
from ._traffic import admits, ingress_rules

ENDPOINT = "AWS::EC2::VPCEndpoint"
# The only services with gateway endpoints (AWS: "Gateway endpoints"; "Networking for directory buckets").
GATEWAY_SERVICES = frozenset({"s3", "dynamodb", "s3express"})
_SERVICE = re.compile(r"(?:cn\.)?com\.amazonaws\.([a-z0-9-]+|\$\{[^}]*\})\.([a-z0-9][a-z0-9.-]*)")
_SOURCE = "https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html"


def service_of(endpoint: Resource) -> str | None:
    """``com.amazonaws.us-east-1.ecr.api`` → ``ecr.api``; None for services of other vendors and unknown names."""
    match = _SERVICE.fullmatch(text(endpoint.get("ServiceName")))
    return match[2] if match and match[1] != "vpce" else None


def type_of(endpoint: Resource) -> str | None:
    kind = endpoint.get("VpcEndpointType")
    if kind is None:
        return "Gateway"
    return kind if isinstance(kind, str) and is_known(kind) else None


class EndpointTypeUnsupported(TemplateRule):
    id = "E9540"
    shortdesc = "A VPC endpoint of a type that its service does not offer"
    description = (
        "Gateway endpoints, the default of VpcEndpointType, exist only for S3 and DynamoDB; every other service needs "
        "Interface. Route tables belong to Gateway; subnets, security groups and private DNS to Interface. DynamoDB "
        "does not offer private DNS."
    )
    source_url = _SOURCE
    tags = ("resources", "ec2", "vpc")
    concerns = (ENDPOINT,)

    def find(self, view: View) -> Iterator[Finding]:
        for endpoint in view.resources(ENDPOINT):
            service, kind = service_of(endpoint), type_of(endpoint)
            if service is None or kind not in ("Gateway", "Interface"):
                continue
            if kind == "Gateway" and service not in GATEWAY_SERVICES:
                default = " (the default)" if endpoint.get("VpcEndpointType") is None else ""
                where = endpoint.at("ServiceName" if default else "VpcEndpointType")
                yield Finding(where, f"There is no Gateway{default} endpoint for {service}: set Interface")
                continue
            if kind == "Interface" and service == "dynamodb" and is_true(endpoint.get("PrivateDnsEnabled")):
                yield Finding(endpoint.at("PrivateDnsEnabled"), "The endpoint of dynamodb does not offer private DNS")
            wrong = ("SubnetIds", "SecurityGroupIds") if kind == "Gateway" else ("RouteTableIds",)
            for name in wrong:
                if as_list(endpoint.get(name)):
                    yield Finding(endpoint.at(name), f"{name} cannot be set for the type {kind}")


class EndpointWithoutPrivateDns(TemplateRule):
    id = "W9541"
    shortdesc = "An interface endpoint without private DNS"
    description = (
        "PrivateDnsEnabled is false by default: the service's name still resolves to public addresses, so a function "
        "without a route to the internet hangs. DynamoDB's interface endpoint never has private DNS and does not exist "
        "in every region ('Interface VPC Endpoint is not supported'): use a Gateway endpoint."
    )
    source_url = "https://docs.aws.amazon.com/vpc/latest/privatelink/manage-dns-names.html"
    tags = ("resources", "ec2", "vpc")
    concerns = (ENDPOINT,)

    def find(self, view: View) -> Iterator[Finding]:
        gateways = {(service_of(e), text(e.get("VpcId"))) for e in view.resources(ENDPOINT) if type_of(e) == "Gateway"}
        for endpoint in view.resources(ENDPOINT):
            service = service_of(endpoint)
            # Next to a gateway endpoint of the same VPC, an interface endpoint serves other networks.
            if (
                type_of(endpoint) != "Interface"
                or service is None
                or (service, text(endpoint.get("VpcId"))) in gateways
            ):
                continue
            if service == "dynamodb":
                message = "An interface endpoint for dynamodb has no private DNS: use a Gateway endpoint"
                yield Finding(endpoint.at("VpcEndpointType"), message)
            elif text(endpoint.get("PrivateDnsEnabled")).lower() in ("", "false"):
                message = f"Without PrivateDnsEnabled, clients of {service} do not use this endpoint"
                yield Finding(endpoint.at("PrivateDnsEnabled"), message)


class EndpointWithoutIngress(TemplateRule):
    id = "E9542"
    shortdesc = "An interface endpoint whose security groups allow no ingress on port 443"
    description = (
        "The security groups of the endpoint must allow HTTPS. With a group that has no ingress, such as that of the "
        "functions, every call to the endpoint times out."
    )
    source_url = "https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html"
    tags = ("resources", "ec2", "vpc")
    concerns = (ENDPOINT, "AWS::EC2::SecurityGroup*")

    def find(self, view: View) -> Iterator[Finding]:
        for endpoint in view.resources(ENDPOINT):
            groups = [view.target(g, "AWS::EC2::SecurityGroup") for g in as_list(endpoint.get("SecurityGroupIds"))]
            if type_of(endpoint) != "Interface" or not groups or None in groups or not view.is_complete:
                continue
            rules = [ingress_rules(view, group) for group in groups if group]
            if all(found is not None and not any(admits(rule, 443) for rule in found) for found in rules):
                names = ", ".join(group.id for group in groups if group)
                message = f"{names} allows no ingress on port 443, so this endpoint cannot be reached"
                yield Finding(endpoint.at("SecurityGroupIds"), message)
