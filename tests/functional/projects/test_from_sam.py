"""A SAM application becomes a project that is deployed, triggered, changed and deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Timeout: 3
Resources:
  HelloWorldFunction:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Architectures: [x86_64]
      Events:
        HelloWorld: {Type: Api, Properties: {Path: /hello, Method: get}}
    Metadata: {Dockerfile: Dockerfile, DockerContext: ./hello_world, DockerTag: python3.13-v1}
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      MemorySize: 256
      Timeout: 20
      Environment: {Variables: {TABLE: !Ref Table}}
      Policies: [{DynamoDBWritePolicy: {TableName: !Ref Table}}]
      Events:
        Jobs: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, FunctionResponseTypes: [ReportBatchItemFailures]}}
    Metadata: {Dockerfile: Dockerfile, DockerContext: ./worker}
  Table: {Type: AWS::Serverless::SimpleTable}
  Jobs: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 120}}
Outputs:
  HelloWorldApi: {Value: !Sub "https://${ServerlessRestApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/Prod/hello/"}
  HelloWorldFunction: {Value: !GetAtt HelloWorldFunction.Arn}
  HelloWorldFunctionIamRole: {Value: !GetAtt HelloWorldFunctionRole.Arn}
  JobsUrl: {Value: !Ref Jobs}
"""
DOCKERFILE = """
FROM public.ecr.aws/lambda/python:3.13

COPY app.py requirements.txt ./

RUN python3.13 -m pip install -r requirements.txt -t .

# Command can be overwritten by providing a different command in the template directly.
CMD ["app.lambda_handler"]
"""
HELLO = """
import json

def lambda_handler(event, context):
    return {"statusCode": 200, "body": json.dumps({"message": "hello world"})}
"""
WORKER = """
import os

import boto3

def lambda_handler(event, context):
    table = boto3.resource("dynamodb").Table(os.environ["TABLE"])
    for record in event["Records"]:
        table.put_item(Item={"id": record["body"]})
"""


def write_application(folder: Path) -> None:
    locked = (ROOT / "tests" / "packages" / "with-boto3" / "requirements.txt").read_text()
    for name, code, requirements in (("hello_world", HELLO, ""), ("worker", WORKER, locked)):
        (folder / name).mkdir(parents=True)
        (folder / name / "app.py").write_text(code)
        (folder / name / "requirements.txt").write_text(requirements)
        (folder / name / "Dockerfile").write_text(DOCKERFILE)
    (folder / "template.yaml").write_text(TEMPLATE)


@pytest.fixture(scope="module")
def shop(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    place = tmp_path_factory.mktemp("imported")
    write_application(place / "sam-app")
    project = Project(place / "imported", embedded_aws)
    project.folder.mkdir()
    said = project.json("init", "--from", "../sam-app/template.yaml")
    assert said["functions"] == {"HelloWorldFunction": "hello-world", "Worker": "worker"}
    assert [each["place"] for each in said["by_hand"]] == [
        "HelloWorldFunction.Events.HelloWorld", "Outputs.HelloWorldApi",
    ]  # fmt: skip
    project.run("up")
    yield project
    project.run("down", code=(0, 1))


def test_its_functions_answer_and_work(shop: Project) -> None:
    answer = shop.json("invoke", "hello-world", "--event", "http")["result"]
    assert json.loads(answer["body"]) == {"message": "hello world"}
    stacks = shop.aws.client("cloudformation").describe_stacks(StackName="imported-pipeline-dev")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stacks[0]["Outputs"]}
    assert outputs["HelloWorldFunction"].endswith(":function:imported-hello-world-dev")
    shop.aws.client("sqs").send_message(QueueUrl=outputs["JobsUrl"], MessageBody="job-1")
    configuration = shop.aws.client("lambda").get_function_configuration(FunctionName="imported-worker-dev")
    table = configuration["Environment"]["Variables"]["TABLE"]
    until = time.monotonic() + 60
    while not (items := shop.aws.client("dynamodb").scan(TableName=table)["Items"]) and time.monotonic() < until:
        time.sleep(0.2)
    assert items == [{"id": {"S": "job-1"}}]


def test_a_changed_line_is_released_and_taken_back(shop: Project) -> None:
    code = shop.folder / "images" / "hello-world" / "app.py"
    code.write_text(HELLO.replace("hello world", "good morning"))
    assert shop.json("up")["changed"]
    assert "good morning" in shop.invoke("hello-world", {})["body"]
    assert shop.json("rollback")["changed"]
    assert "hello world" in shop.invoke("hello-world", {})["body"]


def test_an_error_writes_nothing(shop: Project, tmp_path: Path) -> None:
    write_application(tmp_path / "app")
    project = Project(tmp_path / "empty", shop.aws)
    project.folder.mkdir()
    template = tmp_path / "app" / "template.yaml"
    for text, why in (
        (TEMPLATE.replace("PackageType: Image", "Runtime: python3.13"), "its functions are zip files"),
        (TEMPLATE.replace("./worker", "../../worker"), "is outside of"),
        (TEMPLATE.replace("DockerContext: ./worker", "DockerContext: ./gone"), "is not a folder"),
    ):
        template.write_text(text)
        assert why in project.json("init", "--from", str(template), code=1)["why"]
        assert list(project.folder.iterdir()) == []
    template.write_text(TEMPLATE)
    (tmp_path / "app" / "worker" / "requirements.txt").write_text("no-such-package-of-anybody==0\n")
    assert "could not lock the requirements of worker" in project.json("init", "--from", str(template), code=1)["why"]
    assert list(project.folder.iterdir()) == []


def test_a_template_whose_context_is_the_project_is_refused(shop: Project, tmp_path: Path) -> None:
    write_application(tmp_path)
    (tmp_path / "template.yaml").write_text(TEMPLATE.replace("./worker", "."))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    project = Project(tmp_path, shop.aws)
    before = sorted(tmp_path.rglob("*"))
    assert "holds the project's own folder" in project.json("init", "--from", "template.yaml", code=1)["why"]
    assert sorted(tmp_path.rglob("*")) == before
