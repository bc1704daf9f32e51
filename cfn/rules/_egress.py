"""Egress that is wider than what the traffic needs, or that does not say what it is for."""

from __future__ import annotations

from collections.abc import Iterator

from ._endpoints import ENDPOINT, type_of
from ._template import FUNCTIONS, Finding, Resource, TemplateRule, View, text
from ._traffic import GROUP, TrafficRule, egress_rules, functions_groups

_SOURCE = "https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html"
_TAGS = ("resources", "ec2", "vpc", "security")
_CONCERNS = (*FUNCTIONS, "AWS::EC2::*")


def _all_rules(view: View) -> Iterator[tuple[Resource | None, TrafficRule]]:
    told = set()
    for group in view.resources(GROUP):
        for rule in egress_rules(view, group) or []:
            told.add(tuple(rule.path))
            yield group, rule
    for resource in view.resources("AWS::EC2::SecurityGroupEgress"):
        if tuple(resource.path) not in told:
            yield None, TrafficRule(resource.properties, resource.path)


class EgressOpen(TemplateRule):
    id = "W9600"
    shortdesc = "Egress to everywhere on all ports or protocols"
    description = (
        "A rule to 0.0.0.0/0 or ::/0 for every protocol or a range of ports, or a function's security group without "
        "SecurityGroupEgress, for which EC2 allows everything."
    )
    source_url = _SOURCE
    tags = _TAGS
    concerns = _CONCERNS

    def find(self, view: View) -> Iterator[Finding]:
        for _, rule in _all_rules(view):
            ports = rule.ports
            if rule.is_for_everyone and (rule.covers_all_protocols or (ports and ports[0] != ports[1])):
                what = f"ports {ports[0]} to {ports[1]}" if ports else "every protocol"
                yield Finding(rule.path, f"Egress to everywhere for {what}: name the one port that is needed")
        told = set()
        for function, group in functions_groups(view, view.resources(*FUNCTIONS)):
            if view.is_complete and group.id not in told and egress_rules(view, group) == []:
                told.add(group.id)
                if "SecurityGroupEgress" not in group.properties:
                    message = f"{group.id} of {function.id} has no SecurityGroupEgress, so EC2 allows all egress"
                    yield Finding(group.path, message)


class EgressWithoutDescription(TemplateRule):
    id = "W9601"
    shortdesc = "An egress rule that does not say what it is for"
    description = "A rule without Description cannot be reviewed: nobody knows what breaks when it goes."
    source_url = _SOURCE
    tags = _TAGS
    concerns = _CONCERNS

    def find(self, view: View) -> Iterator[Finding]:
        for _, rule in _all_rules(view):
            if not rule.body.get("Description"):
                yield Finding(rule.path, "The egress rule has no Description")


class EgressWiderThanEndpoint(TemplateRule):
    id = "W9602"
    shortdesc = "Egress to everywhere where a prefix list or a security group would do"
    description = (
        "The VPC has endpoints and no NAT, so all that the rule can reach is behind them: a gateway endpoint is named "
        "by its DestinationPrefixListId, an interface endpoint by its security group (DestinationSecurityGroupId). A "
        "rule that falls back to a CIDR block where no prefix list is given is accepted."
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
                told = " or ".join(cures[k] for k in ("Gateway", "Interface") if k in kinds)
                if told:
                    yield view, Finding(rule.path, f"Egress to everywhere, in a VPC with endpoints only: use {told}")


def _has_nat(view: View, vpc: str) -> bool:
    """Whether the VPC may have a way out; also when it is not made here."""
    return view.target(vpc, "AWS::EC2::VPC") is None or bool(
        view.resources("AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::TransitGatewayAttachment")
    )
