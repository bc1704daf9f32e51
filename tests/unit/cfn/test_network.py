from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfn.calls import EXTRA_ENDPOINTS
from cfn.network import subnet_blocks
from cfn.settings import Call, FunctionDefinition
from pipeline.core.errors import SettingsError
from tests.unit.cfn.examples import DEV, FUNCTIONS, of_type, pipeline, statements

SENDING = (
    replace(
        FUNCTIONS[0],
        calls=(
            Call("sns", ("Publish",), "alert-topic"),
            Call("sqs", ("SendMessage",), "dead-letter-queue"),
            Call("states", ("StartSyncExecution",), "state-machine"),
        ),
    ),
    *FUNCTIONS[1:],
)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return pipeline()


def endpoint(template: dict[str, Any], logical_id: str) -> dict[str, Any]:
    return template["Resources"][logical_id]["Properties"]


def test_nothing_leads_to_the_internet(template: dict[str, Any]) -> None:
    types = {each["Type"] for each in template["Resources"].values()}
    assert not {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route"} & types
    for subnet in of_type(template, "AWS::EC2::Subnet").values():
        assert subnet["Properties"]["MapPublicIpOnLaunch"] is False


def test_three_zones_have_a_routed_subnet_each(template: dict[str, Any]) -> None:
    subnets = of_type(template, "AWS::EC2::Subnet")
    zones = [subnet["Properties"]["AvailabilityZone"]["Fn::Select"] for subnet in subnets.values()]
    assert sorted(number for number, _ in zones) == [0, 1, 2]
    split = {"Fn::Split": [",", {"Ref": "Zones"}]}
    # Without the parameter, from the console say, the region's first zones.
    assert all(each == {"Fn::If": ["KnowsZones", split, {"Fn::GetAZs": ""}]} for _, each in zones)
    assert template["Parameters"]["Zones"]["Default"] == ""
    routed = of_type(template, "AWS::EC2::SubnetRouteTableAssociation").values()
    assert {each["Properties"]["SubnetId"]["Ref"] for each in routed} == subnets.keys()


@given(prefix=st.integers(16, 28), zones=st.integers(1, 6))
def test_subnets_never_overlap_and_stay_inside(prefix: int, zones: int) -> None:
    settings = replace(DEV, vpc_cidr=f"10.0.0.0/{prefix}", zones=zones)
    needed = 16 << (zones - 1).bit_length()
    if needed > 1 << (32 - prefix):
        with pytest.raises(SettingsError, match="no room"):
            subnet_blocks(settings)
        return
    blocks = [ipaddress.ip_network(block) for block in subnet_blocks(settings)]
    vpc = ipaddress.ip_network(settings.vpc_cidr)
    assert len(set(blocks)) == zones
    assert all(block.subnet_of(vpc) and block.prefixlen <= 28 for block in blocks)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one in blocks for other in blocks if one != other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vpc_cidr": "10.20.0.1/20"}, "has host bits set"),
        ({"vpc_cidr": "vpc"}, "'vpc'"),
        ({"vpc_cidr": "10.0.0.0/8"}, "a VPC is a /16 to a /28"),
        ({"zones": 0}, "zones is 0"),
        ({"zones": 7}, "zones is 7"),
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        subnet_blocks(replace(DEV, **changes))
    assert why in caught.value.why


def test_gateways_are_gateways_and_interfaces_have_private_dns(template: dict[str, Any]) -> None:
    for name in ("DynamodbEndpoint", "S3Endpoint"):
        made = endpoint(template, name)
        assert made["VpcEndpointType"] == "Gateway"
        assert made["RouteTableIds"] == [{"Ref": "PrivateRoutes"}]
    made = endpoint(pipeline(replace(DEV, endpoints=("states",))), "StatesEndpoint")
    assert (made["VpcEndpointType"], made["PrivateDnsEnabled"]) == ("Interface", True)
    assert len(made["SubnetIds"]) == 3
    assert made["SecurityGroupIds"] == [{"Ref": "EndpointsSecurityGroup"}]


def test_endpoints_follow_from_the_calls() -> None:
    endpoints = of_type(pipeline(DEV, SENDING), "AWS::EC2::VPCEndpoint")
    assert endpoints.keys() == {
        "DynamodbEndpoint",
        "S3Endpoint",
        "SyncStatesEndpoint",
        "SnsEndpoint",
        "SqsEndpoint",
    }


def test_an_endpoint_that_costs_is_made_only_where_it_is_used(template: dict[str, Any]) -> None:
    kinds = {each["Properties"]["VpcEndpointType"] for each in of_type(template, "AWS::EC2::VPCEndpoint").values()}
    assert kinds == {"Gateway"}
    assert "EndpointsSecurityGroup" not in template["Resources"]
    assert "10.20.0.0/20" not in str(endpoint(template, "FunctionsSecurityGroup"))


@pytest.mark.parametrize("service", EXTRA_ENDPOINTS)
def test_settings_can_ask_for_an_endpoint_which_lets_one_call_through(service: str) -> None:
    template = pipeline(replace(DEV, endpoints=(service,)))
    [name] = [
        name
        for name, each in of_type(template, "AWS::EC2::VPCEndpoint").items()
        if each["Properties"]["VpcEndpointType"] == "Interface"
    ]
    assert endpoint(template, name)["ServiceName"] == {"Fn::Sub": f"com.amazonaws.${{AWS::Region}}.{service}"}
    [statement] = statements(endpoint(template, name)["PolicyDocument"])
    [action] = EXTRA_ENDPOINTS[service].actions
    assert statement["Action"] == [f"{EXTRA_ENDPOINTS[service].service}:{action}"]


def test_an_endpoint_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(SettingsError, match="endpoints has lambda, s3 and there are states, sync-states, sns, sqs"):
        pipeline(replace(DEV, endpoints=("s3", "states", "lambda")))


def test_endpoint_lets_through_what_is_called_for_this_account_only() -> None:
    template = pipeline(DEV, SENDING)
    (statement,) = statements(endpoint(template, "SqsEndpoint")["PolicyDocument"])
    assert statement["Action"] == ["sqs:SendMessage"]
    assert statement["Resource"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}
    (statement,) = statements(endpoint(template, "DynamodbEndpoint")["PolicyDocument"])
    assert statement["Action"] == ["dynamodb:Query"]


def test_gateway_that_nobody_uses_lets_nothing_through() -> None:
    silent = tuple(replace(function, calls=()) for function in FUNCTIONS)
    (statement,) = statements(endpoint(pipeline(DEV, silent), "DynamodbEndpoint")["PolicyDocument"])
    assert statement["Effect"] == "Deny"


def test_endpoints_admit_the_functions_and_have_a_group_of_their_own() -> None:
    template = pipeline(DEV, SENDING)
    (ingress,) = endpoint(template, "EndpointsSecurityGroup")["SecurityGroupIngress"]
    assert ingress["SourceSecurityGroupId"] == {"Ref": "FunctionsSecurityGroup"}
    assert (ingress["FromPort"], ingress["ToPort"]) == (443, 443)
    assert "SecurityGroupIngress" not in endpoint(template, "FunctionsSecurityGroup")


def egress(template: dict[str, Any], *, knows_prefix_lists: bool) -> list[dict[str, Any]]:
    rules = []
    for rule in endpoint(template, "FunctionsSecurityGroup")["SecurityGroupEgress"]:
        chosen = rule["Fn::If"][1 if knows_prefix_lists else 2] if "Fn::If" in rule else rule
        if chosen != {"Ref": "AWS::NoValue"}:
            rules.append(chosen)
    return rules


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("functions", [FUNCTIONS, SENDING], ids=["gateways", "interfaces"])
def test_functions_leave_by_https_only_and_every_rule_says_why(
    functions: tuple[FunctionDefinition, ...], knows: bool
) -> None:
    rules = egress(pipeline(DEV, functions), knows_prefix_lists=knows)
    assert len(rules) == (2 if knows else 1) + (functions is SENDING)
    for rule in rules:
        assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 443, 443)
        assert rule["Description"]
    open_to_all = [rule for rule in rules if rule.get("CidrIp") == "0.0.0.0/0"]
    assert bool(open_to_all) is not knows


def test_rules_of_a_group_are_never_equal(template: dict[str, Any]) -> None:
    # EC2 refuses a second rule that differs in its description only.
    for knows in (True, False):
        targets = [
            rule.get("CidrIp") or rule["DestinationPrefixListId"]["Ref"]
            for rule in egress(template, knows_prefix_lists=knows)
        ]
        assert len(set(targets)) == len(targets)


def test_roles_outlive_the_network_interfaces(template: dict[str, Any]) -> None:
    roles = {f"{stem}Role" for stem in ("TransactionValidation", "FraudDetection", "ComplianceChecking")}
    # The group goes only when the interfaces are gone, and the roles that free them go only after the group.
    assert set(template["Resources"]["FunctionsSecurityGroup"]["DependsOn"]) == roles
