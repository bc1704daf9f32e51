from __future__ import annotations

from cfn.rules import IamCycle
from tests.unit.rules.linting import cases, failing, findings

ROLE = """
          Role:
            Type: AWS::IAM::Role
            Properties:
              AssumeRolePolicyDocument: {}
              Policies:
                - PolicyName: p
                  PolicyDocument: {Statement: [{Effect: Allow, Action: 'lambda:InvokeFunction', Resource: %s}]}
"""
FUNCTION = """
          F:
            Type: AWS::Lambda::Function
            Properties: {Role: !GetAtt Role.Arn, Code: {ZipFile: x}, %s}
"""
RESOURCES = "        Resources:"


@failing(
    a_role_that_names_its_function=(
        RESOURCES + ROLE % "!GetAtt F.Arn" + FUNCTION % "",
        "Cycle: Role → F → Role. Role refers to F in Policies/0/PolicyDocument/Statement/0/Resource; "
        "F refers to Role in Role",
    ),
    through_sub=(RESOURCES + ROLE % "!Sub '${F.Arn}:*'" + FUNCTION % "", "Role → F → Role"),
    through_a_third=(
        RESOURCES
        + ROLE % "!Ref Topic"
        + FUNCTION % ""
        + "          Topic: {Type: AWS::SNS::Topic, Properties: {DisplayName: !Ref F}}",
        "Cycle: Role → Topic → F → Role",
    ),
    through_depends_on=(
        RESOURCES
        + ROLE % "'*'"
        + "            DependsOn: Table\n"
        + "          Table: {Type: AWS::DynamoDB::Table, Properties: {Tags: [{Key: k, Value: !GetAtt Role.Arn}]}}",
        "Role refers to Table in DependsOn",
    ),
    a_policy=(
        """
        Resources:
          Policy:
            Type: AWS::IAM::ManagedPolicy
            Properties: {PolicyDocument: {Statement: {Effect: Allow, Action: '*', Resource: !GetAtt Queue.Arn}}}
          Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub 'q-${Policy}'}}
        """,
        "Policy → Queue → Policy",
    ),
    under_one_condition=(
        """
        Parameters: {Strict: {Type: String, AllowedValues: ['yes', 'no'], Default: 'no'}}
        Conditions: {IsStrict: !Equals [!Ref Strict, 'yes']}
        Resources:
"""
        + ROLE % "!If [IsStrict, !GetAtt F.Arn, '*']"
        + FUNCTION % "",
        "(when IsStrict is true)",
    ),
)
def test_a_cycle_is_named_resource_by_resource(template: str, message: str) -> None:
    assert [message in found for found in findings(IamCycle, template)] == [True]


@cases(
    a_name_instead_of_a_reference=RESOURCES
    + ROLE % "!Sub 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:f'"
    + FUNCTION % "FunctionName: f",
    a_policy_of_its_own=RESOURCES
    + ROLE % "'*'"
    + FUNCTION % ""
    + """
          Policy:
            Type: AWS::IAM::Policy
            Properties:
              PolicyName: p
              Roles: [!Ref Role]
              PolicyDocument: {Statement: {Effect: Allow, Action: '*', Resource: !GetAtt F.Arn}}
        """,
    branches_that_exclude_each_other="""
        Parameters: {Strict: {Type: String, AllowedValues: ['yes', 'no'], Default: 'no'}}
        Conditions: {IsStrict: !Equals [!Ref Strict, 'yes']}
        Resources:
"""
    + ROLE % "!If [IsStrict, !GetAtt F.Arn, '*']"
    + (FUNCTION % "").replace("!GetAtt Role.Arn", "!If [IsStrict, !Ref 'AWS::NoValue', !GetAtt Role.Arn]"),
    a_cycle_without_iam_is_left_to_cfn_lint="""
        Resources:
          A: {Type: AWS::SNS::Topic, Properties: {DisplayName: !Ref B}}
          B: {Type: AWS::SNS::Topic, Properties: {DisplayName: !Ref A}}
        """,
)
def test_resources_without_a_cycle_through_iam_pass(template: str) -> None:
    assert findings(IamCycle, template) == []
