"""Which availability zones a new network gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from cfn.names import ZONES
from pipeline.core.errors import StackError
from pipeline.core.events import Event, Note
from pipeline.environment.parameters import account_parameters
from pipeline.environment.zones import Zones, choose_zones, read_zones
from pipeline.target import Target

REGION = "us-east-1"
STATES = f"com.amazonaws.{REGION}.states"


def ec2(
    zones: Mapping[str, str], offered: Mapping[str, Sequence[str]] | None = None, *, refused: bool = False
) -> tuple[Any, Stubber]:
    """A client with the region's zones (name → id), and the zones of each interface endpoint service."""
    client = boto3.client("ec2", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    stubber = Stubber(client)
    if refused:
        stubber.add_client_error("describe_availability_zones", "UnauthorizedOperation")
    else:
        answer = {"AvailabilityZones": [{"ZoneName": name, "ZoneId": zone_id} for name, zone_id in zones.items()]}
        stubber.add_response("describe_availability_zones", answer)
    if offered is not None:
        details = [
            {"ServiceName": name, "ServiceType": [{"ServiceType": "Interface"}], "AvailabilityZones": list(where)}
            for name, where in offered.items()
        ]
        stubber.add_response("describe_vpc_endpoint_services", {"ServiceDetails": details})
    stubber.activate()
    return client, stubber


FOUR = {"us-east-1d": "use1-az6", "us-east-1a": "use1-az4", "us-east-1b": "use1-az3", "us-east-1c": "use1-az2"}


def test_zones_that_lambda_or_an_endpoint_does_not_support_are_left_out() -> None:
    client, stubber = ec2(FOUR, {STATES: ["us-east-1a", "us-east-1b", "us-east-1d"]})
    assert read_zones(client, [STATES]) == Zones(
        ("us-east-1a", "us-east-1d"),
        {
            "us-east-1b": "Lambda does not support use1-az3",
            "us-east-1c": "com.amazonaws.us-east-1.states is not offered there",
        },
    )
    stubber.assert_no_pending_responses()


def test_a_service_that_the_region_does_not_offer_excludes_no_zone() -> None:
    client, _ = ec2(FOUR, {})
    assert len(read_zones(client, [STATES]).fitting) == 3


@pytest.mark.parametrize(
    ("current", "wanted", "chosen"),
    [
        ("", 2, "a,b"),
        ("", 3, "a,b,c"),
        # A zone that is in use stays, also where it no longer fits: another one would replace the subnet.
        ("c", 2, "c,a"),
        ("x,c", 3, "x,c,a"),
        ("a,b,c", 2, "a,b"),
    ],
)
def test_zones_in_use_stay_and_others_follow_in_order(current: str, wanted: int, chosen: str) -> None:
    assert choose_zones(Zones(("a", "b", "c"), {}), wanted, current) == chosen


def test_too_few_zones_are_an_error_with_the_reasons() -> None:
    with pytest.raises(StackError) as raised:
        choose_zones(Zones(("a",), {"b": "Lambda does not support use1-az3"}), 3)
    assert raised.value.why == "the settings ask for 3 zones and 1 can be used (b: Lambda does not support use1-az3)"
    assert "zones = 1" in str(raised.value.next_step)


# -- as a parameter of the stack


class Account:
    region = REGION
    is_local = False

    def __init__(self, client: Any) -> None:
        self._ec2 = client

    def client(self, service: str) -> Any:
        assert service == "ec2"
        return self._ec2


class NewAccount(Account):
    """One whose prefix lists are read as well."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        client.describe_managed_prefix_lists = lambda **_filters: {"PrefixLists": []}


LISTS = {"DynamoDbPrefixListId": "pl-12345678", "S3PrefixListId": "pl-12345679"}


def parameter(
    client: Any, current: Mapping[str, str], *, zones: int = 2, services: Sequence[str] = ()
) -> tuple[str, list[Event]]:
    events: list[Event] = []
    target = cast(Target, Account(client))
    with_lists = {**LISTS, **current} if current else LISTS
    found = account_parameters(target, 0, 0, with_lists, events.append, zones=zones, services=services)
    return found[ZONES], events


def test_a_stack_keeps_its_zones_and_nothing_is_read() -> None:
    client, stubber = ec2(FOUR)
    assert parameter(client, {ZONES: "us-east-1c,us-east-1d"}) == ("us-east-1c,us-east-1d", [])
    assert parameter(client, {ZONES: ""}) == ("", [])
    with pytest.raises(AssertionError):
        stubber.assert_no_pending_responses()


def test_the_embedded_aws_takes_any_zone() -> None:
    client, stubber = ec2(FOUR)
    account = Account(client)
    account.is_local = True
    found = account_parameters(cast(Target, account), 0, 0, LISTS, [].append, zones=4)
    assert found[ZONES] == ""
    with pytest.raises(AssertionError):
        stubber.assert_no_pending_responses()


def test_a_new_network_gets_zones_that_fit() -> None:
    client, _ = ec2(FOUR, {STATES: ["us-east-1a", "us-east-1d"]})
    found = account_parameters(cast(Target, NewAccount(client)), 0, 0, {}, [].append, zones=2, services=["states"])
    assert found[ZONES] == "us-east-1a,us-east-1d"


def test_more_subnets_get_more_zones() -> None:
    client, _ = ec2(FOUR)
    assert parameter(client, {ZONES: "us-east-1d"}, zones=3)[0] == "us-east-1d,us-east-1a,us-east-1c"


def test_zones_that_cannot_be_read_are_left_to_cloudformation() -> None:
    client, _ = ec2(FOUR, refused=True)
    chosen, events = parameter(client, {ZONES: "us-east-1d"}, zones=3)
    assert chosen == "us-east-1d"
    assert isinstance(events[0], Note)
    assert "UnauthorizedOperation" in events[0].text


def test_reading_raises_what_ec2_refuses() -> None:
    with pytest.raises(ClientError):
        read_zones(ec2(FOUR, refused=True)[0], [])
