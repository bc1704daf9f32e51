"""An embedded AWS with what requests that AWS refuses need, and the beginnings of such requests."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
