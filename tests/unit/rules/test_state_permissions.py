from __future__ import annotations

from cfn.rules import StateNotPermitted
from tests.unit.rules.linting import cases, failing, findings

TEMPLATE = """
        Parameters: {Outside: {Type: String}}
        Resources:
          F: {Type: AWS::Lambda::Function, Properties: {Role: r, Code: {ZipFile: x}}}
          Named: {Type: AWS::Lambda::Function, Properties: {FunctionName: named, Role: r, Code: {ZipFile: x}}}
          Alias: {Type: AWS::Lambda::Alias, Properties: {FunctionName: !Ref F, FunctionVersion: '1', Name: live}}
          Table: {Type: AWS::DynamoDB::Table, Properties: {KeySchema: []}}
          Topic: {Type: AWS::SNS::Topic}
          Queue: {Type: AWS::SQS::Queue}
          Inner: {Type: AWS::StepFunctions::StateMachine, Properties: {RoleArn: r, Definition: {}}}
          Role:
            Type: AWS::IAM::Role
            Properties:
              RoleName: workflow
              AssumeRolePolicyDocument: {}
              Policies: [{PolicyName: p, PolicyDocument: {Statement: [{Effect: Allow, Action: %s, Resource: %s}]}}]
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: %s
              Definition:
                QueryLanguage: JSONata
                StartAt: T
                States: {T: {Type: Task, Resource: %s, End: true}}
"""
MANAGED = "AssumeRolePolicyDocument: {}\n              ManagedPolicyArns: ['arn:aws:iam::aws:policy/%s']"
ROLE = "!GetAtt Role.Arn"


def machine(action: str, resource: str, call: str, role: str = ROLE) -> str:
    """A machine with one Task, and the permissions of its role."""
    return TEMPLATE % (action, resource, role, call)


def invoke(function: str, more: str = "") -> str:
    return f"'arn:aws:states:::lambda:invoke', Arguments: {{FunctionName: {function}{more}}}"


PUT = "'arn:aws:states:::dynamodb:putItem', Arguments: {TableName: %s}"
PUBLISH = "'arn:aws:states:::sns:publish', Arguments: {TopicArn: %s}"
SEND = "'arn:aws:states:::sqs:sendMessage', Arguments: {QueueUrl: %s}"
QUERY = "'arn:aws:states:::aws-sdk:dynamodb:query', Arguments: {TableName: !Ref Table, IndexName: customer}"


@failing(
    another_action=(
        machine("'lambda:GetFunction'", "!GetAtt F.Arn", invoke("!Ref F")),
        "The role Role lacks lambda:InvokeFunction on ${F.Arn}, needed at /States/T",
    ),
    another_function=(machine("'lambda:InvokeFunction'", "!GetAtt Named.Arn", invoke("!Ref F")), "on ${F.Arn}"),
    another_name=(machine("'lambda:*'", "!GetAtt Named.Arn", invoke("other")), "function:other"),
    a_version_of_the_function=(
        machine("'lambda:InvokeFunction'", "!GetAtt F.Arn", invoke("!Ref F", ", Qualifier: live")),
        "on ${F.Arn}:live",
    ),
    an_alias=(machine("'lambda:InvokeFunction'", "!GetAtt F.Arn", invoke("!Ref Alias")), "on ${Alias}"),
    a_function_as_resource=(machine("'sns:Publish'", "'*'", "!GetAtt F.Arn"), "lambda:InvokeFunction"),
    a_table=(
        machine("'dynamodb:GetItem'", "!GetAtt Table.Arn", PUT % "!Ref Table"),
        "dynamodb:PutItem on ${Table.Arn}",
    ),
    another_table=(machine("'dynamodb:PutItem'", "!GetAtt Table.Arn", PUT % "accounts"), "table/accounts"),
    a_topic=(machine("'sns:Publish'", "!GetAtt Queue.Arn", PUBLISH % "!Ref Topic"), "sns:Publish on ${Topic}"),
    a_queue=(machine("'sqs:SendMessage'", "!Ref Topic", SEND % "!Ref Queue"), "sqs:SendMessage on ${Queue.Arn}"),
    a_queue_by_url=(
        machine(
            "'sqs:SendMessage'", "arn:aws:sqs:us-east-1:123456789012:other", SEND % "'https://sqs/123456789012/mine'"
        ),
        "sqs:SendMessage on arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:mine",
    ),
    an_execution=(
        machine(
            "'states:StartExecution'",
            "!GetAtt F.Arn",
            "'arn:aws:states:::states:startExecution', Arguments: {StateMachineArn: !Ref Inner}",
        ),
        "states:StartExecution on ${Inner}",
    ),
    an_sdk_call=(machine("'dynamodb:Scan'", "'*'", QUERY), "dynamodb:Query on ${Table.Arn}/index/customer"),
    an_index_of_the_table=(machine("'dynamodb:Query'", "!GetAtt Table.Arn", QUERY), "/index/customer"),
    an_sdk_service_of_another_name=(
        machine("'states:*'", "'*'", "'arn:aws:states:::aws-sdk:cloudwatchlogs:putLogEvents'"),
        "logs:PutLogEvents",
    ),
    an_sdk_action_of_another_name=(
        machine("'s3:PutObject'", "'*'", "'arn:aws:states:::aws-sdk:s3:listObjectsV2'"),
        "s3:ListBucket",
    ),
    a_call_that_names_nothing=(
        machine("'events:DescribeRule'", "'*'", "'arn:aws:states:::events:putEvents'"),
        "events:PutEvents",
    ),
    a_role_by_its_name=(
        machine("'sns:Publish'", "'*'", invoke("f"), "!Sub 'arn:aws:iam::${AWS::AccountId}:role/workflow'"),
        "lambda:InvokeFunction",
    ),
    a_managed_policy_that_does_not_help=(
        machine("'logs:*'", "'*'", invoke("!Ref F")).replace(
            "AssumeRolePolicyDocument: {}",
            MANAGED % "AWSXRayDaemonWriteAccess",
        ),
        "lambda:InvokeFunction",
    ),
    log_delivery=(
        machine("['lambda:InvokeFunction', 'logs:CreateLogDelivery']", "'*'", invoke("!Ref F")).replace(
            "Definition:\n                Query",
            "LoggingConfiguration: {Level: ALL, Destinations: [{}]}\n              Definition:\n                Query",
        ),
        "lacks logs:GetLogDelivery, logs:UpdateLogDelivery",
    ),
    under_a_condition=(
        "        Conditions: {IsOpen: !Equals [!Ref Outside, open]}"
        + machine("!If [IsOpen, 'lambda:*', 'sns:*']", "'*'", invoke("!Ref F")),
        "(when IsOpen is false)",
    ),
)
def test_a_permission_that_a_state_needs_and_lacks_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(StateNotPermitted, template)] == [True]


POLICY = """
          Policy:
            Type: %s
            Properties:
              PolicyName: p
              %s
              PolicyDocument: {Statement: {Effect: Allow, Action: 'lambda:InvokeFunction', Resource: !GetAtt F.Arn}}
"""


@cases(
    the_function=machine("'lambda:InvokeFunction'", "!GetAtt F.Arn", invoke("!Ref F")),
    the_function_by_its_arn=machine("['lambda:Invoke*']", "[!GetAtt F.Arn]", invoke("!GetAtt F.Arn")),
    a_function_by_a_built_arn=machine(
        "'lambda:InvokeFunction'",
        "!Sub 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${F}'",
        invoke("!GetAtt F.Arn"),
    ),
    a_pattern_that_may_match_a_generated_name=machine(
        "'lambda:InvokeFunction'", "'arn:aws:lambda:us-east-1:123456789012:function:my-stack-*'", invoke("!Ref F")
    ),
    a_name_and_a_reference=machine("'lambda:InvokeFunction'", "!GetAtt Named.Arn", invoke("named")),
    a_version_of_the_function=machine(
        "'lambda:InvokeFunction'", "!Sub '${F.Arn}:*'", invoke("!Ref F", ", Qualifier: live")
    ),
    an_alias=machine("'lambda:InvokeFunction'", "!Ref Alias", invoke("!Ref Alias")),
    a_function_chosen_at_run_time=machine("'lambda:InvokeFunction'", "!GetAtt F.Arn", invoke("'{% $name %}'")),
    a_function_by_parameter=machine("'lambda:InvokeFunction'", "!GetAtt F.Arn", invoke("!Ref Outside")),
    a_table=machine("'dynamodb:PutItem'", "!GetAtt Table.Arn", PUT % "!Ref Table"),
    a_topic=machine("'sns:Publish'", "!Ref Topic", PUBLISH % "!Ref Topic"),
    a_topic_by_attribute=machine("'sns:Publish'", "!GetAtt Topic.TopicArn", PUBLISH % "!Ref Topic"),
    a_queue=machine("'sqs:SendMessage'", "!GetAtt Queue.Arn", SEND % "!Ref Queue"),
    a_queue_by_url=machine("'sqs:SendMessage'", "!GetAtt Queue.Arn", SEND % "!GetAtt Queue.QueueUrl"),
    an_index=machine("'dynamodb:Query'", "!Sub '${Table.Arn}/index/*'", QUERY),
    an_sdk_action_that_is_not_known=machine("'s3:*'", "'*'", "'arn:aws:states:::aws-sdk:dynamodb:transactWriteItems'"),
    a_policy_of_its_own=machine("'logs:*'", "'*'", invoke("!Ref F"))
    + POLICY % ("AWS::IAM::Policy", "Roles: [!Ref Role]"),
    a_policy_by_the_roles_name=machine("'logs:*'", "'*'", invoke("!Ref F"))
    + POLICY % ("AWS::IAM::Policy", "Roles: [workflow]"),
    a_role_policy=machine("'logs:*'", "'*'", invoke("!Ref F"))
    + POLICY % ("AWS::IAM::RolePolicy", "RoleName: !Ref Role"),
    a_policy_that_may_be_for_it=machine("'logs:*'", "'*'", invoke("!Ref F"))
    + POLICY % ("AWS::IAM::Policy", "Roles: [!Ref Outside]"),
    a_managed_policy=machine("'logs:*'", "'*'", invoke("!Ref F")).replace(
        "AssumeRolePolicyDocument: {}",
        MANAGED % "service-role/AWSLambdaRole",
    ),
    a_managed_policy_that_is_not_known=machine("'logs:*'", "'*'", invoke("!Ref F")).replace(
        "AssumeRolePolicyDocument: {}",
        "AssumeRolePolicyDocument: {}\n              ManagedPolicyArns: [!Ref Outside]",
    ),
    an_action_by_parameter=machine("!Ref Outside", "'*'", invoke("!Ref F")),
    a_role_by_parameter=machine("'logs:*'", "'*'", invoke("!Ref F"), "!Ref Outside"),
    another_role_makes_the_call=machine("'logs:*'", "'*'", invoke("!Ref F") + ", Credentials: {RoleArn: x}"),
    the_queue_admits_the_role=machine("'logs:*'", "'*'", SEND % "!Ref Queue")
    + """
          QueuePolicy:
            Type: AWS::SQS::QueuePolicy
            Properties: {Queues: [!Ref Queue], PolicyDocument: {Statement: {Principal: {AWS: !GetAtt Role.Arn}}}}
        """,
    nothing_but_some_actions="        # NotAction"
    + machine("'logs:*'", "'*'", invoke("!Ref F")).replace("Action:", "NotAction:"),
)
def test_a_permission_that_is_there_or_not_known_passes(template: str) -> None:
    assert findings(StateNotPermitted, template) == []


def test_every_integration_of_a_pipeline_is_held_against_the_role() -> None:
    template = """
        Resources:
          Role: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: !GetAtt Role.Arn
              DefinitionSubstitutions: {Table: transactions}
              DefinitionString: !Sub |
                {"StartAt": "A", "States": {
                  "A": {"Type": "Task", "Resource": "arn:${AWS::Partition}:states:::dynamodb:updateItem",
                        "Parameters": {"TableName": "${!Table}"}, "Next": "B"},
                  "B": {"Type": "Parallel", "End": true, "Branches": [
                    {"StartAt": "C", "States": {"C": {"Type": "Task", "End": true,
                      "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"}}}}]}}}
        """
    assert findings(StateNotPermitted, template) == [
        "The role Role lacks dynamodb:UpdateItem on arn:${AWS::Partition}:dynamodb:${AWS::Region}:"
        "${AWS::AccountId}:table/transactions, needed at /States/A",
        "The role Role lacks lambda:InvokeFunction on arn:${AWS::Partition}:lambda:${AWS::Region}:"
        "${AWS::AccountId}:function:f, needed at /States/B/Branches/0/States/C",
    ]
