"""What the region offers to the network of the pipeline stack."""

from __future__ import annotations

from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import Verdict, error, ok, together, unknown, warning
from pipeline.environment.parameters import read_prefix_lists


def check_zones(situation: Situation) -> Verdict:
    """The region has as many zones as there are subnets. Local Zones and Wavelength Zones do not count."""
    answer = situation.client("ec2").describe_availability_zones(
        Filters=[
            {"Name": "state", "Values": ["available"]},
            {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
        ]
    )
    zones = [each["ZoneName"] for each in answer["AvailabilityZones"]]
    wanted = situation.settings.zones
    if len(zones) >= wanted:
        return ok(f"{situation.target.region} has {len(zones)} zones and {wanted} are used")
    return error(
        f"{situation.target.region} has {len(zones)} zones and {wanted} are wanted",
        f"Set zones = {len(zones)}, or take another region.",
    )


def check_endpoint_services(situation: Situation) -> Verdict:
    """The region offers each endpoint of the template in its type, and interfaces in the zones that are used.

    Otherwise AWS says "Interface VPC Endpoint is not supported for …", or that the service does not exist.
    """
    wanted = {
        _service_name(properties["ServiceName"], situation.target.region): properties["VpcEndpointType"]
        for _, _, properties in situation.resources("AWS::EC2::VPCEndpoint")
    }
    if not wanted:
        return ok("the template has no endpoint")
    if situation.target.is_local:
        return unknown("the embedded AWS does not know which endpoint services a region has")
    # A filter and not ServiceNames: a name that does not exist would be an error that hides the other names.
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
    return together((_judge(name, kind, offered.get(name)) for name, kind in sorted(wanted.items())), "")


def _judge(name: str, kind: str, offered: set[str] | None) -> Verdict:
    if offered is None:
        return error(f"the region has no endpoint service {name}", "Take a region that has it.")
    if kind in offered:
        return ok(f"{name}: {kind}")
    return error(
        f"{name} is offered as {', '.join(sorted(offered))} and the template wants {kind}",
        "Take a region that offers it, or take out the call in function.toml that needs it.",
    )


def _service_name(value: object, region: str) -> str:
    text = value["Fn::Sub"] if isinstance(value, dict) else value
    return str(text).replace("${AWS::Region}", region)


def check_prefix_lists(situation: Situation) -> Verdict:
    """The prefix lists of DynamoDB and S3 are known, so that egress can be held to them."""
    region = situation.target.region
    found = read_prefix_lists(situation.client("ec2"), region)
    missing = sorted(name for name, value in found.items() if not value)
    if not missing:
        return ok(", ".join(f"{name} {value}" for name, value in sorted(found.items())))
    return warning(
        f"the region's prefix lists were not found for {', '.join(missing)}",
        "Egress is then HTTPS to any address, which only the endpoints route. Allow ec2:DescribeManagedPrefixLists.",
    )
