"""The checks of quotas, load, memory, and of what the region offers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cfn.names import Names
from pipeline.doctor import Status
from tests.unit.cfn.examples import DEV, pipeline
from tests.unit.doctor import account as account_module
from tests.unit.doctor.account import (
    REGION,
    SOURCES,
    FakeAccount,
    bodies,
    endpoint_services,
)

REGISTRY, PIPELINE = Names("dev").registry_stack, Names("dev").pipeline_stack


@pytest.mark.parametrize(
    ("limit", "free", "fits"), [(1000, 1000, 60), (1000, 115, 5), (10, 10, 0), (1000, 100, 0), (280, 280, 60)]
)
def test_reserved_concurrency_that_fits_is_reported(account: FakeAccount, limit: int, free: int, fits: int) -> None:
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": free}},
    )
    verdict = account.verdict("reserved concurrency")
    if fits == 60:
        assert verdict.status is Status.OK
    else:
        assert verdict.status is Status.WARNING
        assert f"`up` reserves {fits or 'none'} instead" in str(verdict.cure)
        assert f"other functions reserve {limit - free}" in verdict.evidence


@pytest.mark.parametrize(
    ("limit", "status", "said"),
    [
        (1000, Status.OK, "36,000 transactions a minute are carried: Lambda rate"),
        (190, Status.WARNING, "with peaks of 3 times as many"),
        (120, Status.WARNING, "3,600 transactions a minute are carried: Lambda rate"),
        (10, Status.WARNING, "2,000 transactions a minute are carried: Lambda rate, all functions"),
    ],
)
def test_the_load_that_the_account_carries(account: FakeAccount, limit: int, status: Status, said: str) -> None:
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit}},
    )
    verdict = account.verdict("load")
    assert verdict.status is status
    assert said in verdict.evidence


def test_our_own_reservations_are_not_counted_twice(account: FakeAccount) -> None:
    account.deployed(PIPELINE, parameters={"ReservedConcurrency": "60"})
    account.answer(
        "lambda.GetAccountSettings",
        {"AccountLimit": {"ConcurrentExecutions": 280, "UnreservedConcurrentExecutions": 100}},
    )
    verdict = account.verdict("reserved concurrency")
    assert verdict.status is Status.OK
    assert "other functions reserve 0" in verdict.evidence


@pytest.mark.parametrize(
    ("memory", "executions", "status"),
    [
        (1_769, 10, Status.OK),
        (3_008, 10, Status.OK),
        (3_009, 10, Status.WARNING),
        (10_240, 999, Status.WARNING),
        (10_240, 1_000, Status.OK),
    ],
)
def test_more_memory_than_new_accounts_give(
    account: FakeAccount, monkeypatch: pytest.MonkeyPatch, memory: int, executions: int, status: Status
) -> None:
    limit = {"ConcurrentExecutions": executions, "UnreservedConcurrentExecutions": executions}
    account.answer("lambda.GetAccountSettings", {"AccountLimit": limit})
    large = replace(SOURCES[0], definition=replace(SOURCES[0].definition, memory=memory))
    monkeypatch.setattr(account_module, "SOURCES", (large, *SOURCES[1:]))
    verdict = account.verdict("memory")
    assert verdict.status is status
    if status is Status.WARNING:
        assert f"{large.name} ({memory:,} MB): an account with {executions}" in verdict.evidence
        assert "memory = 3008" in str(verdict.cure)


def test_the_vpc_quota_is_reached(account: FakeAccount) -> None:
    account.answer("ec2.DescribeVpcs", {"Vpcs": [{}] * 5})
    verdict = account.verdict("quotas")
    assert verdict.status is Status.ERROR
    assert "5 VPCs exist and 1 more would be created, but the quota is 5" in verdict.evidence
    assert "--quota-code L-F678F1CE --desired-value 11" in str(verdict.cure)
    account.deployed(PIPELINE)
    assert account.verdict("quotas").status is Status.OK


def test_an_unreadable_quota_matters_only_beyond_the_default(account: FakeAccount) -> None:
    account.refuse("service-quotas.GetServiceQuota", "AccessDeniedException")
    assert account.verdict("quotas").status is Status.OK
    account.answer("ec2.DescribeVpcEndpoints", {"VpcEndpoints": [{}] * 19})
    assert account.verdict("quotas").status is Status.UNKNOWN


def test_too_few_zones(account: FakeAccount) -> None:
    account.answer("ec2.DescribeAvailabilityZones", {"AvailabilityZones": [{"ZoneName": "a"}, {"ZoneName": "b"}]})
    verdict = account.verdict("zones")
    assert (verdict.status, str(verdict.cure)) == (Status.ERROR, "Set zones = 2, or use another region.")


def test_zones_without_the_endpoints_do_not_count(account: FakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(DEV, endpoints=("states",))
    detail = {"ServiceName": f"com.amazonaws.{REGION}.states", "ServiceType": [{"ServiceType": "Interface"}]}
    zones = [f"{REGION}a", f"{REGION}b"]
    account.answer("ec2.DescribeVpcEndpointServices", {"ServiceDetails": [{**detail, "AvailabilityZones": zones}]})
    assert account.verdict("zones").status is Status.OK
    templates = replace(bodies(), pipeline=json.dumps(pipeline(settings)))
    monkeypatch.setattr(account_module, "bodies", lambda: templates)
    verdict = account.verdict("zones", settings)
    assert verdict.status is Status.ERROR
    assert f"not {REGION}c: com.amazonaws.{REGION}.states is not offered there" in verdict.evidence


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ({"s3": "Gateway"}, f"no endpoint service com.amazonaws.{REGION}.dynamodb"),
        (
            {"dynamodb": "Interface", "s3": "Gateway", "states": "Interface"},
            "offered as Interface, but the template needs",
        ),
    ],
)
def test_endpoint_services_that_the_region_does_not_offer(
    account: FakeAccount, offered: dict[str, str], said: str
) -> None:
    account.answer("ec2.DescribeVpcEndpointServices", endpoint_services(**offered))
    verdict = account.verdict("endpoint services")
    assert verdict.status is Status.ERROR
    assert said in verdict.evidence


def test_a_service_offered_in_both_types_fits(account: FakeAccount) -> None:
    details = [
        {"ServiceName": f"com.amazonaws.{REGION}.{name}", "ServiceType": [{"ServiceType": kind}]}
        for name in ("dynamodb", "s3", "states")
        for kind in ("Gateway", "Interface")
    ]
    account.answer("ec2.DescribeVpcEndpointServices", {"ServiceDetails": details})
    assert account.verdict("endpoint services").status is Status.OK


def test_prefix_lists_that_are_not_found(account: FakeAccount) -> None:
    account.refuse("ec2.DescribeManagedPrefixLists", "UnauthorizedOperation")
    verdict = account.verdict("prefix lists")
    assert verdict.status is Status.WARNING
    assert "DynamoDbPrefixListId, S3PrefixListId" in verdict.evidence
