"""Checks of what the region offers: zones, endpoint services and prefix lists."""

from __future__ import annotations

from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, combine, error, ok, unknown, warning
from pipeline.environment.parameters import read_prefix_lists
from pipeline.environment.zones import read_zones


def check_zones(situation: Situation) -> Verdict:
    """The region has enough zones in which Lambda and every interface endpoint of the template can be used."""
    if situation.target.is_local:
        return ok("the embedded AWS does not attach its functions to a network")
    region, wanted = situation.target.region, situation.settings.zones
    services = [
        _service_name(properties["ServiceName"], region)
        for _, _, properties in situation.resources("AWS::EC2::VPCEndpoint")
        if properties["VpcEndpointType"] == "Interface"
    ]
    found = read_zones(situation.client("ec2"), services)
    but = "".join(f"; not {name}: {why}" for name, why in found.refused.items())
    said = f"{region} has {len(found.fitting)} zones for Lambda and the endpoints"
    if len(found.fitting) >= wanted:
        return ok(f"{said}, and {wanted} are used{but}")
    return error(
        f"{said}, but the settings ask for {wanted}{but}",
        f"Set zones = {len(found.fitting)}, or use another region.",
    )


def check_endpoint_services(situation: Situation) -> Verdict:
    """The region offers each endpoint service of the template, in the wanted type.

    Otherwise creation fails with "Interface VPC Endpoint is not supported for …", or the service does not exist.
    """
    wanted = {
        _service_name(properties["ServiceName"], situation.target.region): properties["VpcEndpointType"]
        for _, _, properties in situation.resources("AWS::EC2::VPCEndpoint")
    }
    if not wanted:
        return ok("the template has no endpoint")
    if situation.target.is_local:
        return unknown("the embedded AWS does not know the endpoint services of a region")
    # A filter instead of ServiceNames, which fails for all names if one does not exist.
    pages = (
        situation.client("ec2")
        .get_paginator("describe_vpc_endpoint_services")
        .paginate(Filters=[{"Name": "service-name", "Values": sorted(wanted)}])
    )
    offered: dict[str, set[str]] = {}
    for page in pages:
        for detail in page["ServiceDetails"]:
            types = {each["ServiceType"] for each in detail.get("ServiceType", [])}
            offered.setdefault(detail["ServiceName"], set()).update(types)
    return combine((_judge(name, kind, offered.get(name)) for name, kind in sorted(wanted.items())), "")


def _judge(name: str, kind: str, offered: set[str] | None) -> Verdict:
    if offered is None:
        return error(f"the region has no endpoint service {name}", "Use a region that offers it.")
    if kind in offered:
        return ok(f"{name}: {kind}")
    return error(
        f"{name} is offered as {', '.join(sorted(offered))}, but the template needs {kind}",
        "Use a region that offers it, or remove the call from function.toml that needs it.",
    )


def _service_name(value: object, region: str) -> str:
    text = value["Fn::Sub"] if isinstance(value, dict) else value
    return str(text).replace("${AWS::Region}", region)


def check_prefix_lists(situation: Situation) -> Verdict:
    """The prefix lists of DynamoDB and S3 can be read, so egress can be restricted to them."""
    region = situation.target.region
    found = read_prefix_lists(situation.client("ec2"), region)
    missing = sorted(name for name, value in found.items() if not value)
    if not missing:
        return ok(", ".join(f"{name} {value}" for name, value in sorted(found.items())))
    return warning(
        f"no prefix list was found for {', '.join(missing)}",
        "Egress then allows HTTPS to any address, though only the endpoints are routed. Allow"
        " ec2:DescribeManagedPrefixLists.",
    )
