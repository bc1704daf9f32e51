"""The availability zones of a new network: those where Lambda and the wanted interface endpoints can be used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import NextStep, StackError

# Zone ids in which Lambda attaches no function to a subnet. AWS has no list of them, only the error "The provided
# subnets contain availability zone Lambda doesn't support" (reports of users).
LAMBDA_REFUSES = frozenset({"use1-az3"})


@dataclass(frozen=True, slots=True)
class Zones:
    """The zones of a region, by name and in order.

    fitting  those that can be used
    refused  the others, with the reason for each
    """

    fitting: tuple[str, ...]
    refused: Mapping[str, str]


def read_zones(ec2: Any, services: Collection[str]) -> Zones:
    """Read the region's zones and hold them against the interface endpoints ``services`` (``com.amazonaws.…``).

    Local and Wavelength Zones are left out. A service that the region does not offer excludes no zone: creating its
    endpoint fails whatever the zone, and ``doctor`` reports it. Raises ClientError.
    """
    answer = ec2.describe_availability_zones(
        Filters=[
            {"Name": "state", "Values": ["available"]},
            {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
        ]
    )
    offered: dict[str, frozenset[str]] = {}
    if services:
        pages = ec2.get_paginator("describe_vpc_endpoint_services").paginate(
            # A filter instead of ServiceNames, which fails for all names if one does not exist.
            Filters=[{"Name": "service-name", "Values": sorted(services)}]
        )
        for page in pages:
            for detail in page["ServiceDetails"]:
                if any(each["ServiceType"] == "Interface" for each in detail.get("ServiceType", [])):
                    offered[detail["ServiceName"]] = frozenset(detail["AvailabilityZones"])
    refused: dict[str, str] = {}
    names = sorted((each["ZoneName"], each.get("ZoneId", "")) for each in answer["AvailabilityZones"])
    for name, zone_id in names:
        without = sorted(service for service, zones in offered.items() if name not in zones)
        if zone_id in LAMBDA_REFUSES:
            refused[name] = f"Lambda does not support {zone_id}"
        elif without:
            refused[name] = f"{', '.join(without)} is not offered there"
    return Zones(tuple(name for name, _ in names if name not in refused), refused)


def choose_zones(found: Zones, wanted: int, current: str = "") -> str:
    """``wanted`` zones as the stack's parameter has them; those of ``current`` stay, since another zone replaces a
    subnet.

    >>> choose_zones(Zones(("a", "b", "c"), {}), 2), choose_zones(Zones(("a", "b", "c"), {}), 2, "c")
    ('a,b', 'c,a')

    Raises StackError if there are too few.
    """
    chosen = [name for name in current.split(",") if name]
    chosen += [name for name in found.fitting if name not in chosen]
    if len(chosen) < wanted:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.refused.items())
        raise StackError(
            "the network was not planned",
            f"the settings ask for {wanted} zones and {len(chosen)} can be used" + (f" ({reasons})" if reasons else ""),
            NextStep(f"Set zones = {len(chosen)} in environments.toml, or use another region"),
        )
    return ",".join(chosen[:wanted])
