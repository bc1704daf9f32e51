"""Egress rules that are wider than needed or undocumented."""

from __future__ import annotations

from collections.abc import Iterator

from ._endpoints import ENDPOINT, type_of
from ._template import FUNCTIONS, Finding, Resource, TemplateRule, View, text
from ._traffic import GROUP, TrafficRule, egress_rules, functions_groups

_SOURCE = "https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html"
_TAGS = ("resources", "ec2", "vpc", "security")
_CONCERNS = (*FUNCTIONS, "AWS::EC2::*")


def _all_rules(view: View) -> Iterator[tuple[Resource | None, TrafficRule]]:
    seen = set()
    for group in view.resources(GROUP):
        for rule in egress_rules(view, group) or []:
            seen.add(tuple(rule.path))
            yield group, rule
    for resource in view.resources("AWS::EC2::SecurityGroupEgress"):
        if tuple(resource.path) not in seen:
            yield None, TrafficRule(resource.properties, resource.path)


class EgressOpen(TemplateRule):
    id = "W9600"
    shortdesc = "Egress to anywhere on all ports or protocols"
    description = (
        "A rule to 0.0.0.0/0 or ::/0 for every protocol or a range of ports, or a function's security group without "
        "SecurityGroupEgress, for which EC2 allows all egress."
    )
    source_url = _SOURCE
    tags = _TAGS
    concerns = _CONCERNS

    def find(self, view: View) -> Iterator[Finding]:
        for _, rule in _all_rules(view):
            ports = rule.ports
            if rule.is_for_everyone and (rule.covers_all_protocols or (ports and ports[0] != ports[1])):
                what = f"ports {ports[0]} to {ports[1]}" if ports else "every protocol"
                yield Finding(rule.path, f"Egress to anywhere for {what}: restrict it to the port that is needed")
        reported = set()
        for function, group in functions_groups(view, view.resources(*FUNCTIONS)):
            if view.is_complete and group.id not in reported and egress_rules(view, group) == []:
                reported.add(group.id)
                if "SecurityGroupEgress" not in group.properties:
                    message = f"{group.id} of {function.id} has no SecurityGroupEgress, so EC2 allows all egress"
                    yield Finding(group.path, message)


class EgressWithoutDescription(TemplateRule):
    id = "W9601"
    shortdesc = "An egress rule without a description"
    description = "Without a Description a reviewer cannot know what depends on the rule."
    source_url = _SOURCE
    tags = _TAGS
    concerns = _CONCERNS

    def find(self, view: View) -> Iterator[Finding]:
        for _, rule in _all_rules(view):
            if not rule.body.get("Description"):
                yield Finding(rule.path, "The egress rule has no Description")


class EgressWiderThanEndpoint(TemplateRule):
    id = "W9602"
    shortdesc = "Egress to anywhere where a prefix list or a security group is enough"
    description = (
        "The VPC has endpoints and no NAT, so the rule can reach only these: use the prefix list of a gateway endpoint "
        "(DestinationPrefixListId) and the security group of an interface endpoint (DestinationSecurityGroupId). A "
        "CIDR block as a fallback for a missing prefix list is accepted."
    )
    source_url = "https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html"
    tags = _TAGS
    concerns = _CONCERNS

    def find_all(self, seen: list[View]) -> Iterator[tuple[View, Finding]]:
        by_prefix_list = {
            group.id if group else ""
            for view in seen
            for group, rule in _all_rules(view)
            if rule.body.get("DestinationPrefixListId")
        }
        for view in seen:
            for group, rule in _all_rules(view):
                ports = rule.ports
                if not group or not rule.is_for_everyone or not ports or ports[0] != ports[1]:
                    continue
                vpc = group.get("VpcId")
                kinds = {type_of(e) for e in view.resources(ENDPOINT) if vpc and e.get("VpcId") == vpc}
                if not kinds or group.id in by_prefix_list or _has_nat(view, text(vpc)):
                    continue
                cures = {"Gateway": "DestinationPrefixListId", "Interface": "DestinationSecurityGroupId"}
                cure = " or ".join(cures[k] for k in ("Gateway", "Interface") if k in kinds)
                if cure:
                    yield view, Finding(rule.path, f"Egress to anywhere in a VPC that has only endpoints: use {cure}")


def _has_nat(view: View, vpc: str) -> bool:
    """Whether the VPC may have a route to the internet; True if the template does not create it."""
    return view.target(vpc, "AWS::EC2::VPC") is None or bool(
        view.resources("AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::TransitGatewayAttachment")
    )
