from __future__ import annotations

from cfn.rules import ServiceUnreachable
from tests.unit.rules.linting import cases, failing, findings

NETWORK = """
        Parameters: {Outside: {Type: String}}
        Resources:
          Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
          Private: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.0.0/24}}
          Routes: {Type: AWS::EC2::RouteTable, Properties: {VpcId: !Ref Vpc}}
          Association:
            Type: AWS::EC2::SubnetRouteTableAssociation
            Properties: {SubnetId: !Ref Private, RouteTableId: !Ref Routes}
          Role:
            Type: AWS::IAM::Role
            Properties:
              AssumeRolePolicyDocument: {}
              ManagedPolicyArns:
                - !Sub 'arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole'
              Policies: [{PolicyName: p, PolicyDocument: {Statement: [{Effect: Allow, Action: %s, Resource: '*'}]}}]
          F:
            Type: AWS::Lambda::Function
            Properties:
              Role: !GetAtt Role.Arn
              Code: {ZipFile: x}
              VpcConfig: {SubnetIds: [!Ref Private], SecurityGroupIds: [sg-1]}
"""
GATEWAY = """
          DynamoDb:
            Type: AWS::EC2::VPCEndpoint
            Properties:
              VpcId: !Ref Vpc
              ServiceName: !Sub 'com.amazonaws.${AWS::Region}.dynamodb'
              RouteTableIds: [%s]
"""
INTERFACE = """
          Interface:
            Type: AWS::EC2::VPCEndpoint
            Properties:
              VpcId: %s
              ServiceName: !Sub 'com.amazonaws.${AWS::Region}.%s'
              VpcEndpointType: Interface
              PrivateDnsEnabled: true
              SubnetIds: [!Ref Private]
"""
ROUTE = """
          Out:
            Type: AWS::EC2::Route
            Properties: {RouteTableId: !Ref Routes, DestinationCidrBlock: 0.0.0.0/0, %s}
          Internet: {Type: AWS::EC2::InternetGateway}
          Nat: {Type: AWS::EC2::NatGateway, Properties: {SubnetId: subnet-1}}
          OtherRoutes: {Type: AWS::EC2::RouteTable, Properties: {VpcId: !Ref Vpc}}
"""


@failing(
    no_endpoint_at_all=(NETWORK % "'sns:Publish'", "The role allows sns:Publish, but Private has no endpoint for sns"),
    only_an_endpoint_for_something_else=(NETWORK % "'sqs:SendMessage'" + GATEWAY % "!Ref Routes", "endpoint for sqs"),
    a_gateway_endpoint_on_another_route_table=(
        NETWORK % "'dynamodb:Query'" + GATEWAY % "!Ref OtherRoutes" + ROUTE % "EgressOnly: x, GatewayId: !Ref Internet",
        "endpoint for dynamodb",
    ),
    the_internet_without_nat=(NETWORK % "'sns:Publish'" + ROUTE % "GatewayId: !Ref Internet", "no route through NAT"),
    synchronous_executions_have_their_own=(
        NETWORK % "'states:StartSyncExecution'" + INTERFACE % ("!Ref Vpc", "states"),
        "endpoint for sync-states",
    ),
    a_whole_service=(NETWORK % "'secretsmanager:*'", "endpoint for secretsmanager"),
    an_endpoint_of_another_vpc=(NETWORK % "'sns:Publish'" + INTERFACE % ("vpc-2", "sns"), "endpoint for sns"),
    a_policy_of_its_own=(
        NETWORK % "'logs:PutLogEvents'"
        + """
          Policy:
            Type: AWS::IAM::Policy
            Properties:
              PolicyName: p
              Roles: [!Ref Role]
              PolicyDocument: {Statement: {Effect: Allow, Action: [events:PutEvents], Resource: '*'}}
        """,
        "endpoint for events",
    ),
    an_endpoint_only_in_production=(
        (NETWORK % "'sns:Publish'" + INTERFACE % ("!Ref Vpc", "sns"))
        .replace(
            "Resources:",
            "Conditions: {IsProd: !Equals [!Ref Outside, prod]}\n        Resources:",
        )
        .replace("Interface:\n", "Interface:\n            Condition: IsProd\n"),
        "(when IsProd is false)",
    ),
)
def test_an_unreachable_service_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(ServiceUnreachable, template)] == [True]


@cases(
    a_gateway_endpoint=NETWORK % "'dynamodb:Query'" + GATEWAY % "!Ref Routes",
    a_gateway_endpoint_on_unknown_tables=NETWORK % "'dynamodb:Query'" + GATEWAY % "!Ref Outside",
    an_interface_endpoint=NETWORK % "'sns:Publish'" + INTERFACE % ("!Ref Vpc", "sns"),
    both_for_synchronous_executions=NETWORK % "'states:StartSyncExecution'" + INTERFACE % ("!Ref Vpc", "sync-states"),
    nat=NETWORK % "'sns:Publish'" + ROUTE % "NatGatewayId: !Ref Nat",
    a_transit_gateway=NETWORK % "'sns:Publish'" + ROUTE % "TransitGatewayId: !Ref Outside",
    lambda_delivers_logs_itself=NETWORK % "['logs:PutLogEvents', 'xray:PutTraceSegments', 'kms:Decrypt']",
    lambda_polls_the_queue_itself=NETWORK % "['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes']",
    lambda_delivers_to_the_dead_letter_queue=(NETWORK % "'sqs:SendMessage'").replace(
        "Code: {ZipFile: x}", "Code: {ZipFile: x}\n              DeadLetterConfig: {TargetArn: arn}"
    ),
    an_endpoint_of_an_unknown_service=NETWORK % "'sns:Publish'" + INTERFACE % ("!Ref Vpc", "${Outside}"),
    a_subnet_that_is_not_made_here=(NETWORK % "'sns:Publish'").replace("[!Ref Private], S", "[!Ref Outside], S"),
    a_vpc_that_is_not_made_here=(NETWORK % "'sns:Publish'").replace("!Ref Vpc, CidrBlock", "!Ref Outside, CidrBlock"),
    a_role_that_is_not_made_here=(NETWORK % "'sns:Publish'").replace("!GetAtt Role.Arn", "!Ref Outside"),
    no_vpc=(NETWORK % "'sns:Publish'").replace("VpcConfig:", "Environment:"),
    a_macro_may_add_anything="        Transform: MyMacro" + NETWORK % "'sns:Publish'",
)
def test_a_reachable_or_unknown_service_passes(template: str) -> None:
    assert findings(ServiceUnreachable, template) == []
