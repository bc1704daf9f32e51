"""Both stacks on the embedded AWS with IAM enforced: created, updated, deleted. And the placeholder's handler on it."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from cfn import placeholder
from cfn.names import Names
from cfn.pipeline import pipeline_template
from cfn.registry import registry_template
from cfn.render import render
from cfn.settings import Architecture, Settings
from tests.functional.conftest import EmbeddedAws
from tests.functional.local_images import Registry, tar
from tests.unit.cfn.examples import FUNCTIONS

DIGEST = "sha256:" + "ab" * 32


@dataclass(frozen=True)
class Environment:
    """One environment's two stacks."""

    aws: EmbeddedAws
    settings: Settings

    @property
    def names(self) -> Names:
        return Names(self.settings.environment)

    def bring(self, stack: str, body: str, parameters: dict[str, str] | None = None, *, update: bool = False) -> str:
        """Create or update a stack and give the status that it ends in."""
        cloudformation = self.aws.client("cloudformation")
        (cloudformation.update_stack if update else cloudformation.create_stack)(
            StackName=stack,
            TemplateBody=body,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        return self.wait(stack)

    def wait(self, stack: str) -> str:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                status = str(self.describe(stack)["StackStatus"])
            except ClientError as error:
                if "does not exist" not in str(error):
                    raise
                return "DELETE_COMPLETE"
            if not status.endswith("_IN_PROGRESS"):
                return status
            time.sleep(0.05)
        raise AssertionError(f"{stack} does not come to an end")

    def describe(self, stack: str) -> dict[str, Any]:
        return dict(self.aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0])

    def outputs(self, stack: str) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.describe(stack).get("Outputs", [])}

    def resources(self, stack: str) -> dict[str, str]:
        """Physical ids by logical ids."""
        found = self.aws.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    def failures(self, stack: str) -> str:
        events = self.aws.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        return "\n".join(
            f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason')}"
            for each in events
            if each["ResourceStatus"].endswith("_FAILED")
        )

    def create_both(self) -> None:
        for stack, template in (
            (self.names.registry_stack, registry_template(self.settings, FUNCTIONS)),
            (self.names.pipeline_stack, pipeline_template(self.settings, FUNCTIONS)),
        ):
            assert self.bring(stack, render(template)) == "CREATE_COMPLETE", self.failures(stack)

    def delete(self, stack: str) -> None:
        self.aws.client("cloudformation").delete_stack(StackName=stack)
        assert self.wait(stack) == "DELETE_COMPLETE", self.failures(stack)

    def delete_both(self) -> None:
        self.delete(self.names.pipeline_stack)
        self.delete(self.names.registry_stack)

    def image(self, digest: str, function: str = "fraud-detection") -> str:
        registry = f"{self.aws.account}.dkr.ecr.{self.aws.region}.amazonaws.com"
        return f"{registry}/{self.names.repository(function)}@{digest}"

    def function(self, name: str = "fraud-detection") -> dict[str, Any]:
        return dict(self.aws.client("lambda").get_function(FunctionName=self.names.function(name)))


@pytest.fixture(scope="module")
def standing(embedded_aws: EmbeddedAws) -> Iterator[Environment]:
    """An environment that tests only read."""
    environment = Environment(embedded_aws, Settings("templates"))
    environment.create_both()
    yield environment
    environment.delete_both()


def test_every_repository_holds_the_placeholder_of_synthesis(standing: Environment) -> None:
    digest = placeholder.placeholder_digest("arm64")
    outputs = standing.outputs(standing.names.registry_stack)
    for function in FUNCTIONS:
        repository = standing.names.repository(function.name)
        (image,) = standing.aws.client("ecr").batch_get_image(
            repositoryName=repository, imageIds=[{"imageDigest": digest}]
        )["images"]
        assert "sha256:" + hashlib.sha256(image["imageManifest"].encode()).hexdigest() == digest
        (detail,) = standing.aws.client("ecr").describe_images(repositoryName=repository)["imageDetails"]
        assert detail["imageTags"] == [placeholder.placeholder_tag(digest)]
    assert outputs["FraudDetectionPlaceholderUri"] == standing.image(digest)
    assert outputs["FraudDetectionRepositoryUri"] == standing.image(digest).partition("@")[0]


def test_functions_run_the_placeholder_of_the_registry_stack(standing: Environment) -> None:
    placeholder_uri = standing.outputs(standing.names.registry_stack)["FraudDetectionPlaceholderUri"]
    function = standing.function()
    assert function["Code"]["ImageUri"] == placeholder_uri
    assert (
        standing.outputs(standing.names.pipeline_stack)["FraudDetectionImageDigest"]
        == placeholder_uri.partition("@")[2]
    )
    variables = function["Configuration"]["Environment"]["Variables"]
    assert variables["IMAGE_DIGEST"] == placeholder_uri.partition("@")[2]
    assert variables["TABLE_NAME"] == standing.names.table
    assert function["Configuration"]["LoggingConfig"]["LogGroup"] == standing.names.log_group("fraud-detection")


@pytest.mark.parametrize(
    "value", ["latest", "000000000000.dkr.ecr.us-east-1.amazonaws.com/fraud-detection-templates:1", DIGEST]
)
def test_an_image_without_a_digest_is_refused(standing: Environment, value: str) -> None:
    body = render(pipeline_template(standing.settings, FUNCTIONS))
    with pytest.raises(ClientError, match="FraudDetectionImageUri"):
        standing.bring(standing.names.pipeline_stack, body, {"FraudDetectionImageUri": value}, update=True)


def test_the_queue_takes_and_gives_messages(standing: Environment) -> None:
    sqs, url = standing.aws.client("sqs"), standing.outputs(standing.names.pipeline_stack)["DeadLetterQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="parked")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == "parked"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_a_transaction_that_meets_a_placeholder_is_parked_with_the_reason(standing: Environment) -> None:
    # The whole chain of permissions: the machine's role, the alias, the queue behind its TLS-only policy.
    outputs = standing.outputs(standing.names.pipeline_stack)
    transaction = {
        "transaction_id": "meets-placeholder", "amount": 100, "currency": "USD",
        "merchant_id": "merchant-001", "customer_id": "customer-001",
    }  # fmt: skip
    done = standing.aws.client("stepfunctions").start_sync_execution(
        stateMachineArn=outputs["StateMachineArn"], input=json.dumps(transaction)
    )
    assert done["status"] == "FAILED"
    sqs, url = standing.aws.client("sqs"), outputs["DeadLetterQueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    parked = json.loads(message["Body"])
    assert parked["input"] == transaction
    assert parked["error"] == "PlaceholderImage", parked


def test_a_failed_production_creation_is_rolled_back_with_the_placeholders_in_it(embedded_aws: EmbeddedAws) -> None:
    """Those of a creation that failed are not retained: their names would block the next."""
    settings = Settings("unlucky", protect_data=True)
    template = json.loads(render(registry_template(settings, FUNCTIONS)))
    pushers = [name for name, each in template["Resources"].items() if each["Type"] == "Custom::PlaceholderImage"]
    template["Resources"]["Last"] = {
        "Type": "AWS::SQS::Queue", "DependsOn": pushers, "Properties": {"QueueName": "unlucky-taken"}
    }  # fmt: skip
    embedded_aws.client("sqs").create_queue(QueueName="unlucky-taken")
    names = Names("unlucky")
    environment = Environment(embedded_aws, settings)
    body = json.dumps(template)
    embedded_aws.client("cloudformation").create_stack(
        StackName=names.registry_stack, TemplateBody=body, Capabilities=["CAPABILITY_IAM"], RetainExceptOnCreate=True
    )
    assert environment.wait(names.registry_stack) == "ROLLBACK_COMPLETE", environment.failures(names.registry_stack)
    ecr = embedded_aws.client("ecr")
    for function in FUNCTIONS:
        with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
            ecr.describe_repositories(repositoryNames=[names.repository(function.name)])
    environment.delete(names.registry_stack)


def test_one_image_switches_one_function_and_moves_its_alias_alone(embedded_aws: EmbeddedAws) -> None:
    environment = Environment(embedded_aws, Settings("switching"))
    environment.create_both()
    stack, body = environment.names.pipeline_stack, render(pipeline_template(environment.settings, FUNCTIONS))
    before, others = environment.resources(stack), environment.function("compliance-checking")

    def live(function: str) -> str:
        name = environment.names.function(function)
        return str(embedded_aws.client("lambda").get_alias(FunctionName=name, Name="live")["FunctionVersion"])

    assert live("fraud-detection") == "1"
    registry, repository = Registry(embedded_aws, tar({})), environment.names.repository("fraud-detection")
    one, two = (registry.push(repository, {"version.txt": text}).partition("@")[2] for text in "12")
    for number, digest in enumerate((one, two, one), start=2):
        image = environment.image(digest)
        assert environment.bring(stack, body, {"FraudDetectionImageUri": image}, update=True) == "UPDATE_COMPLETE"
        assert environment.function()["Code"]["ImageUri"] == image
        assert environment.function()["Configuration"]["Environment"]["Variables"]["IMAGE_DIGEST"] == digest
        assert environment.outputs(stack)["FraudDetectionImageDigest"] == digest
        assert live("fraud-detection") == str(number)

    after = environment.resources(stack)
    assert {name for name in before if before[name] != after[name]} == {"FraudDetectionVersion"}
    assert live("compliance-checking") == "1"
    assert (
        environment.function("compliance-checking")["Configuration"]["RevisionId"]
        == others["Configuration"]["RevisionId"]
    )
    environment.delete_both()


def test_another_configuration_reaches_the_alias_without_another_image(embedded_aws: EmbeddedAws) -> None:
    environment = Environment(embedded_aws, Settings("configured"))
    environment.create_both()
    larger = [replace(function, memory=1024) for function in FUNCTIONS]
    body = render(pipeline_template(environment.settings, larger))
    assert environment.bring(environment.names.pipeline_stack, body, update=True) == "UPDATE_COMPLETE"
    live = embedded_aws.client("lambda").get_function(FunctionName="fraud-detection-configured", Qualifier="live")
    assert live["Configuration"]["MemorySize"] == 1024
    environment.delete_both()


def test_nothing_changed_is_an_empty_change_set(standing: Environment) -> None:
    cloudformation = standing.aws.client("cloudformation")
    for stack, template in (
        (standing.names.registry_stack, registry_template(standing.settings, FUNCTIONS)),
        (standing.names.pipeline_stack, pipeline_template(standing.settings, FUNCTIONS)),
    ):
        with pytest.raises(ClientError, match="No updates are to be performed"):
            cloudformation.update_stack(StackName=stack, TemplateBody=render(template), Capabilities=["CAPABILITY_IAM"])


def test_another_architecture_gets_its_own_placeholder_and_keeps_the_old_one(embedded_aws: EmbeddedAws) -> None:
    environment = Environment(embedded_aws, Settings("moving"))
    stack = environment.names.registry_stack
    assert environment.bring(stack, render(registry_template(environment.settings, FUNCTIONS))) == "CREATE_COMPLETE"
    moved = replace(environment.settings, architecture=Architecture.X86_64)
    assert environment.bring(stack, render(registry_template(moved, FUNCTIONS)), update=True) == "UPDATE_COMPLETE"
    images = embedded_aws.client("ecr").describe_images(repositoryName="fraud-detection-moving")["imageDetails"]
    assert {each["imageDigest"] for each in images} == {placeholder.placeholder_digest(each) for each in Architecture}
    wanted = placeholder.placeholder_digest("x86_64")
    assert environment.outputs(stack)["FraudDetectionPlaceholderUri"] == environment.image(wanted)
    environment.delete(stack)


def test_deleting_both_stacks_leaves_nothing(embedded_aws: EmbeddedAws) -> None:
    environment = Environment(embedded_aws, Settings("leaving"))

    def left() -> dict[str, set[str]]:
        client = embedded_aws.client
        found = {
            "function": {each["FunctionName"] for each in client("lambda").list_functions()["Functions"]},
            "repository": {each["repositoryName"] for each in client("ecr").describe_repositories()["repositories"]},
            "role": {each["RoleName"] for each in client("iam").list_roles()["Roles"]},
            "policy": {each["PolicyName"] for each in client("iam").list_policies(Scope="Local")["Policies"]},
            "log group": {each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]},
            "table": set(client("dynamodb").list_tables()["TableNames"]),
            "queue": set(client("sqs").list_queues().get("QueueUrls", [])),
            "topic": {each["TopicArn"] for each in client("sns").list_topics()["Topics"]},
            "alarm": {each["AlarmName"] for each in client("cloudwatch").describe_alarms()["MetricAlarms"]},
            "alias": {each["AliasName"] for each in client("kms").list_aliases()["Aliases"]},
            "state machine": {each["name"] for each in client("stepfunctions").list_state_machines()["stateMachines"]},
        }
        return {kind: {name for name in names if "leaving" in name} for kind, names in found.items()}

    environment.create_both()
    assert all(left().values()), left()
    vpc = environment.outputs(environment.names.pipeline_stack)["VpcId"]
    environment.delete_both()
    assert not any(left().values()), left()
    assert vpc not in {each["VpcId"] for each in embedded_aws.client("ec2").describe_vpcs()["Vpcs"]}


def impatient(source: str) -> str:
    """The placeholder's source without the wait for IAM, whose answer is final here."""
    assert source.count("PROPAGATION_SECONDS = 20") == 1
    return source.replace("PROPAGATION_SECONDS = 20", "PROPAGATION_SECONDS = -1")


def test_without_one_of_its_permissions_the_placeholder_fails_with_the_reason(embedded_aws: EmbeddedAws) -> None:
    # The emulator enforces IAM, so the role has what the push needs, and this shows that the test would notice.
    environment = Environment(embedded_aws, Settings("denied"))
    template = json.loads(render(registry_template(environment.settings, FUNCTIONS[:1])))
    policies = template["Resources"]["PlaceholderRole"]["Properties"]["Policies"]
    policies[0]["PolicyDocument"]["Statement"][0]["Action"].remove("ecr:PutImage")
    code = template["Resources"]["PlaceholderFunction"]["Properties"]["Code"]
    code["ZipFile"] = impatient(code["ZipFile"])
    stack = environment.names.registry_stack
    assert environment.bring(stack, json.dumps(template)) == "ROLLBACK_COMPLETE"
    assert "ecr:PutImage" in environment.failures(stack)
    environment.delete(stack)


# The handler itself


class Context:
    """Of a new invocation of a function with a time limit of 60 s."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


CONTEXT = Context()


class Answers(http.server.ThreadingHTTPServer):
    """Receives the responses of custom resources in place of CloudFormation."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.content_types: list[str | None] = []
        answers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                answers.content_types.append(self.headers["Content-Type"])
                answers.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/answer"


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def repository(embedded_aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in {
        "AWS_ENDPOINT_URL": embedded_aws.endpoint,
        "AWS_REGION": embedded_aws.region,
        "AWS_DEFAULT_REGION": embedded_aws.region,
        "AWS_ACCESS_KEY_ID": embedded_aws.access_key_id,
        "AWS_SECRET_ACCESS_KEY": embedded_aws.secret_access_key,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    ecr = embedded_aws.client("ecr")
    ecr.create_repository(repositoryName="handled")
    yield "handled"
    ecr.delete_repository(repositoryName="handled", force=True)


def event(answers: Answers, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": answers.url,
        "StackId": "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1",
        "RequestId": "r-1",
        "LogicalResourceId": "FraudDetectionPlaceholder",
        "ResourceProperties": {"RepositoryName": "handled", "Architecture": "x86_64", "ServiceTimeout": "120"},
        **more,
    }


def test_create_update_and_delete_answer_with_one_id_and_one_digest(
    embedded_aws: EmbeddedAws, repository: str, answers: Answers
) -> None:
    digest = placeholder.placeholder_digest("x86_64")
    placeholder.handler(event(answers, "Create"), CONTEXT)
    placeholder.handler(event(answers, "Create"), CONTEXT)  # Lambda delivers an event at least once
    first = answers.received[0]["PhysicalResourceId"]
    placeholder.handler(event(answers, "Update", PhysicalResourceId=first), CONTEXT)
    placeholder.handler(event(answers, "Delete", PhysicalResourceId=first), CONTEXT)

    assert [each["Status"] for each in answers.received] == ["SUCCESS"] * 4
    assert {each["PhysicalResourceId"] for each in answers.received} == {first}
    assert [each.get("Data") for each in answers.received] == [{"Digest": digest}] * 3 + [None]
    assert {(each["RequestId"], each["LogicalResourceId"]) for each in answers.received} == {
        ("r-1", "FraudDetectionPlaceholder")
    }
    assert set(answers.content_types) == {""}, "the signed address allows no content type"
    (image,) = embedded_aws.client("ecr").describe_images(repositoryName=repository)["imageDetails"]
    assert image["imageDigest"] == digest, "Delete keeps the image, for whoever still runs it"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ResourceProperties": {"RepositoryName": "absent", "Architecture": "arm64"}}, "RepositoryNotFoundException"),
        ({"ResourceProperties": {"RepositoryName": "handled", "Architecture": "sparc"}}, "saw: 'sparc'"),
        ({"ResourceProperties": {"RepositoryName": "handled"}}, "KeyError: 'Architecture'"),
        ({"ResourceProperties": None}, "TypeError"),
        ({"RequestType": "Recreate"}, "RequestType is 'Recreate'"),
        ({"RequestType": None}, "RequestType is None"),
    ],
)
def test_every_failure_is_answered_with_its_reason(
    repository: str, answers: Answers, changes: dict[str, Any], reason: str
) -> None:
    placeholder.handler(event(answers, "Create", **changes), CONTEXT)
    (answer,) = answers.received
    assert answer["Status"] == "FAILED"
    assert reason in answer["Reason"]
    assert answer["PhysicalResourceId"]


def test_an_answer_stays_below_the_size_that_cloudformation_takes(repository: str, answers: Answers) -> None:
    properties = {"RepositoryName": "handled", "Architecture": "x" * 10_000}
    placeholder.handler(event(answers, "Create", ResourceProperties=properties), CONTEXT)
    assert len(json.dumps(answers.received[0])) < 4096


@pytest.mark.parametrize("odd", [None, [], "event", {}, {"RequestType": "Create"}, {"ResponseURL": ""}])
def test_an_event_without_an_address_is_left_alone(odd: Any) -> None:
    placeholder.handler(odd, CONTEXT)


def test_an_almost_empty_event_is_answered(answers: Answers) -> None:
    placeholder.handler({"ResponseURL": answers.url}, CONTEXT)
    assert answers.received[0]["Status"] == "FAILED"
    assert answers.received[0]["Reason"] == "KeyError: 'RequestType'"


def test_an_undelivered_response_is_raised_so_that_lambda_retries() -> None:
    # OSError covers refusal and HTTP errors alike.
    with pytest.raises(OSError, match="refused"):
        placeholder.handler({"ResponseURL": "http://127.0.0.1:9/", "RequestType": "Delete"}, CONTEXT)
