from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatch

import pytest

from cfn.placeholder import placeholder_digest, placeholder_tag
from cfn.settings import Architecture, FunctionDefinition, Settings
from tests.unit.cfn.examples import DEV, FUNCTIONS, PROD, of_type, registry, role_statements


def repository(settings: Settings = DEV) -> dict[str, object]:
    return registry(settings)["Resources"]["FraudDetectionRepository"]


def test_every_function_has_a_repository_a_placeholder_and_outputs() -> None:
    template = registry()
    names = {each["Properties"]["RepositoryName"] for each in of_type(template, "AWS::ECR::Repository").values()}
    assert names == {"transaction-validation-dev", "fraud-detection-dev", "compliance-checking-dev"}
    assert len(of_type(template, "Custom::PlaceholderImage")) == len(FUNCTIONS)
    for stem in ("TransactionValidation", "FraudDetection", "ComplianceChecking"):
        assert {f"{stem}RepositoryUri", f"{stem}PlaceholderUri"} <= template["Outputs"].keys()


def test_lifecycle_expires_nothing_that_a_release_or_a_placeholder_is_tagged_with() -> None:
    # The evaluation rule of ECR: an image that matches a rule's tags is out of reach for every later rule.
    template = registry()
    for each in of_type(template, "AWS::ECR::Repository").values():
        chosen = each["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
        assert chosen == {"Fn::FindInMap": ["Lifecycle", "Repositories", "Policy"]}
    text = template["Mappings"]["Lifecycle"]["Repositories"]["Policy"]
    rules = sorted(json.loads(text)["rules"], key=lambda rule: rule["rulePriority"])

    def days_until_expiry(*tags: str) -> int | None:
        for rule in rules:
            assert rule["selection"]["tagStatus"] == "tagged", "a rule for untagged or any images deletes deployed ones"
            if all(any(fnmatch(tag, each) for tag in tags) for each in rule["selection"]["tagPatternList"]):
                return int(rule["selection"]["countNumber"])
        return None

    assert days_until_expiry() is None
    assert days_until_expiry("v1") is None
    assert days_until_expiry("sha256-" + "0a" * 32) is None
    assert days_until_expiry("cache-main") == 14
    for kept in ("release-7", placeholder_tag(placeholder_digest("arm64"))):
        assert days_until_expiry(kept) == 36_500
        assert days_until_expiry(kept, "cache-main") == 36_500


def test_only_tags_of_what_cannot_run_may_move() -> None:
    properties = repository()["Properties"]
    assert properties["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"  # type: ignore[index]
    assert [
        each["ImageTagMutabilityExclusionFilterValue"]
        for each in properties["ImageTagMutabilityExclusionFilters"]  # type: ignore[index]
    ] == ["cache-*", "sha256-*"]


@pytest.mark.parametrize(("settings", "policy", "encryption"), [(DEV, "Delete", "AES256"), (PROD, "Retain", "KMS")])
def test_protected_repositories_outlive_the_stack(settings: Settings, policy: str, encryption: str) -> None:
    resource = repository(settings)
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == policy
    # Or a creation that failed could not be rolled back.
    assert resource["Properties"]["EmptyOnDelete"] is True  # type: ignore[index]
    assert resource["Properties"]["EncryptionConfiguration"] == {"EncryptionType": encryption}  # type: ignore[index]


def test_lambda_of_this_account_may_pull() -> None:
    (statement,) = repository()["Properties"]["RepositoryPolicyText"]["Statement"]  # type: ignore[index]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert statement["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    assert statement["Condition"] == {
        "StringLike": {
            "aws:sourceARN": {"Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*"}
        }
    }


def test_pusher_may_push_into_these_repositories_and_write_its_own_log_and_nothing_else() -> None:
    template = registry()
    push, log = role_statements(template, "PlaceholderRole")
    assert push["Action"] == [
        "ecr:CompleteLayerUpload",
        "ecr:DescribeImages",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    ]
    assert {each["Fn::GetAtt"][0] for each in push["Resource"]} == of_type(template, "AWS::ECR::Repository").keys()
    assert log["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert log["Resource"] == {"Fn::GetAtt": ["PlaceholderLogGroup", "Arn"]}


def test_custom_resource_gives_up_in_time_and_is_called_again_for_another_image() -> None:
    arm = of_type(registry(), "Custom::PlaceholderImage")["FraudDetectionPlaceholder"]["Properties"]
    x86 = of_type(registry(replace(DEV, architecture=Architecture.X86_64)), "Custom::PlaceholderImage")
    assert arm["ServiceTimeout"] == 120
    assert arm["Digest"] == placeholder_digest("arm64")
    assert x86["FraudDetectionPlaceholder"]["Properties"]["Digest"] == placeholder_digest("x86_64")


def test_order_of_the_functions_does_not_matter() -> None:
    assert registry(DEV, FUNCTIONS[::-1]) == registry(DEV, FUNCTIONS)


def test_no_functions_make_no_pusher() -> None:
    assert registry(DEV, ())["Resources"] == {}


def test_fifteen_functions_fit() -> None:
    functions = tuple(FunctionDefinition(f"function-number-{number}") for number in range(15))
    assert len(of_type(registry(DEV, functions), "Custom::PlaceholderImage")) == 15
