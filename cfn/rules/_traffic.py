"""Rules of security groups, both inline and as separate resources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._template import Resource, View, as_list, is_known, number, text

GROUP = "AWS::EC2::SecurityGroup"
_EVERYONE = frozenset({"0.0.0.0/0", "::/0"})


@dataclass(frozen=True)
class TrafficRule:
    body: dict[str, Any]
    path: list[str | int]

    @property
    def is_for_everyone(self) -> bool:
        return bool({text(self.body.get("CidrIp")), text(self.body.get("CidrIpv6"))} & _EVERYONE)

    @property
    def covers_all_protocols(self) -> bool:
        return text(self.body.get("IpProtocol")) in ("-1", "all")

    @property
    def ports(self) -> tuple[int, int] | None:
        """(first, last); None if unknown or if the protocol has no ports."""
        low, high = number(self.body.get("FromPort")), number(self.body.get("ToPort"))
        if text(self.body.get("IpProtocol")).lower() not in ("tcp", "udp", "6", "17") or low is None or high is None:
            return None
        return (0, 65535) if low == -1 else (low, high)


def admits(rule: TrafficRule, port: int) -> bool:
    """Whether a rule may allow TCP on a port; True if unknown."""
    protocol = text(rule.body.get("IpProtocol")).lower()
    if protocol not in ("tcp", "6"):
        return protocol not in ("udp", "17", "icmp", "1", "icmpv6", "58")
    ports = rule.ports
    return ports is None or ports[0] <= port <= ports[1]


def ingress_rules(view: View, group: Resource) -> list[TrafficRule] | None:
    return _rules(view, group, "SecurityGroupIngress")


def egress_rules(view: View, group: Resource) -> list[TrafficRule] | None:
    return _rules(view, group, "SecurityGroupEgress")


def _rules(view: View, group: Resource, name: str) -> list[TrafficRule] | None:
    """The rules of a group; None if there may be rules that the template does not show."""
    inline = group.get(name)
    if inline is not None and not isinstance(inline, list):
        return None
    found = []
    for i, rule in enumerate(as_list(inline)):
        if not isinstance(rule, dict):
            return None
        found.append(TrafficRule(rule, group.at(name, i)))
    for resource in view.resources(f"AWS::EC2::{name}"):
        owner = resource.get("GroupId") or resource.get("GroupName")
        if view.named(owner, "GroupName", GROUP) == group:
            found.append(TrafficRule(resource.properties, resource.path))
        elif not is_known(owner) and view.target(owner) is None:
            return None
    return found


def functions_groups(view: View, functions: list[Resource]) -> Iterator[tuple[Resource, Resource]]:
    """Yield each function with each of its security groups in the template."""
    for function in functions:
        config = function.get("VpcConfig")
        for value in as_list(config.get("SecurityGroupIds")) if isinstance(config, dict) else []:
            group = view.target(value, GROUP)
            if group:
                yield function, group
