from __future__ import annotations

from cfn.rules import EndpointTypeUnsupported, EndpointWithoutIngress, EndpointWithoutPrivateDns
from tests.unit.rules.linting import cases, failing, findings

ENDPOINT = "Resources: {E: {Type: AWS::EC2::VPCEndpoint, Properties: {VpcId: vpc-1, %s}}}"
STATES = "ServiceName: !Sub 'com.amazonaws.${AWS::Region}.states'"
DYNAMODB = "ServiceName: !Sub 'com.amazonaws.${AWS::Region}.dynamodb'"


@failing(
    the_default_is_gateway=(ENDPOINT % STATES, "no Gateway (the default) endpoint for states"),
    gateway_for_sns=(
        ENDPOINT % "ServiceName: com.amazonaws.us-east-1.sns, VpcEndpointType: Gateway",
        "no Gateway endpoint for sns",
    ),
    a_service_with_a_dot=(ENDPOINT % "ServiceName: com.amazonaws.us-east-1.ecr.api", "ecr.api"),
    another_partition=(ENDPOINT % "ServiceName: cn.com.amazonaws.cn-north-1.sns", "sns"),
    joined=(ENDPOINT % "ServiceName: !Join ['.', [com.amazonaws, !Ref 'AWS::Region', sqs]]", "sqs"),
    by_a_condition=(
        """
        Parameters: {Private: {Type: String, AllowedValues: ['yes', 'no'], Default: 'yes'}}
        Conditions: {IsPrivate: !Equals [!Ref Private, 'yes']}
        Resources:
          E:
            Type: AWS::EC2::VPCEndpoint
            Properties:
              VpcId: vpc-1
              ServiceName: !Sub 'com.amazonaws.${AWS::Region}.states'
              VpcEndpointType: !If [IsPrivate, Interface, Gateway]
        """,
        "(when IsPrivate is false)",
    ),
    route_tables_of_an_interface=(
        ENDPOINT % f"{STATES}, VpcEndpointType: Interface, RouteTableIds: [rtb-1]",
        "RouteTableIds cannot be set for the type Interface",
    ),
    groups_of_a_gateway=(
        ENDPOINT % f"{DYNAMODB}, SecurityGroupIds: [sg-1]",
        "SecurityGroupIds cannot be set for the type Gateway",
    ),
    private_dns_of_dynamodb=(
        ENDPOINT % f"{DYNAMODB}, VpcEndpointType: Interface, PrivateDnsEnabled: true",
        "does not offer private DNS",
    ),
)
def test_a_type_that_the_service_does_not_offer_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EndpointTypeUnsupported, template)] == [True]


@cases(
    gateway_for_dynamodb=ENDPOINT % DYNAMODB,
    gateway_for_s3=ENDPOINT
    % "ServiceName: com.amazonaws.eu-west-1.s3, VpcEndpointType: Gateway, RouteTableIds: [rtb-1]",
    interface_for_states=ENDPOINT % f"{STATES}, VpcEndpointType: Interface, SubnetIds: [subnet-1]",
    interface_for_s3=ENDPOINT % "ServiceName: com.amazonaws.eu-west-1.s3, VpcEndpointType: Interface",
    a_partner_service=ENDPOINT % "ServiceName: com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0",
    a_service_by_parameter="Parameters: {Service: {Type: String}}\n" + ENDPOINT % "ServiceName: !Ref Service",
    a_type_by_parameter="Parameters: {Kind: {Type: String}}\n" + ENDPOINT % f"{STATES}, VpcEndpointType: !Ref Kind",
    service_and_type_chosen_together="""
        Parameters: {Private: {Type: String, AllowedValues: ['yes', 'no'], Default: 'yes'}}
        Conditions: {IsPrivate: !Equals [!Ref Private, 'yes']}
        Resources:
          E:
            Type: AWS::EC2::VPCEndpoint
            Properties:
              VpcId: vpc-1
              ServiceName: !If [IsPrivate, com.amazonaws.us-east-1.states, com.amazonaws.us-east-1.s3]
              VpcEndpointType: !If [IsPrivate, Interface, Gateway]
        """,
)
def test_a_type_that_the_service_offers_or_unknown_passes(template: str) -> None:
    assert findings(EndpointTypeUnsupported, template) == []


@failing(
    not_set=(ENDPOINT % f"{STATES}, VpcEndpointType: Interface", "clients of states do not use this endpoint"),
    set_to_false=(ENDPOINT % f"{STATES}, VpcEndpointType: Interface, PrivateDnsEnabled: 'false'", "states"),
    dynamodb=(ENDPOINT % f"{DYNAMODB}, VpcEndpointType: Interface", "use a Gateway endpoint"),
)
def test_an_endpoint_that_clients_do_not_use_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EndpointWithoutPrivateDns, template)] == [True]


@cases(
    set=ENDPOINT % f"{STATES}, VpcEndpointType: Interface, PrivateDnsEnabled: true",
    by_parameter="Parameters: {Dns: {Type: String}}\n"
    + ENDPOINT % f"{STATES}, VpcEndpointType: Interface, PrivateDnsEnabled: !Ref Dns",
    a_gateway=ENDPOINT % DYNAMODB,
    a_partner_service=ENDPOINT % "ServiceName: com.amazonaws.vpce.us-east-1.vpce-svc-0a, VpcEndpointType: Interface",
    beside_a_gateway="""
        Resources:
          ForFunctions:
            {Type: AWS::EC2::VPCEndpoint, Properties: {VpcId: vpc-1, ServiceName: com.amazonaws.us-east-1.dynamodb}}
          ForTheOffice:
            Type: AWS::EC2::VPCEndpoint
            Properties: {VpcId: vpc-1, ServiceName: com.amazonaws.us-east-1.dynamodb, VpcEndpointType: Interface}
        """,
)
def test_an_endpoint_that_clients_find_passes(template: str) -> None:
    assert findings(EndpointWithoutPrivateDns, template) == []


GROUPS = """
        Parameters: {Group: {Type: String}}
        Resources:
          E:
            Type: AWS::EC2::VPCEndpoint
            Properties:
              VpcId: vpc-1
              ServiceName: com.amazonaws.us-east-1.states
              VpcEndpointType: Interface
              SecurityGroupIds: [%s]
          Functions:
            {Type: AWS::EC2::SecurityGroup, Properties: {GroupDescription: functions, VpcId: vpc-1}}
          Endpoints:
            Type: AWS::EC2::SecurityGroup
            Properties:
              GroupDescription: endpoints
              VpcId: vpc-1
              SecurityGroupIngress:
                - {IpProtocol: tcp, FromPort: %s, ToPort: 443, SourceSecurityGroupId: !Ref Functions}
"""
RULE = """
          Rule:
            Type: AWS::EC2::SecurityGroupIngress
            Properties: {GroupId: %s, IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 10.0.0.0/8}
"""


@failing(
    the_functions_own_group=(GROUPS % ("!Ref Functions", 443), "Functions allows no ingress on port 443"),
    by_attribute=(GROUPS % ("!GetAtt Functions.GroupId", 443), "Functions"),
    another_port=((GROUPS % ("!Ref Endpoints", 80)).replace("ToPort: 443", "ToPort: 80"), "Endpoints"),
    another_protocol=((GROUPS % ("!Ref Endpoints", 443)).replace("tcp", "udp"), "Endpoints"),
    a_rule_for_another_group=(GROUPS % ("!Ref Functions", 443) + RULE % "!Ref Endpoints", "Functions"),
)
def test_an_endpoint_without_ingress_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(EndpointWithoutIngress, template)] == [True]


@cases(
    a_group_with_ingress=GROUPS % ("!Ref Endpoints", 443),
    a_range_with_443=GROUPS % ("!Ref Endpoints", 0),
    all_protocols=(GROUPS % ("!Ref Endpoints", 80)).replace("tcp", "-1"),
    a_rule_of_its_own=GROUPS % ("!Ref Functions", 443) + RULE % "!GetAtt Functions.GroupId",
    a_rule_for_a_group_that_is_not_known=GROUPS % ("!Ref Functions", 443) + RULE % "!Ref Group",
    a_group_that_is_not_known=GROUPS % ("!Ref Group", 443),
    one_of_two=GROUPS % ("!Ref Functions, !Ref Endpoints", 443),
)
def test_an_endpoint_with_ingress_passes(template: str) -> None:
    assert findings(EndpointWithoutIngress, template) == []
