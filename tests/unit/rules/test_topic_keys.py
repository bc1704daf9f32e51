from __future__ import annotations

from cfn.rules import KeyUnknown, PublisherCannotUseManagedKey, PublisherNotAllowedByKey
from tests.unit.rules.linting import cases, failing, findings

TOPIC = """
        Parameters: {Key: {Type: String}}
        Resources:
          T: {Type: %s, Properties: {KmsMasterKeyId: %s}}
          Role: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}
          Master: {Type: AWS::KMS::Key, Properties: {KeyPolicy: {}}}
          Alias: {Type: AWS::KMS::Alias, Properties: {AliasName: alias/topics, TargetKeyId: !Ref Master}}
"""
SNS, SQS = "AWS::SNS::Topic", "AWS::SQS::Queue"


@failing(
    an_alias_that_aws_does_not_have=(TOPIC % (SNS, "alias/aws/alerts"), "There is no key alias/aws/alerts"),
    another_case=(TOPIC % (SNS, "alias/aws/SNS"), "the AWS-managed key is alias/aws/sns"),
    the_key_of_another_service=(TOPIC % (SNS, "alias/aws/sqs"), "alias/aws/sns"),
    an_alias_without_its_prefix=(TOPIC % (SNS, "aws/sns"), "write alias/aws/sns"),
    an_alias_by_arn=(
        TOPIC % (SNS, "!Sub 'arn:aws:kms:${AWS::Region}:${AWS::AccountId}:alias/aws/topic'"),
        "There is no key alias/aws/topic",
    ),
    something_else=(TOPIC % (SNS, "!GetAtt Role.Arn"), "Role is not a key, but a AWS::IAM::Role"),
    a_queue=(TOPIC % (SQS, "alias/aws/sns"), "alias/aws/sqs"),
    one_branch=(
        "        Conditions: {Own: !Not [!Equals [!Ref Key, '']]}"
        + TOPIC % (SNS, "!If [Own, !Ref Key, alias/aws/topics]"),
        "(when Own is false)",
    ),
)
def test_a_key_that_cannot_exist_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(KeyUnknown, template)] == [True]


@cases(
    the_managed_key=TOPIC % (SNS, "alias/aws/sns"),
    the_managed_key_by_arn=TOPIC % (SNS, "!Sub 'arn:aws:kms:${AWS::Region}:${AWS::AccountId}:alias/aws/sns'"),
    an_alias_of_the_account=TOPIC % (SNS, "alias/company/topics"),
    a_key=TOPIC % (SNS, "!Ref Master"),
    a_key_by_arn=TOPIC % (SNS, "!GetAtt Master.Arn"),
    an_alias=TOPIC % (SNS, "!Ref Alias"),
    a_key_id=TOPIC % (SNS, "1234abcd-12ab-34cd-56ef-1234567890ab"),
    a_multi_region_key=TOPIC % (SNS, "mrk-1234abcd12ab34cd56ef1234567890ab"),
    a_parameter=TOPIC % (SNS, "!Ref Key"),
    none=TOPIC % (SNS, "!Ref AWS::NoValue"),
    a_queue=TOPIC % (SQS, "alias/aws/sqs"),
)
def test_a_key_that_may_exist_passes(template: str) -> None:
    assert findings(KeyUnknown, template) == []


ALARM = """
        Parameters: {Outside: {Type: String}}
        Resources:
          T: {Type: AWS::SNS::Topic, Properties: {KmsMasterKeyId: %s}}
          Key:
            Type: AWS::KMS::Key
            Properties: {KeyPolicy: {Statement: [{Effect: Allow, Principal: %s, Action: %s, Resource: '*'}]}}
          Alias: {Type: AWS::KMS::Alias, Properties: {AliasName: alias/topics, TargetKeyId: !Ref Key}}
          Publisher: {Type: %s, Properties: {%s}}
"""
CLOUDWATCH = "{Service: cloudwatch.amazonaws.com}"
USE = "['kms:Decrypt', 'kms:GenerateDataKey*']"
BY_ALARM = ("AWS::CloudWatch::Alarm", "AlarmActions: [!Ref T]")


@failing(
    an_alarm=(ALARM % ("alias/aws/sns", CLOUDWATCH, USE, *BY_ALARM), "Publisher cannot publish to T: alias/aws/sns"),
    its_recovery=(
        ALARM % ("alias/aws/sns", CLOUDWATCH, USE, "AWS::CloudWatch::Alarm", "OKActions: [!GetAtt T.TopicArn]"),
        "does not allow cloudwatch.amazonaws.com",
    ),
    a_composite_alarm=(
        ALARM % ("alias/aws/sns", CLOUDWATCH, USE, "AWS::CloudWatch::CompositeAlarm", "AlarmActions: [!Ref T]"),
        "Publisher cannot publish",
    ),
    an_event_rule=(
        ALARM % ("alias/aws/sns", CLOUDWATCH, USE, "AWS::Events::Rule", "Targets: [{Id: a, Arn: !Ref T}]"),
        "does not allow events.amazonaws.com",
    ),
    by_default=(
        "        Conditions: {Own: !Equals [!Ref Outside, own]}"
        + ALARM % ("!If [Own, !Ref Key, alias/aws/sns]", CLOUDWATCH, USE, *BY_ALARM),
        "(when Own is false)",
    ),
)
def test_a_publisher_that_the_managed_key_does_not_allow_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(PublisherCannotUseManagedKey, template)] == [True]


@cases(
    a_key_of_ones_own=ALARM % ("!Ref Key", CLOUDWATCH, USE, *BY_ALARM),
    no_key=ALARM % ("!Ref AWS::NoValue", CLOUDWATCH, USE, *BY_ALARM),
    no_publisher=ALARM % ("alias/aws/sns", CLOUDWATCH, USE, "AWS::CloudWatch::Alarm", "AlarmActions: []"),
    another_topic=ALARM % ("alias/aws/sns", CLOUDWATCH, USE, "AWS::CloudWatch::Alarm", "AlarmActions: [!Ref Outside]"),
)
def test_a_publisher_that_can_reach_its_topic_passes(template: str) -> None:
    assert findings(PublisherCannotUseManagedKey, template) == []


@failing(
    another_service=(
        ALARM % ("!Ref Key", "{Service: sns.amazonaws.com}", USE, *BY_ALARM),
        "Key, the key of T, does not allow cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey",
    ),
    half_of_it=(ALARM % ("!GetAtt Key.Arn", CLOUDWATCH, "'kms:GenerateDataKey*'", *BY_ALARM), " kms:Decrypt"),
    through_an_alias=(
        ALARM % ("!Ref Alias", "{AWS: 'arn:aws:iam::123456789012:root'}", USE, *BY_ALARM),
        "does not allow",
    ),
    through_the_aliass_name=(
        ALARM % ("alias/topics", "{Service: sns.amazonaws.com}", USE, *BY_ALARM),
        "does not allow",
    ),
)
def test_a_key_that_does_not_allow_its_publisher_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(PublisherNotAllowedByKey, template)] == [True]


@cases(
    admitted=ALARM % ("!Ref Key", CLOUDWATCH, USE, *BY_ALARM),
    admitted_among_others=ALARM
    % ("!Ref Key", "{Service: [sns.amazonaws.com, cloudwatch.amazonaws.com]}", "'kms:*'", *BY_ALARM),
    admitted_with_everybody=ALARM % ("!Ref Key", "'*'", "'*'", *BY_ALARM),
    a_principal_by_parameter=ALARM % ("!Ref Key", "{Service: !Ref Outside}", USE, *BY_ALARM),
    a_key_that_is_not_made_here=ALARM % ("!Ref Outside", "{Service: sns.amazonaws.com}", USE, *BY_ALARM),
)
def test_a_key_that_allows_its_publisher_or_is_unknown_passes(template: str) -> None:
    assert findings(PublisherNotAllowedByKey, template) == []
