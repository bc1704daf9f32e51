"""What is reserved for each function, in accounts that have much and in accounts that have little."""

from __future__ import annotations

from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from cfn.names import RESERVED_CONCURRENCY
from pipeline.core.events import Event, Note
from pipeline.environment.parameters import account_parameters, fitting_reservation
from pipeline.target import Target


class Account:
    """A target with Lambda's account limits and no prefix lists."""

    region = "us-east-1"
    is_local = False

    def __init__(self, limit: int, unreserved: int) -> None:
        self._clients: dict[str, Any] = {}
        for service in ("lambda", "ec2"):
            client = boto3.client(service, region_name=self.region, aws_access_key_id="a", aws_secret_access_key="b")
            stubber = Stubber(client)
            if service == "lambda":
                limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": unreserved}
                stubber.add_response("get_account_settings", {"AccountLimit": limits})
            else:
                stubber.add_response("describe_managed_prefix_lists", {"PrefixLists": []})
            stubber.activate()
            self._clients[service] = client

    def client(self, service: str) -> Any:
        return self._clients[service]


def reserved(functions: int, *, limit: int, unreserved: int, now: int = 0) -> tuple[int, list[Event]]:
    events: list[Event] = []
    account, current = cast(Target, Account(limit, unreserved)), {RESERVED_CONCURRENCY: str(now)}
    return int(
        account_parameters(account, functions, 10, current, events.append, zones=3)[RESERVED_CONCURRENCY]
    ), events


def test_a_roomy_account_gives_what_is_wanted() -> None:
    assert reserved(50, limit=1000, unreserved=1000) == (10, [])


def test_fifty_functions_get_what_fits_and_keep_it() -> None:
    first, events = reserved(50, limit=573, unreserved=573)
    assert first == 9
    assert isinstance(events[0], Note)
    assert "reserving 9 executions a function instead of 10" in events[0].text
    assert reserved(50, limit=573, unreserved=573 - 50 * first, now=first)[0] == first


def test_nobody_reserves_more_than_the_account_has() -> None:
    """Right after a deployment the account may not show yet, or never, what the functions reserve."""
    assert reserved(50, limit=573, unreserved=573, now=9)[0] == 9


@pytest.mark.parametrize(("free", "functions", "fits"), [(1000, 3, 10), (115, 3, 5), (10, 3, 0), (100, 1, 0)])
def test_a_hundred_stay_unreserved(free: int, functions: int, fits: int) -> None:
    assert fitting_reservation(free, functions, 10) == fits
