from __future__ import annotations

from cfn.rules import EgressOpen, EgressWiderThanEndpoint, EgressWithoutDescription
from tests.unit.rules.linting import cases, failing, findings

TEMPLATE = """
        Parameters: {PrefixList: {Type: String, Default: ''}}
        Conditions: {HasPrefixList: !Not [!Equals [!Ref PrefixList, '']]}
        Resources:
          Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
          Group:
            Type: AWS::EC2::SecurityGroup
            Properties: {GroupDescription: functions, VpcId: !Ref Vpc%s}
"""
EGRESS = ", SecurityGroupEgress: [%s]"
HTTPS = "{IpProtocol: tcp, FromPort: 443, ToPort: 443, Description: HTTPS, CidrIp: %s}"
FUNCTION = """
          F:
            Type: AWS::Lambda::Function
            Properties:
              Role: r
              Code: {ZipFile: x}
              VpcConfig: {SubnetIds: [s], SecurityGroupIds: [!GetAtt Group.GroupId]}
"""
RULE = """
          Rule:
            Type: AWS::EC2::SecurityGroupEgress
            Properties: {GroupId: !Ref Group, IpProtocol: '-1', CidrIp: 0.0.0.0/0}
"""
ENDPOINT = """
          Endpoint:
            Type: AWS::EC2::VPCEndpoint
            Properties: {VpcId: %s, ServiceName: !Sub 'com.amazonaws.${AWS::Region}.%s', VpcEndpointType: %s}
"""


@failing(
    every_protocol=(
        TEMPLATE % (EGRESS % "{IpProtocol: '-1', CidrIp: 0.0.0.0/0}"),
        "Egress to anywhere for every protocol",
    ),
    every_protocol_as_a_number=(TEMPLATE % (EGRESS % "{IpProtocol: -1, CidrIpv6: '::/0'}"), "every protocol"),
    a_range=(
        TEMPLATE % (EGRESS % "{IpProtocol: tcp, FromPort: 1024, ToPort: 65535, CidrIp: 0.0.0.0/0}"),
        "ports 1024 to 65535",
    ),
    every_port=(TEMPLATE % (EGRESS % "{IpProtocol: udp, FromPort: -1, ToPort: -1, CidrIp: 0.0.0.0/0}"), "0 to 65535"),
    a_rule_of_its_own=(TEMPLATE % "" + RULE, "every protocol"),
    what_ec2_adds=(TEMPLATE % "" + FUNCTION, "Group of F has no SecurityGroupEgress"),
)
def test_open_egress_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EgressOpen, template)] == [True]


@cases(
    one_port=TEMPLATE % (EGRESS % HTTPS % "0.0.0.0/0") + FUNCTION,
    nothing_goes_out=TEMPLATE % ", SecurityGroupEgress: []" + FUNCTION,
    the_idiom_for_nothing=TEMPLATE % (EGRESS % "{IpProtocol: '-1', CidrIp: 127.0.0.1/32}") + FUNCTION,
    to_a_group=TEMPLATE % (EGRESS % "{IpProtocol: '-1', DestinationSecurityGroupId: sg-1}"),
    a_group_of_no_function=TEMPLATE % "",
    a_range_by_parameter=TEMPLATE
    % (EGRESS % "{IpProtocol: tcp, FromPort: !Ref PrefixList, ToPort: 443, CidrIp: 0.0.0.0/0}"),
)
def test_narrow_egress_passes(template: str) -> None:
    assert findings(EgressOpen, template) == []


@failing(
    in_the_group=(
        TEMPLATE % (EGRESS % "{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 10.0.0.0/8}"),
        "Description",
    ),
    of_its_own=(TEMPLATE % "" + RULE, "no Description"),
    of_a_group_elsewhere=(
        "Resources: {R: {Type: AWS::EC2::SecurityGroupEgress, Properties: {GroupId: !ImportValue g, IpProtocol: tcp}}}",
        "no Description",
    ),
)
def test_egress_without_description_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EgressWithoutDescription, template)] == [True]


def test_egress_with_description_passes() -> None:
    assert findings(EgressWithoutDescription, TEMPLATE % (EGRESS % HTTPS % "0.0.0.0/0")) == []


OPEN_HTTPS = TEMPLATE % (EGRESS % HTTPS % "0.0.0.0/0")


@failing(
    a_gateway=(OPEN_HTTPS + ENDPOINT % ("!Ref Vpc", "dynamodb", "Gateway"), "use DestinationPrefixListId"),
    an_interface=(OPEN_HTTPS + ENDPOINT % ("!Ref Vpc", "states", "Interface"), "use DestinationSecurityGroupId"),
)
def test_egress_that_could_name_its_endpoint_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EgressWiderThanEndpoint, template)] == [True]


FALLBACK = """!If
                - HasPrefixList
                - {IpProtocol: tcp, FromPort: 443, ToPort: 443, DestinationPrefixListId: !Ref PrefixList}
                - {IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 0.0.0.0/0}
"""


@cases(
    a_fallback_where_no_prefix_list_is_given=TEMPLATE.replace(
        "Properties: {GroupDescription: functions, VpcId: !Ref Vpc%s}",
        "Properties:\n              GroupDescription: functions\n              VpcId: !Ref Vpc\n"
        "              SecurityGroupEgress:\n              - " + FALLBACK,
    )
    + ENDPOINT % ("!Ref Vpc", "dynamodb", "Gateway"),
    no_endpoint=OPEN_HTTPS,
    an_endpoint_of_another_vpc=OPEN_HTTPS + ENDPOINT % ("vpc-2", "dynamodb", "Gateway"),
    a_way_out=OPEN_HTTPS
    + ENDPOINT % ("!Ref Vpc", "dynamodb", "Gateway")
    + "          Nat: {Type: AWS::EC2::NatGateway, Properties: {SubnetId: s}}",
    a_vpc_that_is_not_made_here=(OPEN_HTTPS + ENDPOINT % ("!Ref Vpc", "dynamodb", "Gateway")).replace(
        "VpcId: !Ref Vpc", "VpcId: vpc-1"
    ),
    a_narrow_block=TEMPLATE % (EGRESS % HTTPS % "10.0.0.0/16") + ENDPOINT % ("!Ref Vpc", "states", "Interface"),
)
def test_egress_that_cannot_be_narrower_or_falls_back_passes(template: str) -> None:
    assert findings(EgressWiderThanEndpoint, template) == []
