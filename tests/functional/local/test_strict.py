"""The embedded AWS refuses what AWS refuses: one case, through boto3, for each row of the table."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from pipeline.local.emulator.strict.control_plane import ACCOUNT_VARIABLE, FRESH
from pipeline.local.emulator.strict.function_refusals import INVOCATION
from pipeline.local.emulator.strict.refusal import Refusal
from pipeline.local.emulator.strict.resources import NAMES
from pipeline.local.emulator.strict.table import REFUSALS
from pipeline.local.host.control import local_session
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import CONFIG, LAYER, MANIFEST, Registry, make_role, runtime_client, tar

INDEX = "application/vnd.oci.image.index.v1+json"
PASS = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
RESERVED = [{"Key": "aws:own", "Value": "1"}]
ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as _archive:
    _archive.writestr("index.py", "def handle(event, context):\n    return 1\n")


class Place:
    """An embedded AWS with what the cases need: a role, a zip function, an image, a machine, a queue, a topic…"""

    def __init__(self, aws: EmbeddedAws, folder: Path) -> None:
        self.aws, self.client = aws, aws.client
        self.role = make_role(aws, "strict")
        self.registry = Registry(aws, tar(runtime_client(folder)))
        self.image = self.registry.push("strict-image", {"handler.py": "def handle(e, c): return 1"})
        self.ecr, self.functions = aws.client("ecr"), aws.client("lambda")
        self.create_function("strict-zip")
        self.ecr.create_repository(repositoryName="strict-immutable", imageTagMutability="IMMUTABLE")
        self.ecr.create_repository(repositoryName="strict-mutable")
        arn = aws.client("stepfunctions").create_state_machine(
            name="strict", roleArn=self.role, definition=PASS, type="EXPRESS"
        )["stateMachineArn"]
        self.machine = str(arn)
        self.queue = aws.client("sqs").create_queue(QueueName="strict")["QueueUrl"]
        self.topic = aws.client("sns").create_topic(Name="strict")["TopicArn"]
        self.table = aws.client("dynamodb").create_table(**TABLE)["TableDescription"]["TableArn"]
        self.key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
        self.vpc = aws.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        aws.client("logs").create_log_group(logGroupName="strict")
        aws.client("ssm").put_parameter(Name="/strict/kept", Value="1", Type="String")
        aws.client("cloudwatch").put_metric_alarm(AlarmName="strict", **ALARM)
        aws.client("kms").create_alias(AliasName="alias/strict", TargetKeyId=self.key)
        self._rolled_back = ""

    def create_function(self, name: str, **more: Any) -> None:
        settings = {"Runtime": "python3.13", "Handler": "index.handle", "Code": {"ZipFile": ZIP.getvalue()}} | more
        self.functions.create_function(FunctionName=name, Role=self.role, **settings)

    def image_function(self, uri: str, **more: Any) -> None:
        self.functions.create_function(
            FunctionName="strict-none", PackageType="Image", Role=self.role, Code={"ImageUri": uri}, **more
        )

    def upload(self, repository: str, content: bytes) -> str:
        upload = self.ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
        self.ecr.upload_layer_part(
            repositoryName=repository, uploadId=upload, partFirstByte=0, partLastByte=len(content) - 1,
            layerPartBlob=content,
        )  # fmt: skip
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with contextlib.suppress(self.ecr.exceptions.LayerAlreadyExistsException):
            self.ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest])
        return digest

    def manifest(self, repository: str, *, layer: bytes = b"layer", media_type: str = LAYER) -> str:
        config, digest = self.upload(repository, b"{}"), self.upload(repository, layer)
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": config, "size": 2},
                "layers": [{"mediaType": media_type, "digest": digest, "size": len(layer)}],
            }
        )

    def put(
        self, repository: str, manifest: str, tag: str | None = None, media_type: str = MANIFEST, **more: Any
    ) -> Any:
        tagged = {"imageTag": tag} if tag else {}
        return self.ecr.put_image(
            repositoryName=repository, imageManifest=manifest, imageManifestMediaType=media_type, **tagged, **more
        )

    def uri(self, repository: str, digest: str) -> str:
        return f"{self.aws.account}.dkr.ecr.{self.aws.region}.amazonaws.com/{repository}@{digest}"

    def stack(self, name: str, resources: Mapping[str, Any], **more: Any) -> tuple[str, str]:
        """Create a stack; its status, and the reasons of its resources' failures."""
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=name, TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_NAMED_IAM"],
            **more,
        )  # fmt: skip
        return self.settled(name)

    def update(self, name: str, resources: Mapping[str, Any]) -> tuple[str, str]:
        self.client("cloudformation").update_stack(
            StackName=name, TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        return self.settled(name)

    def settled(self, name: str) -> tuple[str, str]:
        cloudformation, until = self.client("cloudformation"), time.monotonic() + 60
        while True:
            [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS") or time.monotonic() > until:
                break
            time.sleep(0.02)
        events = cloudformation.describe_stack_events(StackName=stack["StackId"])["StackEvents"]
        reasons = [each.get("ResourceStatusReason", "") for each in events if each["ResourceStatus"].endswith("FAILED")]
        return stack["StackStatus"], "\n".join(reasons)

    @property
    def rolled_back(self) -> str:
        """A stack in ROLLBACK_COMPLETE."""
        if not self._rolled_back:
            status, _ = self.stack(
                "strict-rolled-back", {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "strict"}}}
            )
            assert status == "ROLLBACK_COMPLETE"
            self._rolled_back = "strict-rolled-back"
        return self._rolled_back


TABLE: dict[str, Any] = {
    "TableName": "strict",
    "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ALARM: dict[str, Any] = {
    "MetricName": "m", "Namespace": "n", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum",
}  # fmt: skip
TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})


@pytest.fixture(scope="module")
def place(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(embedded_aws, tmp_path_factory.mktemp("client"))


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
