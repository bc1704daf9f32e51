"""One request for each row of the table of refusals, by service, call and condition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from botocore.config import Config
from botocore.exceptions import ClientError

from pipeline.local.emulator.strict.function_refusals import INVOCATION
from pipeline.local.emulator.strict.refusal import Refusal
from tests.functional.local.strict_place import INDEX, PASS, RESERVED, TABLE, TEMPLATE, ZIP, Place
from tests.functional.local_images import LAYER, MANIFEST

Case = Callable[[Place], Any]


def twice(repository: str, tag: str | None) -> Case:
    def put(place: Place) -> None:
        manifest = place.manifest(repository, layer=f"{repository} {tag}".encode())
        place.put(repository, manifest, tag)
        place.put(repository, manifest, tag)

    return put


def another_under_an_immutable_tag(place: Place) -> None:
    place.put("strict-immutable", place.manifest("strict-immutable", layer=b"one"), "taken")
    place.put("strict-immutable", place.manifest("strict-immutable", layer=b"two"), "taken")


def without_layers(place: Place) -> None:
    manifest = place.manifest("strict-mutable", layer=b"a layer of another repository")
    place.put("strict-immutable", manifest, "absent")


def index_of_nothing(place: Place) -> None:
    described = {"mediaType": MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 2}
    place.put(
        "strict-mutable", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}), "index", INDEX
    )


def a_thousand_tags(place: Place) -> None:
    manifest = place.manifest("strict-mutable", layer=b"often tagged")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: place.put("strict-mutable", manifest, f"tag-{number}"), range(1000)))
    place.put("strict-mutable", manifest, "one-more")


def push_over_http(place: Place) -> None:
    manifest = place.manifest("strict-immutable", layer=b"over http").encode()
    url = f"{place.aws.endpoint}/v2/strict-immutable/manifests/http"
    token = place.aws.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    headers = {"Content-Type": MANIFEST, "Authorization": f"Basic {token}"}
    for _ in range(2):
        request = Request(url, data=manifest, method="PUT", headers=headers)
        try:
            urlopen(request, timeout=30).close()
        except HTTPError as error:
            [found] = json.loads(error.read())["errors"]
            raise ClientError({"Error": {"Code": found["code"], "Message": found["message"]}}, "push") from error


def two_small_parts(place: Place) -> None:
    upload = place.ecr.initiate_layer_upload(repositoryName="strict-mutable")["uploadId"]
    for first in (0, 3):
        place.ecr.upload_layer_part(
            repositoryName="strict-mutable", uploadId=upload, partFirstByte=first, partLastByte=first + 2,
            layerPartBlob=b"abc",
        )  # fmt: skip
    digest = f"sha256:{hashlib.sha256(b'abcabc').hexdigest()}"
    place.ecr.complete_layer_upload(repositoryName="strict-mutable", uploadId=upload, layerDigests=[digest])


def index_as_function(place: Place) -> None:
    digest = place.image.rpartition("@")[2]
    manifest = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"mediaType": MANIFEST, "digest": digest, "size": 1}],
    }
    place.image_function(place.uri("strict-image", place.registry.put_manifest("strict-image", manifest)))


def artifact_as_code(place: Place) -> None:
    manifest = place.manifest("strict-mutable", layer=b"zstd", media_type=f"{LAYER.removesuffix('gzip')}zstd")
    digest = place.put("strict-mutable", manifest)["image"]["imageId"]["imageDigest"]
    made_image_function(place).update_function_code(
        FunctionName="strict-made", ImageUri=place.uri("strict-mutable", digest)
    )


def made_image_function(place: Place) -> Any:
    try:
        place.functions.get_function(FunctionName="strict-made")
    except place.functions.exceptions.ResourceNotFoundException:
        place.functions.create_function(
            FunctionName="strict-made", PackageType="Image", Role=place.role, Code={"ImageUri": place.image}
        )
    return place.functions


def configure(**settings: Any) -> Case:
    return lambda place: place.functions.update_function_configuration(FunctionName="strict-zip", **settings)


def flood(place: Place, concurrency: int | None) -> None:
    functions = made_image_function(place)
    if concurrency is not None:
        functions.put_function_concurrency(FunctionName="strict-made", ReservedConcurrentExecutions=concurrency)
    try:
        for _ in range(200):
            functions.invoke(FunctionName="strict-made")
    finally:
        functions.delete_function_concurrency(FunctionName="strict-made")


def change_set(place: Place, kind: str) -> Any:
    return place.client("cloudformation").create_change_set(
        StackName=place.rolled_back, ChangeSetName=kind.lower(), ChangeSetType=kind, TemplateBody=TEMPLATE
    )


def update_in_review(place: Place) -> None:
    cloudformation = place.client("cloudformation")
    cloudformation.create_change_set(
        StackName="strict-review", ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=TEMPLATE
    )
    cloudformation.update_stack(StackName="strict-review", TemplateBody=TEMPLATE)


def tags(service: str, call: str, **parameters: Any) -> Case:
    return lambda place: getattr(place.client(service), call)(
        **{name: value(place) if callable(value) else value for name, value in parameters.items()}
    )


def batch(call: str, member: str, each: Any) -> Case:
    return lambda place: getattr(place.ecr, call)(repositoryName="strict-mutable", **{member: [each] * 101})


LARGE = {"Variables": {"NAME": "x" * 4200}}
OWN = {"Variables": {"AWS_REGION": "eu-west-1"}}
IMAGE = {"imageDigest": f"sha256:{'0' * 64}"}
NOWHERE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/strict-image@sha256:" + "0" * 64
MANY_TAGS = {f"tag-{number}": "1" for number in range(51)}
FLAT = {"aws:own": "1"}
# By service, call, and the beginning of the condition.
CASES: dict[tuple[str, str, str], Case] = {
    ("ecr", "PutImage", "the manifest is not"): lambda p: p.put("strict-mutable", "nothing"),
    ("ecr", "PutImage", "imageDigest is not"): lambda p: p.put(
        "strict-mutable", p.manifest("strict-mutable"), imageDigest=f"sha256:{'0' * 64}"
    ),
    ("ecr", "PutImage", "the tag exists"): twice("strict-immutable", "again"),
    ("ecr", "PUT manifest", "over HTTP"): push_over_http,
    ("ecr", "PutImage", "the same digest"): twice("strict-mutable", "again"),
    ("ecr", "PutImage", "a layer or"): without_layers,
    ("ecr", "PutImage", "an index"): index_of_nothing,
    ("ecr", "PutImage", "the image has 1000"): a_thousand_tags,
    ("ecr", "DeleteRepository", "it contains"): lambda p: p.ecr.delete_repository(repositoryName="strict-image"),
    ("ecr", "BatchGetImage", "more than 100"): batch("batch_get_image", "imageIds", IMAGE),
    ("ecr", "BatchDeleteImage", "more than 100"): batch("batch_delete_image", "imageIds", IMAGE),
    ("ecr", "BatchCheckLayerAvailability", "more"): batch(
        "batch_check_layer_availability", "layerDigests", IMAGE["imageDigest"]
    ),
    ("ecr", "UploadLayerPart", "the part"): lambda p: p.upload("strict-mutable", b"\0" * 20_971_530),
    ("ecr", "CompleteLayerUpload", "a part before"): two_small_parts,
    ("lambda", "CreateFunction", "the name has"): lambda p: p.create_function("x" * 65),
    ("lambda", "CreateFunction", "the image is not"): lambda p: p.image_function("docker.io/library/alpine:3"),
    ("lambda", "UpdateFunctionCode", "the image is not"): lambda p: made_image_function(p).update_function_code(
        FunctionName="strict-made", ImageUri=p.image.replace("us-east-1", "eu-west-1")
    ),
    ("lambda", "CreateFunction", "the repository has"): lambda p: p.image_function(NOWHERE),
    ("lambda", "UpdateFunctionCode", "the repository has"): lambda p: made_image_function(p).update_function_code(
        FunctionName="strict-made", ImageUri=NOWHERE
    ),
    ("lambda", "CreateFunction", "an image index"): index_as_function,
    ("lambda", "UpdateFunctionCode", "an image index"): artifact_as_code,
    ("lambda", "CreateFunction", "Runtime, Handler"): lambda p: p.image_function(p.image, Handler="a.b"),
    ("lambda", "CreateFunction", "more than 10,240"): lambda p: p.create_function("strict-none", MemorySize=10_241),
    ("lambda", "UpdateFunctionConfiguration", "more than 10,240"): configure(MemorySize=10_241),
    ("lambda", "CreateFunction", "less than 128"): lambda p: p.client(
        "lambda", config=NO_VALIDATION
    ).create_function(
        FunctionName="strict-none", Role=p.role, Runtime="python3.13", Handler="a.b",
        Code={"ZipFile": ZIP.getvalue()}, MemorySize=127,
    ),
    ("lambda", "UpdateFunctionConfiguration", "less than 128"): lambda p: p.client(
        "lambda", config=NO_VALIDATION
    ).update_function_configuration(FunctionName="strict-zip", MemorySize=1),
    ("lambda", "CreateFunction", "a timeout"): lambda p: p.create_function("strict-none", Timeout=901),
    ("lambda", "UpdateFunctionConfiguration", "a timeout"): configure(Timeout=901),
    ("lambda", "CreateFunction", "environment"): lambda p: p.create_function("strict-none", Environment=LARGE),
    ("lambda", "UpdateFunctionConfiguration", "environment"): configure(Environment=LARGE),
    ("lambda", "CreateFunction", "a reserved environment"): lambda p: p.create_function("strict-none", Environment=OWN),
    ("lambda", "UpdateFunctionConfiguration", "a reserved environment"): configure(Environment=OWN),
    ("lambda", "CreateFunction", "more than 50 tags"): lambda p: p.create_function("strict-none", Tags=MANY_TAGS),
    ("lambda", "PutFunctionConcurrency", "less than 100"): lambda p: p.functions.put_function_concurrency(
        FunctionName="strict-zip", ReservedConcurrentExecutions=901
    ),
    ("lambda", "Invoke", "an event"): lambda p: p.functions.invoke(
        FunctionName="strict-zip", Payload=json.dumps("x" * 6_291_456)
    ),
    ("lambda", INVOCATION, "more than 10 invocations a second for each reserved"): lambda p: flood(p, 1),
    ("cloudformation", "CreateChangeSet", "type CREATE"): lambda p: change_set(p, "CREATE"),
    ("cloudformation", "CreateChangeSet", "the stack is in a status"): lambda p: change_set(p, "UPDATE"),
    ("cloudformation", "UpdateStack", "the stack is in a status"): lambda p: p.client("cloudformation").update_stack(
        StackName=p.rolled_back, TemplateBody=TEMPLATE
    ),
    ("cloudformation", "UpdateStack", "the stack is in REVIEW"): update_in_review,
    ("ecr", "CreateRepository", "a tag"): tags("ecr", "create_repository", repositoryName="none", tags=RESERVED),
    ("ecr", "TagResource", "a tag"): tags(
        "ecr", "tag_resource", tags=RESERVED, resourceArn="arn:aws:ecr:us-east-1:000000000000:repository/strict-image"
    ),
    ("lambda", "CreateFunction", "a tag"): lambda p: p.create_function("strict-none", Tags=FLAT),
    ("lambda", "TagResource", "a tag"): tags(
        "lambda", "tag_resource", Tags=FLAT, Resource="arn:aws:lambda:us-east-1:000000000000:function:strict-zip"
    ),
    ("sqs", "CreateQueue", "a tag"): tags("sqs", "create_queue", QueueName="none", tags=FLAT),
    ("sqs", "TagQueue", "a tag"): tags("sqs", "tag_queue", QueueUrl=lambda p: p.queue, Tags=FLAT),
    ("dynamodb", "CreateTable", "a tag"): tags("dynamodb", "create_table", **TABLE, Tags=RESERVED),
    ("dynamodb", "TagResource", "a tag"): tags(
        "dynamodb", "tag_resource", ResourceArn=lambda p: p.table, Tags=RESERVED
    ),
    ("ssm", "PutParameter", "a tag"): tags(
        "ssm", "put_parameter", Name="/strict/none", Value="1", Type="String", Tags=RESERVED
    ),
    ("ssm", "AddTagsToResource", "a tag"): tags(
        "ssm", "add_tags_to_resource", ResourceType="Parameter", ResourceId="/strict/kept", Tags=RESERVED
    ),
    ("states", "CreateStateMachine", "a tag"): tags(
        "stepfunctions", "create_state_machine", name="none", definition=PASS, roleArn=lambda p: p.role,
        tags=[{"key": "aws:own", "value": "1"}],
    ),
    ("states", "TagResource", "a tag"): tags(
        "stepfunctions", "tag_resource", resourceArn=lambda p: p.machine, tags=[{"key": "aws:own", "value": "1"}]
    ),
    ("logs", "CreateLogGroup", "a tag"): tags("logs", "create_log_group", logGroupName="none", tags=FLAT),
    ("logs", "TagResource", "a tag"): tags(
        "logs", "tag_resource", resourceArn="arn:aws:logs:us-east-1:000000000000:log-group:strict", tags=FLAT
    ),
    ("kms", "CreateKey", "a tag"): tags("kms", "create_key", Tags=[{"TagKey": "aws:own", "TagValue": "1"}]),
    ("kms", "TagResource", "a tag"): tags(
        "kms", "tag_resource", KeyId=lambda p: p.key, Tags=[{"TagKey": "aws:own", "TagValue": "1"}]
    ),
    ("ec2", "*", "a tag"): tags("ec2", "create_tags", Resources=lambda p: [p.vpc], Tags=RESERVED),
    ("iam", "CreateRole", "a tag"): tags(
        "iam", "create_role", RoleName="none", AssumeRolePolicyDocument="{}", Tags=RESERVED
    ),
    ("iam", "TagRole", "a tag"): tags("iam", "tag_role", RoleName="strict", Tags=RESERVED),
    ("sns", "CreateTopic", "a tag"): tags("sns", "create_topic", Name="none", Tags=RESERVED),
    ("sns", "TagResource", "a tag"): tags("sns", "tag_resource", ResourceArn=lambda p: p.topic, Tags=RESERVED),
    ("ssm", "PutParameter", "a value of more than 4,096"): tags(
        "ssm", "put_parameter", Name="/strict/none", Value="x" * 4097, Type="String"
    ),
    ("ssm", "PutParameter", "a value of more than 8,192"): tags(
        "ssm", "put_parameter", Name="/strict/none", Value="x" * 8193, Type="String", Tier="Advanced"
    ),
    ("states", "StartExecution", "an input"): tags(
        "stepfunctions", "start_execution", stateMachineArn=lambda p: p.machine, input=json.dumps("x" * 262_143)
    ),
    ("states", "StartSyncExecution", "an input"): tags(
        "stepfunctions", "start_sync_execution", stateMachineArn=lambda p: p.machine, input=json.dumps("x" * 262_143)
    ),
    ("kms", "CreateAlias", "an alias"): tags(
        "kms", "create_alias", AliasName="alias/aws/none", TargetKeyId=lambda p: p.key
    ),
    ("logs", "CreateLogGroup", "a name"): tags("logs", "create_log_group", logGroupName="aws/none"),
    ("s3", "CreateBucket", "a reserved"): tags("s3", "create_bucket", Bucket="none-s3alias"),
    ("ec2", "CreateVpc", "a network"): tags("ec2", "create_vpc", CidrBlock="10.0.0.0/15"),
    ("ec2", "CreateSubnet", "a network"): tags(
        "ec2", "create_subnet", VpcId=lambda p: p.vpc, CidrBlock="10.0.0.0/29"
    ),
}  # fmt: skip
# Would take 10,000 invocations in a second; tests/unit/local/emulator/test_strict.py has its arithmetic.
ELSEWHERE = {
    ("lambda", INVOCATION, "more than 10 invocations a second for each unreserved execution of the account"),
    # test_a_fresh_account_has_five_networks and test_a_fresh_account_has_twenty_gateways
    ("ec2", "CreateVpc", "on a fresh account: there are 5 VPCs in the region"),
    ("ec2", "CreateVpcEndpoint", "on a fresh account: there are 20 gateway endpoints in the region"),
}


NO_VALIDATION = Config(parameter_validation=False)


def case_of(row: Refusal) -> Case | None:
    found = [case for (service, call, condition), case in CASES.items()
             if (service, call) == (row.service, row.call) and row.condition.startswith(condition)]  # fmt: skip
    assert len(found) <= 1, row
    return found[0] if found else None
