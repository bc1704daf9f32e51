from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cfn.functions import IMAGE_PATTERN
from cfn.placeholder import placeholder_digest
from cfn.preferences import shifting_seconds
from cfn.settings import Call, Settings
from cfn.validation import SHIFTING
from pipeline.core.errors import SettingsError
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD, of_type, pipeline, role_statements, statements

DIGEST = "sha256:" + "0a" * 32


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return pipeline()


@pytest.fixture(scope="module")
def protected() -> dict[str, Any]:
    return pipeline(PROD)


# Functions


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("", True),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@{DIGEST}", True),
        (f"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/team/fraud-detection@{DIGEST}", True),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev:latest", False),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@sha256:0a", False),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@{DIGEST.upper()}", False),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-dev@{DIGEST}\n", False),
        (f"docker.io/library/alpine@{DIGEST}", False),
        (DIGEST, False),
    ],
)
def test_image_parameter_takes_a_digest_or_nothing(template: dict[str, Any], text: str, accepted: bool) -> None:
    parameter = template["Parameters"]["FraudDetectionImageUri"]
    assert parameter["Default"] == ""
    assert parameter["AllowedPattern"] == IMAGE_PATTERN
    assert bool(re.fullmatch(parameter["AllowedPattern"], text)) is accepted


def test_function_falls_back_to_the_placeholder_without_asking_the_other_stack(template: dict[str, Any]) -> None:
    image = template["Resources"]["FraudDetectionFunction"]["Properties"]["Code"]["ImageUri"]
    registry = "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}"
    assert image == {
        "Fn::If": [
            "HasFraudDetectionImage",
            {"Ref": "FraudDetectionImageUri"},
            {"Fn::Sub": f"{registry}/fraud-detection-dev@{placeholder_digest('arm64')}"},
        ]
    }
    assert "Fn::ImportValue" not in str(template)


def test_function_is_what_the_design_says(template: dict[str, Any]) -> None:
    properties = template["Resources"]["FraudDetectionFunction"]["Properties"]
    assert properties["FunctionName"] == "fraud-detection-dev"
    assert properties["PackageType"] == "Image"
    assert (properties["MemorySize"], properties["Timeout"], properties["Architectures"]) == (1769, 60, ["arm64"])
    assert not {"Handler", "Runtime", "Layers"} & properties.keys(), "Lambda refuses these with an image"
    assert properties["LoggingConfig"] == {
        "LogFormat": "JSON",
        "SystemLogLevel": "WARN",
        "LogGroup": {"Ref": "FraudDetectionLogGroup"},
    }
    assert len(properties["VpcConfig"]["SubnetIds"]) == 3


def test_function_learns_its_digest_its_table_and_its_names(template: dict[str, Any]) -> None:
    properties = template["Resources"]["FraudDetectionFunction"]["Properties"]
    # Behind the first "@" stands the parameter's digest, or the placeholder's while the parameter is empty.
    either = {"Fn::Sub": f"${{FraudDetectionImageUri}}@{placeholder_digest('arm64')}"}
    digest = {"Fn::Select": [1, {"Fn::Split": ["@", either]}]}
    version = template["Resources"]["FraudDetectionVersion"]["Properties"]["Description"]
    assert properties["Environment"]["Variables"] == {
        "CONFIGURATION": version["Fn::Join"][1][1],
        "ENVIRONMENT": "dev",
        "TABLE_NAME": {"Ref": "StateTable"},
        "IMAGE_DIGEST": digest,
        "POWERTOOLS_SERVICE_NAME": "fraud-detection",
        "POWERTOOLS_METRICS_NAMESPACE": "TransactionPipeline",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
    assert template["Outputs"]["FraudDetectionImageDigest"]["Value"] == digest
    others = template["Resources"]["ComplianceCheckingFunction"]["Properties"]["Environment"]["Variables"]
    assert "TABLE_NAME" not in others


def test_role_allows_the_declared_calls_and_the_own_log_only(template: dict[str, Any]) -> None:
    log, query = role_statements(template, "FraudDetectionRole")
    assert log["Resource"] == {"Fn::GetAtt": ["FraudDetectionLogGroup", "Arn"]}
    assert query["Action"] == ["dynamodb:Query"]
    assert query["Resource"] == {"Fn::Sub": "${StateTable.Arn}/index/customer"}
    assert len(role_statements(template, "ComplianceCheckingRole")) == 1


def test_only_lambda_itself_may_touch_network_interfaces(template: dict[str, Any]) -> None:
    allow, deny = statements(template["Resources"]["NetworkInterfacePolicy"]["Properties"]["PolicyDocument"])
    assert allow["Effect"] == "Allow"
    assert deny["Effect"] == "Deny"
    assert all(action.startswith("ec2:") for action in allow["Action"])
    assert deny["Action"] == "ec2:*"
    assert deny["Condition"] == {"Null": {"lambda:SourceFunctionArn": "false"}}


def test_reserved_concurrency_can_be_given_up_when_the_account_is_small(template: dict[str, Any]) -> None:
    assert template["Parameters"]["ReservedConcurrency"]["Default"] == 60
    assert pipeline(replace(DEV, reserved_concurrency=0))["Parameters"]["ReservedConcurrency"]["Default"] == 0
    reserved = template["Resources"]["FraudDetectionFunction"]["Properties"]["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReservesConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert template["Conditions"]["ReservesConcurrency"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, "0"]}]
    }


def fingerprint(settings: Settings = DEV, **changes: Any) -> str:
    functions = (replace(FUNCTIONS[1], **changes), FUNCTIONS[0], FUNCTIONS[2])
    version = pipeline(settings, functions)["Resources"]["FraudDetectionVersion"]["Properties"]
    _digest, made = version["Description"]["Fn::Join"][1]
    return str(made)


@pytest.mark.parametrize(
    "changes", [{"memory": 1024}, {"timeout": 30}, {"description": "other"}, {"environment": (("LIMIT", "5"),)}]
)
def test_another_configuration_is_another_version(changes: dict[str, Any]) -> None:
    assert fingerprint(**changes) != fingerprint()


def test_another_network_is_another_version() -> None:
    assert fingerprint(replace(DEV, zones=2)) != fingerprint()
    assert fingerprint(replace(DEV, vpc_cidr="10.30.0.0/20")) != fingerprint()


def test_what_versions_do_not_hold_makes_no_new_one() -> None:
    # Lambda refuses to publish a version that equals the last one, which would fail the update.
    assert fingerprint(replace(DEV, reserved_concurrency=7)) == fingerprint()
    assert fingerprint(calls=(Call("sqs", ("SendMessage",), "dead-letter-queue"), *FUNCTIONS[1].calls)) == fingerprint()


def test_workflow_calls_the_alias_that_follows_the_version(template: dict[str, Any]) -> None:
    alias = template["Resources"]["FraudDetectionAlias"]["Properties"]
    assert alias["Name"] == "live"
    assert alias["FunctionVersion"] == {"Fn::GetAtt": ["FraudDetectionVersion", "Version"]}
    (invoke,) = [
        each for each in role_statements(template, "StateMachineRole") if each["Action"] == ["lambda:InvokeFunction"]
    ]
    assert {"Ref": "FraudDetectionAlias"} in invoke["Resource"]


# Release


def test_all_at_once_needs_no_codedeploy(template: dict[str, Any]) -> None:
    assert "CodeDeploy" not in str(template)
    assert "UpdatePolicy" not in template["Resources"]["FraudDetectionAlias"]


@pytest.mark.parametrize("preference", SHIFTING)
def test_a_shift_is_stopped_by_errors_of_the_new_version_behind_the_alias(preference: str) -> None:
    template = pipeline(replace(DEV, release=preference))
    group = template["Resources"]["FraudDetectionRelease"]["Properties"]
    assert group["DeploymentConfigName"] == f"CodeDeployDefault.{preference}"
    assert group["AlarmConfiguration"] == {
        "Enabled": True,
        "Alarms": [{"Name": {"Ref": "FraudDetectionNewVersionErrors"}}],
    }
    alarm = template["Resources"]["FraudDetectionNewVersionErrors"]["Properties"]
    assert (alarm["MetricName"], alarm["Threshold"]) == ("Errors", 0)
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
        "FunctionName": {"Ref": "FraudDetectionFunction"},
        "Resource": "fraud-detection-dev:live",
        "ExecutedVersion": {"Fn::GetAtt": ["FraudDetectionVersion", "Version"]},
    }
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert template["Resources"]["FraudDetectionAlias"]["UpdatePolicy"] == {
        "CodeDeployLambdaAliasUpdate": {
            "Fn::If": [
                "ShiftsTraffic",
                {"ApplicationName": {"Ref": "Releases"}, "DeploymentGroupName": {"Ref": "FraudDetectionRelease"}},
                {"Ref": "AWS::NoValue"},
            ]
        }
    }
    assert template["Parameters"]["ShiftTraffic"]["Default"] == "true"


@pytest.mark.parametrize(
    ("preference", "minutes"),
    [
        ("AllAtOnce", 0),
        ("LambdaCanary10Percent5Minutes", 5),
        ("LambdaCanary10Percent30Minutes", 30),
        ("LambdaLinear10PercentEvery1Minute", 9),
        ("LambdaLinear10PercentEvery10Minutes", 90),
    ],
)
def test_how_long_a_shift_takes_follows_from_its_preference(preference: str, minutes: int) -> None:
    assert shifting_seconds(preference) == minutes * 60
    assert all(shifting_seconds(each) > 0 for each in SHIFTING)


def test_unknown_release_is_refused() -> None:
    with pytest.raises(SettingsError, match="release is 'Canary' and CodeDeploy has AllAtOnce, LambdaCanary"):
        pipeline(replace(DEV, release="Canary"))


# Data


def test_table_defines_key_attributes_only(template: dict[str, Any]) -> None:
    table = template["Resources"]["StateTable"]["Properties"]
    keys = [*table["KeySchema"], *(key for index in table["GlobalSecondaryIndexes"] for key in index["KeySchema"])]
    assert {each["AttributeName"] for each in table["AttributeDefinitions"]} == {each["AttributeName"] for each in keys}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize("logical_id", ["StateTable", "DeadLetterQueue", "FraudDetectionLogGroup"])
def test_protected_data_outlives_the_stack(
    template: dict[str, Any], protected: dict[str, Any], logical_id: str
) -> None:
    for made, policy in ((template, "Delete"), (protected, "Retain")):
        resource = made["Resources"][logical_id]
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == policy


def test_protected_table_cannot_be_deleted_by_hand(template: dict[str, Any], protected: dict[str, Any]) -> None:
    assert protected["Resources"]["StateTable"]["Properties"]["DeletionProtectionEnabled"] is True
    assert template["Resources"]["StateTable"]["Properties"]["DeletionProtectionEnabled"] is False


def test_queue_keeps_encrypted_messages_for_fourteen_days(template: dict[str, Any]) -> None:
    queue = template["Resources"]["DeadLetterQueue"]["Properties"]
    assert queue["MessageRetentionPeriod"] == 14 * 86_400
    assert queue["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize("logical_id", ["DeadLetterQueuePolicy", "AlertTopicPolicy", "AlarmTopicPolicy"])
def test_nobody_gets_in_without_tls(template: dict[str, Any], logical_id: str) -> None:
    document = template["Resources"][logical_id]["Properties"]["PolicyDocument"]
    (deny,) = [each for each in statements(document) if each["Effect"] == "Deny"]
    assert deny["Principal"] == "*"
    assert deny["Condition"]["Bool"] == {"aws:SecureTransport": "false"}


def test_alerts_use_the_managed_key_and_alarms_one_that_admits_them(template: dict[str, Any]) -> None:
    resources = template["Resources"]
    assert resources["AlertTopic"]["Properties"]["KmsMasterKeyId"] == "alias/aws/sns"
    assert resources["AlarmTopic"]["Properties"]["KmsMasterKeyId"] == {"Ref": "AlarmKey"}
    (alarms,) = [
        each
        for each in statements(resources["AlarmKey"]["Properties"]["KeyPolicy"])
        if each["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert alarms["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]


# Alarms


def test_alarms_watch_functions_queue_and_executions(template: dict[str, Any]) -> None:
    watched = {
        (each["Properties"]["Namespace"], each["Properties"]["MetricName"])
        for each in of_type(template, "AWS::CloudWatch::Alarm").values()
    }
    assert watched == {
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/States", "ExecutionsTimedOut"),
        ("transaction-pipeline-dev", "ExecutionsLost"),
        ("transaction-pipeline-dev", "ParkedInTable"),
    }
    for each in of_type(template, "AWS::CloudWatch::Alarm").values():
        assert each["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert each["Properties"]["TreatMissingData"] == "notBreaching"


# The template as a whole


def test_outputs_give_the_command_line_what_it_needs(template: dict[str, Any]) -> None:
    assert {
        "StateMachineArn",
        "StateTableName",
        "DeadLetterQueueUrl",
        "AlertTopicArn",
        "AlarmTopicArn",
        "FraudDetectionFunctionName",
        "FraudDetectionImageDigest",
    } <= template["Outputs"].keys()


def test_every_log_group_is_named_and_keeps_thirty_days(template: dict[str, Any]) -> None:
    groups = of_type(template, "AWS::Logs::LogGroup")
    assert len(groups) == len(FUNCTIONS) + 1
    for each in groups.values():
        assert each["Properties"]["RetentionInDays"] == 30
        assert each["Properties"]["LogGroupName"]


def test_order_of_the_functions_does_not_matter(template: dict[str, Any]) -> None:
    assert pipeline(DEV, FUNCTIONS[::-1]) == template


def test_a_table_class_that_dynamodb_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="table_class is 'GLACIER' and DynamoDB has STANDARD and STANDARD_INFREQ"):
        pipeline(Settings("dev", table_class="GLACIER"))


@pytest.mark.parametrize("setting", [{"table_class": "STANDARD_INFREQUENT_ACCESS"}, {"find_lost_claims": True}])
def test_settings_of_transactions_are_refused_without_transactions(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(setting))} is for .*the project has no transactions"):
        pipeline(Settings("dev", project="orders", workflow=None, **setting), ())


def test_the_table_has_the_class_and_the_index_that_are_asked_for() -> None:
    table = pipeline(PROD)["Resources"]["StateTable"]["Properties"]
    assert table["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    [_customer, leases] = table["GlobalSecondaryIndexes"]
    assert [key["AttributeName"] for key in leases["KeySchema"]] == ["lease_shard", "lease_until"]
    assert "TableClass" not in pipeline()["Resources"]["StateTable"]["Properties"]
