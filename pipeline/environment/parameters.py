"""Parameters of the pipeline stack: images by digest, and values that only the account or the region knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import DYNAMODB_PREFIX_LIST, RESERVED_CONCURRENCY, S3_PREFIX_LIST, ZONES, image_parameter
from pipeline.assembly.model import PushedImage
from pipeline.core.events import Note, Report
from pipeline.environment.zones import choose_zones, read_zones
from pipeline.target import Target

# AWS documentation, Lambda concurrency: at least 100 executions of an account stay unreserved.
UNRESERVED_MIN = 100
# What ``account_parameters`` knows.
ACCOUNT_PARAMETERS = (DYNAMODB_PREFIX_LIST, S3_PREFIX_LIST, ZONES, RESERVED_CONCURRENCY)


def image_parameters(pushed: Iterable[PushedImage]) -> dict[str, str]:
    """The parameter of each function with the image that fills it, always by digest, never by tag.

    CloudFormation does not see new content behind an unchanged ``ImageUri``, and Lambda resolves a tag only once (AWS
    documentation), so a digest is the only value that switches a function when, and only when, its image changed.

    Raises ValueError for two images of one function: that is a mistake of the caller, not of a user.
    """
    parameters: dict[str, str] = {}
    for image in pushed:
        name = image_parameter(image.function)
        if parameters.setdefault(name, image.uri) != image.uri:
            raise ValueError(f"{image.function} has two images: {parameters[name]} and {image.uri}")
    return parameters


def account_parameters(
    target: Target,
    functions: int,
    reserved: int,
    current: Mapping[str, str],
    report: Report,
    *,
    zones: int,
    services: Sequence[str] = (),
    names: Collection[str] = ACCOUNT_PARAMETERS,
) -> dict[str, str]:
    """Values for the prefix lists, the zones and the reserved concurrency, those of them that the template has.

    functions  how many functions reserve
    reserved   executions wanted for each; 0 for none
    current    the stack's parameters, {} for a stack that is to be created: what it knows is not asked again
    zones      how many subnets there are
    services   the interface endpoints
    names      the template's parameters
    """
    found: dict[str, str] = {}
    if ZONES in names:
        found |= _network_parameters(target, current, report, zones=zones, services=services)
    if RESERVED_CONCURRENCY in names:
        found[RESERVED_CONCURRENCY] = _reserved(target, functions, reserved, current, report)
    return found


def _network_parameters(
    target: Target, current: Mapping[str, str], report: Report, *, zones: int, services: Sequence[str]
) -> dict[str, str]:
    lists = {name: current.get(name, "") for name in (DYNAMODB_PREFIX_LIST, S3_PREFIX_LIST)}
    if not all(lists.values()):
        lists = read_prefix_lists(target.client("ec2"), target.region)
    return {**lists, ZONES: _zones(target, zones, services, current, report)}


def read_prefix_lists(ec2: Any, region: str) -> dict[str, str]:
    """The managed prefix lists of the gateway endpoints; "" for one that the region or the caller does not have.

    CloudFormation has no attribute for them (DescribeManagedPrefixLists, EC2 API reference).
    """
    names = {f"com.amazonaws.{region}.dynamodb": DYNAMODB_PREFIX_LIST, f"com.amazonaws.{region}.s3": S3_PREFIX_LIST}
    found = dict.fromkeys(names.values(), "")
    try:
        page = ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": sorted(names)}])
    except ClientError:
        return found  # egress then falls back to HTTPS to any address, which still only endpoints route
    for each in page["PrefixLists"]:
        if each["PrefixListName"] in names:
            found[names[each["PrefixListName"]]] = each["PrefixListId"]
    return found


def _zones(target: Target, wanted: int, services: Sequence[str], current: Mapping[str, str], report: Report) -> str:
    """The subnets' zones; "" leaves them to CloudFormation, as in a stack that was created so."""
    known = current.get(ZONES, "")
    # The embedded AWS does not attach its functions to a network.
    if target.is_local or (current and not known) or (known and len(known.split(",")) >= wanted):
        return known
    try:
        found = read_zones(target.client("ec2"), [f"com.amazonaws.{target.region}.{service}" for service in services])
    except ClientError as problem:
        report(Note(f"the zones of {target.region} were not read ({problem}); CloudFormation takes the first"))
        return known
    return choose_zones(found, wanted, known)


def _reserved(target: Target, functions: int, wanted: int, current: Mapping[str, str], report: Report) -> str:
    if not wanted or not functions:
        return "0"
    own = int(current.get(RESERVED_CONCURRENCY) or 0)
    if own == wanted:
        return str(wanted)
    limit = target.client("lambda").get_account_settings()["AccountLimit"]
    # The current reservations of these functions can be reserved again, up to the account's limit.
    free = min(limit["UnreservedConcurrentExecutions"] + own * functions, limit["ConcurrentExecutions"])
    fits = fitting_reservation(free, functions, wanted)
    if fits < wanted:
        report(
            Note(
                f"reserving {fits or 'no'} executions a function instead of {wanted}: the account's limit of"
                f" {limit['ConcurrentExecutions']} must leave {UNRESERVED_MIN} unreserved"
            )
        )
    return str(fits)


def fitting_reservation(free: int, functions: int, wanted: int) -> int:
    """Executions that each of ``functions`` can reserve when ``free`` are unreserved; 0 when too few would be left.

    >>> fitting_reservation(1000, 3, 10), fitting_reservation(10, 3, 10), fitting_reservation(115, 3, 10)
    (10, 0, 5)
    """
    return max(0, min(wanted, (free - UNRESERVED_MIN) // functions))
