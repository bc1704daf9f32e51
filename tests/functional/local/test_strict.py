"""The embedded AWS refuses what AWS refuses: one case, through boto3, for each row of the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from pipeline.local.emulator.strict.control_plane import ACCOUNT_VARIABLE, FRESH
from pipeline.local.emulator.strict.refusal import Refusal
from pipeline.local.emulator.strict.resources import NAMES
from pipeline.local.emulator.strict.table import REFUSALS
from pipeline.local.host.control import local_session
from tests.functional.conftest import EmbeddedAws
from tests.functional.local.strict_cases import (
    CASES,
    ELSEWHERE,
    another_under_an_immutable_tag,
    case_of,
    made_image_function,
)
from tests.functional.local.strict_place import ALARM, PASS, TABLE, Place


@pytest.fixture(scope="module")
def place(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(embedded_aws, tmp_path_factory.mktemp("client"))


@pytest.mark.parametrize("row", REFUSALS, ids=[f"{row.service} {row.call}: {row.condition[:50]}" for row in REFUSALS])
def test_a_row_is_refused_with_its_code_and_text(place: Place, row: Refusal) -> None:
    case = case_of(row)
    if case is None:
        assert (row.service, row.call, row.condition) in ELSEWHERE
        return
    with pytest.raises(ClientError) as caught:
        case(place)
    error = caught.value.response["Error"]
    assert error["Code"] == row.code
    assert re.fullmatch(re.sub(r"\\{\w+\\}", ".*", re.escape(row.text)), error["Message"], re.DOTALL), error["Message"]


def test_every_case_has_a_row() -> None:
    named = {(row.service, row.call) for row in REFUSALS}
    assert {key[:2] for key in CASES} <= named
    assert len(CASES) + len(ELSEWHERE) == len(REFUSALS)


def test_an_immutable_tag_is_not_moved_to_another_digest(place: Place) -> None:
    with pytest.raises(ClientError, match="ImageTagAlreadyExistsException"):
        another_under_an_immutable_tag(place)


def test_an_excluded_tag_of_an_immutable_repository_moves(place: Place) -> None:
    place.ecr.create_repository(
        repositoryName="strict-excluding", imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "next-*"}],
    )  # fmt: skip
    excluded = {"ImageTagMutabilityExclusionFilterType": "WILDCARD", "ImageTagMutabilityExclusionFilterValue": "next-*"}
    place.stack(
        "strict-excluding-too",
        repository(
            "strict-excluding-too",
            ImageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            ImageTagMutabilityExclusionFilters=[excluded],
        ),
    )
    for name in ("strict-excluding", "strict-excluding-too"):
        for layer in (b"one", b"two"):
            place.put(name, place.manifest(name, layer=layer), "next-1")
        place.put(name, place.manifest(name, layer=b"one"), "1")
        with pytest.raises(ClientError, match="ImageTagAlreadyExistsException"):
            place.put(name, place.manifest(name, layer=b"two"), "1")


def test_a_new_tag_for_the_same_digest_is_taken(place: Place) -> None:
    manifest = place.manifest("strict-mutable", layer=b"two tags")
    digests = {place.put("strict-mutable", manifest, tag)["image"]["imageId"]["imageDigest"] for tag in ("one", "two")}
    assert len(digests) == 1


EXISTING: dict[str, dict[str, Any]] = {
    "AWS::CloudWatch::Alarm": ALARM,
    "AWS::DynamoDB::Table": TABLE,
    "AWS::ECR::Repository": {"RepositoryName": "strict-image"},
    "AWS::IAM::Role": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
    "AWS::KMS::Alias": {"AliasName": "alias/strict", "TargetKeyId": "x"},
    "AWS::Lambda::Function": {"FunctionName": "strict-zip", "Code": {"ZipFile": "x = 1"}, "Handler": "index.x"},
    "AWS::Logs::LogGroup": {},
    "AWS::SNS::Topic": {},
    "AWS::SQS::Queue": {},
    "AWS::StepFunctions::StateMachine": {"DefinitionString": PASS},
}


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_a_stack_does_not_take_over_what_exists(place: Place, kind: str) -> None:
    properties = {NAMES[kind]: "strict", **EXISTING[kind]}
    status, reasons = place.stack(
        f"strict-taken-{kind.split('::')[-1]}", {"R": {"Type": kind, "Properties": properties}}
    )
    assert status == "ROLLBACK_COMPLETE"
    assert f"Resource of type '{kind}' with identifier '{properties[NAMES[kind]]}' already exists." in reasons
    assert "HandlerErrorCode: AlreadyExists" in reasons


def test_what_has_a_read_only_identifier_is_not_adopted_by_its_name(place: Place) -> None:
    cloudformation = place.client("cloudformation")
    resources = {
        kind.split("::")[-1]: {
            "Type": kind,
            "DeletionPolicy": "Retain",
            "Properties": {NAMES[kind]: "strict", **EXISTING[kind]},
        }
        for kind in ("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::ECR::Repository", "AWS::Logs::LogGroup",
                     "AWS::DynamoDB::Table")
    }  # fmt: skip
    cloudformation.create_change_set(
        StackName="strict-adopting", ChangeSetName="c", ChangeSetType="CREATE", ImportExistingResources=True,
        TemplateBody=json.dumps({"Resources": resources}),
    )  # fmt: skip
    changes = cloudformation.describe_change_set(StackName="strict-adopting", ChangeSetName="c")["Changes"]
    actions = {each["ResourceChange"]["LogicalResourceId"]: each["ResourceChange"]["Action"] for each in changes}
    assert actions == {"Queue": "Add", "Topic": "Add", "Repository": "Import", "LogGroup": "Import", "Table": "Import"}


def test_a_repository_is_adopted_with_what_it_holds(place: Place) -> None:
    place.registry.push("strict-kept", {"handler.py": ""})
    repository = {"Type": "AWS::ECR::Repository", "DeletionPolicy": "Retain",
                  "Properties": {"RepositoryName": "strict-kept"}}  # fmt: skip
    cloudformation = place.client("cloudformation")
    cloudformation.create_change_set(
        StackName="strict-kept", ChangeSetName="c", ChangeSetType="CREATE", ImportExistingResources=True,
        TemplateBody=json.dumps({"Resources": {"R": repository}}),
    )  # fmt: skip
    cloudformation.execute_change_set(StackName="strict-kept", ChangeSetName="c")
    assert place.settled("strict-kept") == ("CREATE_COMPLETE", "")
    assert len(place.ecr.describe_images(repositoryName="strict-kept")["imageDetails"]) == 1


def repository(name: str, **more: Any) -> dict[str, Any]:
    return {"Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": name, **more}}}


def test_a_repository_with_images_fails_the_deletion_of_its_stack(place: Place) -> None:
    place.stack("strict-full", repository("strict-full"))
    place.put("strict-full", place.manifest("strict-full"), "one")
    place.client("cloudformation").delete_stack(StackName="strict-full")
    status, reasons = place.settled("strict-full")
    assert status == "DELETE_FAILED"
    assert "cannot be deleted because it still contains images (Service: Ecr, Status Code: 400" in reasons


def test_a_repository_that_is_emptied_goes_with_its_stack(place: Place) -> None:
    cloudformation = place.client("cloudformation")
    place.stack("strict-emptied", repository("strict-emptied", EmptyOnDelete=True))
    place.put("strict-emptied", place.manifest("strict-emptied"), "one")
    stack = cloudformation.describe_stacks(StackName="strict-emptied")["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName="strict-emptied")
    assert place.settled(stack) == ("DELETE_COMPLETE", "")


def test_a_custom_named_resource_is_not_replaced(place: Place) -> None:
    first = repository("strict-named", EncryptionConfiguration={"EncryptionType": "AES256"})
    assert place.stack("strict-named", first)[0] == "CREATE_COMPLETE"
    status, reasons = place.update(
        "strict-named", repository("strict-named", EncryptionConfiguration={"EncryptionType": "KMS"})
    )
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "cannot update a stack when a custom-named resource requires replacing" in reasons


def function(place: Place, **more: Any) -> dict[str, Any]:
    properties = {"FunctionName": "strict-stacked", "Runtime": "python3.13", "Handler": "index.x", "Role": place.role,
                  "Code": {"ZipFile": "x = 1"}, **more}  # fmt: skip
    return {"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}}


def test_a_stack_reserves_concurrency_and_is_refused_what_the_api_refuses(place: Place) -> None:
    assert place.stack("strict-function", function(place, ReservedConcurrentExecutions=5))[0] == "CREATE_COMPLETE"
    reserved = place.functions.get_function_concurrency(FunctionName="strict-stacked")
    assert reserved["ReservedConcurrentExecutions"] == 5
    status, reasons = place.update("strict-function", function(place, ReservedConcurrentExecutions=901))
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "below its minimum value of [100]. (Service: Lambda, Status Code: 400" in reasons
    status, reasons = place.update("strict-function", function(place, MemorySize=10_241))
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "less than or equal to 10240" in reasons
    assert place.update("strict-function", function(place, MemorySize=256))[0] == "UPDATE_COMPLETE"
    assert "ReservedConcurrentExecutions" not in place.functions.get_function_concurrency(FunctionName="strict-stacked")


def test_a_reservation_holds_for_every_version_and_alias(place: Place) -> None:
    functions = made_image_function(place)
    version = functions.publish_version(FunctionName="strict-made")["Version"]
    functions.create_alias(FunctionName="strict-made", Name="reserved", FunctionVersion=version)
    functions.put_function_concurrency(FunctionName="strict-made", ReservedConcurrentExecutions=0)
    try:
        for qualifier in ("$LATEST", version, "reserved"):
            with pytest.raises(functions.exceptions.TooManyRequestsException) as refused:
                functions.invoke(FunctionName="strict-made", Qualifier=qualifier)
            assert refused.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        task = {
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Arguments": {"FunctionName": "strict-made:reserved", "Payload": {}},
        }  # fmt: skip
        definition = {"QueryLanguage": "JSONata", "StartAt": "Invoke", "States": {"Invoke": task}}
        allow = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}
        place.client("iam").put_role_policy(
            RoleName=place.role.rpartition("/")[2], PolicyName="invoke",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
        )  # fmt: skip
        machines = place.client("stepfunctions")
        machine = machines.create_state_machine(
            name="strict-throttled", type="EXPRESS", roleArn=place.role, definition=json.dumps(definition)
        )["stateMachineArn"]
        execution = machines.start_sync_execution(stateMachineArn=machine)
        assert (execution["status"], execution["error"]) == ("FAILED", "Lambda.TooManyRequestsException")
        machines.delete_state_machine(stateMachineArn=machine)
        place.client("iam").delete_role_policy(RoleName=place.role.rpartition("/")[2], PolicyName="invoke")
    finally:
        functions.delete_function_concurrency(FunctionName="strict-made")
        functions.delete_alias(FunctionName="strict-made", Name="reserved")


def test_a_template_body_has_at_most_51200_bytes(place: Place) -> None:
    body = json.dumps({"Metadata": {"text": "x" * 51_200}, "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    with pytest.raises(ClientError, match="less than or equal to 51200"):
        place.client("cloudformation").create_stack(StackName="strict-large", TemplateBody=body)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ACCOUNT_VARIABLE, FRESH)
        with local_session(tmp_path_factory.mktemp("fresh")) as local:
            yield Place(EmbeddedAws.of(local), tmp_path_factory.mktemp("client"))


def test_a_fresh_account_has_3008_mb(fresh: Place) -> None:
    with pytest.raises(ClientError, match="less than or equal to 3008"):
        fresh.create_function("strict-none", MemorySize=3009)
    fresh.create_function("strict-large", MemorySize=3008)


def test_a_fresh_account_has_five_networks(fresh: Place) -> None:
    ec2 = fresh.client("ec2")
    made = [ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"] for number in range(5 - len(networks(ec2)))]
    with pytest.raises(ClientError, match="VpcLimitExceeded"):
        ec2.create_vpc(CidrBlock="10.9.0.0/16")
    vpc = {"Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}}}
    status, reasons = fresh.stack("strict-sixth", vpc)
    assert (status, "The maximum number of VPCs has been reached." in reasons) == ("ROLLBACK_COMPLETE", True)
    ec2.delete_vpc(VpcId=made[0])
    ec2.create_vpc(CidrBlock="10.9.0.0/16")


def networks(ec2: Any) -> list[Any]:
    return list(ec2.describe_vpcs()["Vpcs"])


def test_a_fresh_account_has_twenty_gateways(fresh: Place) -> None:
    ec2, service = fresh.client("ec2"), "com.amazonaws.us-east-1.s3"
    for _ in range(20):
        ec2.create_vpc_endpoint(VpcId=fresh.vpc, ServiceName=service)
    with pytest.raises(ClientError, match="VpcEndpointLimitExceeded"):
        ec2.create_vpc_endpoint(VpcId=fresh.vpc, ServiceName=service)
    ec2.create_vpc_endpoint(VpcId=fresh.vpc, ServiceName=service, VpcEndpointType="Interface")


def test_a_blob_that_no_manifest_refers_to_is_not_mounted(place: Place) -> None:
    place.ecr.create_repository(repositoryName="strict-mounts")
    manifest = place.manifest("strict-mutable", layer=b"mounted")
    digest = json.loads(manifest)["layers"][0]["digest"]
    assert mount(place, digest) == 202
    place.put("strict-mutable", manifest)
    assert mount(place, digest) == 201


def mount(place: Place, digest: str) -> int:
    """The status of a mount into the repository strict-mounts."""
    token = place.ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    url = f"{place.aws.endpoint}/v2/strict-mounts/blobs/uploads/?mount={digest}&from=strict-mutable"
    request = Request(url, data=b"", method="POST", headers={"Authorization": f"Basic {token}"})
    with urlopen(request, timeout=30) as answer:
        return int(answer.status)


def test_a_fresh_account_reserves_nothing(fresh: Place) -> None:
    with pytest.raises(ClientError, match=re.escape("below its minimum value of [10]")):
        fresh.functions.put_function_concurrency(FunctionName="strict-zip", ReservedConcurrentExecutions=1)
