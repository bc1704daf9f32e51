"""A SAM template becomes folders, settings and resources, and what does not is named."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import Settings
from pipeline.assembly.manifest import definition_of, read_manifest
from pipeline.core.errors import SettingsError
from pipeline.environment.resources_file import read_resources
from pipeline.sam.sam_project import SamProject, import_template, notes_text
from pipeline.sam.sam_template import read_template
from tests.unit.core.test_yaml_documents import bomb

HEAD = "AWSTemplateFormatVersion: 2010-09-09\nTransform: AWS::Serverless-2016-10-31\n"
DOCKERFILE = """\
FROM public.ecr.aws/lambda/python:3.13
COPY app.py requirements.txt ./
RUN python3.13 -m pip install -r requirements.txt -t .
CMD ["app.lambda_handler"]
"""
ORDERS = """
Parameters:
  Currency: {Type: String, Default: EUR}
  Secret: {Type: String}
Globals:
  Function:
    Timeout: 45
    Environment: {Variables: {CURRENCY: !Ref Currency}}
  Api: {BinaryMediaTypes: [image/png]}
Resources:
  OrdersFunction:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Architectures: [arm64]
      MemorySize: 1024
      EphemeralStorage: {Size: 1024}
      ReservedConcurrentExecutions: 5
      Tracing: Active
      EventInvokeConfig: {MaximumRetryAttempts: 1, DestinationConfig: {OnFailure: {Type: SQS}}}
      Environment:
        Variables:
          TABLE: !Ref Table
          QUEUE: !GetAtt Jobs.Arn
          AT: !Sub "${AWS::Region} ${Currency} ${!literal}"
          SECRET: !Ref Secret
          COUNT: 3
      Policies:
        - AWSLambdaBasicExecutionRole
        - AmazonS3FullAccess
        - DynamoDBCrudPolicy: {TableName: !Ref Table}
        - SQSSendMessagePolicy: {QueueName: !GetAtt Jobs.QueueName}
        - S3ReadPolicy: {BucketName: my-bucket}
        - Statement:
            - {Effect: Allow, Action: ["sns:Publish"], Resource: !Ref News}
            - {Effect: Allow, Action: "dynamodb:Query", Resource: !Sub "arn:aws:dynamodb:*:*:table/${Table}/index/*"}
            - {Effect: Deny, Action: "s3:*", Resource: "*"}
      Events:
        Get: {Type: Api, Properties: {Path: '/orders/{id}', Method: get}}
        Put: {Type: HttpApi, Properties: {Path: /orders, Method: PUT, Auth: {Authorizer: AWS_IAM}}}
        Work:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            BatchSize: 5
            FilterCriteria: {Filters: [{Pattern: '{"body":{"a":["b"]}}'}]}
        Night: {Type: Schedule, Properties: {Schedule: rate(1 day), Input: '{"full": true}', Name: night}}
        Stopped: {Type: Schedule, Properties: {Schedule: rate(1 day), Enabled: false}}
        New:
          Type: S3
          Properties:
            Bucket: !Ref ScansBucket
            Events: s3:ObjectCreated:*
            Filter: {S3Key: {Rules: [{Name: suffix, Value: .pdf}]}}
        Told: {Type: SNS, Properties: {Topic: !Ref News, FilterPolicy: {kind: [a]}}}
        Paid: {Type: EventBridgeRule, Properties: {Pattern: {source: [shop]}, EventBusName: default}}
        Changed:
          Type: DynamoDB
          Properties: {Stream: !GetAtt Table.StreamArn, StartingPosition: LATEST, MaximumRetryAttempts: 3}
        Voice: {Type: AlexaSkill}
      FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}
    Metadata: {DockerContext: ./orders, Dockerfile: Dockerfile, DockerTag: v1, DockerBuildArgs: {A: b}}
  ZipFunction:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.13, Handler: app.handler, CodeUri: orders}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      StreamSpecification: {StreamViewType: NEW_IMAGE}
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
  Simple: {Type: AWS::Serverless::SimpleTable}
  Jobs: {Type: AWS::SQS::Queue}
  News: {Type: AWS::SNS::Topic}
  ScansBucket: {Type: AWS::S3::Bucket}
  Machine: {Type: AWS::Serverless::StateMachine}
  Uses: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !GetAtt OrdersFunction.Arn}}
  Lost: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref Machine}}
  Later: {Type: AWS::SQS::Queue, DependsOn: [OrdersFunction, Jobs]}
  Further: {Type: AWS::SSM::Parameter, DependsOn: Lost, Properties: {Type: String, Value: x}}
Outputs:
  Role: {Value: !GetAtt OrdersFunctionRole.Arn}
  Api: {Value: !Sub "https://${ServerlessRestApi}.x/Prod"}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    folder.mkdir()
    (folder / "app.py").write_text("def lambda_handler(event, context):\n    return 1\n")
    (folder / "requirements.txt").write_text("jmespath\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def imported(app: Path, text: str = ORDERS) -> SamProject:
    (app / "template.yaml").write_text(HEAD + text)
    return import_template(read_template(app / "template.yaml"))


def one(properties: str, metadata: str = "{DockerContext: orders}") -> str:
    function = f"{{PackageType: Image, {properties}}}"
    return (
        f"Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Metadata: {metadata}\n    Properties: {function}\n"
    )


def manifest(project: SamProject) -> dict[str, Any]:
    return project.folders[0].project.manifest


def test_every_property_becomes_a_key(app: Path) -> None:
    project = imported(app)
    (folder,) = project.folders
    assert (folder.name, folder.built.handler, folder.dockerfile) == ("orders", "app.lambda_handler", None)
    assert project.defaults == {"architecture": "arm64", "python": "3.13"}
    made = manifest(project)
    assert {key: made[key] for key in made if key not in ("environment", "calls", "events")} == {
        "memory": 1024, "timeout": 30, "ephemeral_storage": 1024, "reserved_concurrency": 5, "tracing": True,
        "retries": 1,
    }  # fmt: skip
    assert made["environment"] == {
        "CURRENCY": "EUR", "TABLE": "${Table}", "QUEUE": "${Jobs.Arn}", "AT": "${AWS::Region} EUR ${!literal}",
        "COUNT": "3",
    }  # fmt: skip
    assert [(each["service"], each["resource"]) for each in made["calls"]] == [
        ("dynamodb", "Table"), ("dynamodb", "Table/index/*"), ("sqs", "Jobs"),
        ("s3", "arn:${AWS::Partition}:s3:::my-bucket"), ("s3", "arn:${AWS::Partition}:s3:::my-bucket/*"),
        ("sns", "News"), ("dynamodb", "Table/index/*"),
    ]  # fmt: skip
    assert made["events"] == [
        {"type": "http", "route": "GET /orders/{id}", "auth": "none"},
        {"type": "http", "route": "PUT /orders", "auth": "iam"},
        {"type": "sqs", "queue": "Jobs", "batch": 5, "filter": {"body": {"a": ["b"]}}},
        {"type": "schedule", "expression": "rate(1 day)", "input": {"full": True}},
        {"type": "s3", "bucket": "scans", "on": ["ObjectCreated:*"], "suffix": ".pdf"},
        {"type": "sns", "topic": "News", "filter": {"kind": ["a"]}},
        {"type": "eventbridge", "pattern": {"source": ["shop"]}, "bus": "default"},
        {"type": "dynamodb", "stream": "Table", "start": "LATEST", "attempts": 3},
        {"type": "url", "auth": "none"},
    ]


@pytest.mark.parametrize(
    ("kind", "more", "common", "auth"),
    [
        ("Api", "", "", "none"),
        ("HttpApi", "Auth: {Authorizer: NONE}", "HttpApi: {Auth: {DefaultAuthorizer: Mine, Authorizers: {}}}", "none"),
        ("Api", "", "HttpApi: {Auth: {DefaultAuthorizer: Mine}}", "none"),
        ("Api", "", "Api: {Auth: {Authorizers: {Mine: {}}}}", "none"),
        ("HttpApi", "Auth: {Authorizer: AWS_IAM}", "", "iam"),
        ("Api", "", "Api: {Auth: {DefaultAuthorizer: Mine}}, HttpApi: {Auth: {EnableIamAuthorizer: true}}", "iam"),
        ("Api", "", "Api: {Auth: {ApiKeyRequired: true}}", "iam"),
        ("Api", "", "Api: {Auth: {ResourcePolicy: {IpRangeBlacklist: []}}}", "iam"),
        ("Api", "Auth: {ApiKeyRequired: true}", "", "iam"),
        ("Api", "RestApiId: {Ref: Guarded}", "", "iam"),
        ("HttpApi", "ApiId: {Ref: Guarded}", "", "iam"),
        ("HttpApi", "", "HttpApi: {Auth: !Ref Whatever}", "iam"),
    ],
)
def test_a_route_is_open_only_where_nothing_may_protect_it(
    app: Path, kind: str, more: str, common: str, auth: str
) -> None:
    method = "Path: /a, Method: get" + (f", {more}" if more else "")
    text = f"Globals: {{{common}}}\n" + one(f"Events: {{R: {{Type: {kind}, Properties: {{{method}}}}}}}")
    project = imported(app, text)
    assert manifest(project)["events"] == [{"type": "http", "route": "GET /a", "auth": auth}]
    told = [note for note in project.notes if note.place.endswith(".Auth")]
    assert bool(told) == (auth == "iam" and "AWS_IAM" not in more)


@pytest.mark.parametrize("place", ["x" * 300, "a\\0b"])
def test_a_folder_that_no_system_can_have(app: Path, place: str) -> None:
    text = one("Timeout: 3", f'{{DockerContext: "{place}"}}')
    with pytest.raises(SettingsError):
        imported(app, text)


def test_globals_are_merged_as_sam_does(app: Path) -> None:
    policies = "Policies: [AWSLambdaBasicExecutionRole]"
    common = f"{{Timeout: 5, MemorySize: 300, Environment: {{Variables: {{AA: a, BB: a}}}}, {policies}}}"
    own = one("Timeout: 6, Environment: {Variables: {BB: b, C: c}}, Policies: [Managed]")
    project = imported(app, f"Globals: {{Function: {common}}}\n{own}")
    assert manifest(project) == {"memory": 300, "timeout": 6, "environment": {"AA": "a", "BB": "b"}}
    assert {"F.Policies[1]", "F.Environment.Variables.C"} <= {each.place for each in project.notes}


def test_what_is_not_carried_over_is_named_with_what_to_do(app: Path) -> None:
    project = imported(app)
    assert {each.place for each in project.notes} == {
        "OrdersFunction.Environment.Variables.SECRET", "OrdersFunction.EventInvokeConfig.DestinationConfig",
        "OrdersFunction.Policies[1]", "OrdersFunction.Policies[5].Statement[2]", "OrdersFunction.Events.Get",
        "OrdersFunction.Events.Work.FunctionResponseTypes", "OrdersFunction.Events.Night.Name",
        "OrdersFunction.Events.Stopped", "OrdersFunction.Events.Changed.FunctionResponseTypes",
        "OrdersFunction.Events.Voice", "OrdersFunction.FunctionUrlConfig.InvokeMode",
        "OrdersFunction.Metadata.DockerBuildArgs", "OrdersFunction.Timeout", "ScansBucket", "ZipFunction", "Machine",
        "Lost", "Further", "Outputs.Api", "Parameters.Secret", "Parameters.Currency", "Globals.Api",
    }  # fmt: skip
    assert all(each.why and each.do.endswith(".") for each in project.notes)
    assert "`Machine`: AWS::Serverless::StateMachine" in notes_text("template.yaml", project)


def test_the_project_is_one_that_plans(app: Path, tmp_path: Path) -> None:
    project = imported(app)
    (tmp_path / "resources.yaml").write_text(project.resources)
    (tmp_path / "function.toml").write_text(project.folders[0].text)
    function = definition_of("orders", read_manifest(tmp_path / "function.toml"), "dev")
    settings = Settings("dev", project="shop", workflow=None, resources=read_resources(tmp_path))
    template = json.loads(render(pipeline_template(settings, [function])))
    resources = template["Resources"]
    assert {"Table", "Simple", "Jobs", "News", "Uses", "ScansBucket"} <= resources.keys()
    assert resources["Later"]["DependsOn"] == ["OrdersFunction", "Jobs"]
    assert resources["Simple"]["Type"] == "AWS::DynamoDB::Table"
    assert template["Outputs"]["Role"] == {"Value": {"Fn::GetAtt": ["OrdersRole", "Arn"]}}


# SAM developer guide, "AWS::Serverless::Function", and the attributes of any resource.
PROPERTIES = (
    "Architectures", "AssumeRolePolicyDocument", "AutoPublishAlias", "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256", "CapacityProviderConfig", "CodeSigningConfigArn", "CodeUri", "DeadLetterQueue",
    "DeploymentPreference", "Description", "DurableConfig", "Environment", "EphemeralStorage", "EventInvokeConfig",
    "Events", "FileSystemConfigs", "FunctionName", "FunctionScalingConfig", "FunctionUrlConfig", "Handler",
    "ImageConfig", "ImageUri", "InlineCode", "KmsKeyArn", "Layers", "LoggingConfig", "MemorySize",
    "PermissionsBoundary", "Policies", "PropagateTags", "ProvisionedConcurrencyConfig",
    "PublishToLatestPublished", "RecursiveLoop", "ReservedConcurrentExecutions", "Role", "RolePath", "Runtime",
    "RuntimeManagementConfig", "SnapStart", "SourceKMSKeyArn", "Tags", "TenancyConfig", "Timeout", "Tracing",
    "VersionDeletionPolicy", "VersionDescription", "VpcConfig", "InventedTomorrow",
)  # fmt: skip
# Of zip files: CloudFormation refuses them for an image, or SAM replaces them with the image that it built.
OF_ZIP_FILES = ("CodeUri", "Handler", "ImageUri", "Runtime")


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("value", ["5", "{A: b}", "[x]", "!ImportValue elsewhere", "!If [A, 1, 2]"])
def test_a_property_that_cannot_be_read_is_never_dropped_in_silence(app: Path, name: str, value: str) -> None:
    project = imported(app, one(f"{name}: {value}"))
    keys = {*manifest(project), *project.folders[0].project.image} - {"memory", "timeout"}
    changed = (manifest(project).get("memory"), manifest(project).get("timeout")) != (128, 3)
    architecture = project.defaults["architecture"] != "x86_64"
    named = any(each.place.startswith("F.") for each in project.notes)
    assert named or keys or changed or architecture or name in OF_ZIP_FILES


@pytest.mark.parametrize(
    "value",
    ["5", "[1]", "{A: 5}", "{A: {Type: 5}}", "{A: {Type: SQS}}", "{A: {Type: S3, Properties: [1]}}",
     "{A: {Type: Schedule, Properties: {Schedule: 5}}}", "{A: {Type: SQS, Properties: {Queue: {}}}}",
     "{A: {Type: Api, Properties: {Path: {}, Auth: 5}}}", "{A: {Type: SNS, Properties: {Topic: 5}}}",
     "{A: {Type: EventBridgeRule, Properties: {Pattern: {}}}}", "{A: {Type: [SQS], Properties: {}}}"],
)  # fmt: skip
def test_an_event_that_cannot_be_read_is_named(app: Path, value: str) -> None:
    project = imported(app, one(f"Events: {value}"))
    assert "events" not in manifest(project)
    assert any(each.place.startswith("F.Events") for each in project.notes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no Resources"),
        ("Resources: []", "it has no Resources"),
        ("Resources: {F: 5}", "Resources.F is not a table"),
        ("Resources: {F: {}}", "Resources.F has no Type"),
        ("Resources: {F: {Type: AWS::SQS::Queue}}", "with PackageType: Image; it has no function"),
        ("Resources: {F: {Type: AWS::Serverless::Function}}", "its functions are zip files: F"),
        ("Resources: {'Fn::ForEach::A': [a, [b], {}]}", "Resources.Fn::ForEach::A is not a table"),
        ("Globals: 5\nResources: {}", "Globals is not a table of tables"),
        (one("Timeout: 1", "{}"), "it has neither Metadata.DockerContext nor an ImageUri"),
        (one("Timeout: 1", "{DockerContext: ../..}"), "is outside of"),
        (one("Timeout: 1", "{DockerContext: /etc}"), "is outside of"),
        (one("Timeout: 1", "{DockerContext: gone}"), "is not a folder beside the template"),
        (one("Timeout: 1", "{DockerContext: orders, Dockerfile: ../../x}"), "is outside of"),
        (one("Timeout: 1", "{DockerContext: orders, Dockerfile: gone}"), "there is no 'gone'"),
        (one("Timeout: 1", "{DockerContext: link}"), "is outside of"),
        ("Resources: {F: !!python/object:os.system {}}", "is no template"),
        ("Resources: {a: 1, a: 2}", "'a' is there twice"),
        ("Resources: &a {F: *a}", "is no template"),
        ("Resources:\n  A:\n" + textwrap.indent(bomb(30), "    "), "more than 1,000,000 values"),
        ("a: [" * 3000, "is no template"),
        (one("Timeout: 1") + "  A:\n    Type: B\n    X: " + "[" * 90 + "]" * 90 + "\n  F2: {", "is no template"),
        ("\0", "is no template"),
    ],
)  # fmt: skip
def test_a_template_that_is_useless_says_why(app: Path, text: str, why: str) -> None:
    (app / "link").symlink_to("/etc")
    with pytest.raises(SettingsError) as error:
        imported(app, text)
    assert why in error.value.why


def test_a_depth_that_no_reader_takes_is_an_error(app: Path) -> None:
    # Libraries raise the limit when they are loaded.
    depth = sys.getrecursionlimit() - 10
    (app / "template.yaml").write_text(
        json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": {"F": {
            "Type": "AWS::Serverless::Function", "Properties": {"PackageType": "Image"},
            "Metadata": {"DockerContext": "orders"},
        }, "A": {"Type": "AWS::SQS::Queue", "Properties": {"X": "DEEP"}}}}).replace('"DEEP"', "[" * depth + "]" * depth)
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"too deep|no template"):
        import_template(read_template(app / "template.yaml"))


def test_names_of_functions_in_depends_on_are_those_of_the_stack(app: Path) -> None:
    project = imported(app, one("Timeout: 1") + "  Q: {Type: AWS::SQS::Queue, DependsOn: F}\n")
    assert yaml.safe_load(project.resources)["Resources"]["Q"]["DependsOn"] == "FFunction"


def test_what_toml_cannot_say_is_named(app: Path) -> None:
    event = "{A: {Type: EventBridgeRule, Properties: {Pattern: {state: [null]}}}}"
    project = imported(app, one(f"Events: {event}"))
    assert any("null" in each.why for each in project.notes)
    assert "events" not in manifest(project)


def test_it_is_no_sam_template_without_the_transform(app: Path) -> None:
    (app / "template.yaml").write_text("Resources: {}")
    with pytest.raises(SettingsError, match="so it is no SAM template"):
        read_template(app / "template.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_template(app)


@pytest.mark.parametrize(
    ("dockerfile", "why"),
    [
        ("FROM public.ecr.aws/lambda/nodejs:22\nCMD [\"app.h\"]", "it is not FROM public.ecr.aws/lambda/python"),
        ("FROM public.ecr.aws/lambda/python:3.9\n" + DOCKERFILE.partition("\n")[2], "it is not FROM"),
        (DOCKERFILE + "RUN dnf install -y jq", "it has RUN dnf install -y jq"),
        (DOCKERFILE + "ENV A=b", "it has ENV A=b"),
        (DOCKERFILE + "COPY model /opt/ml/model", "which moves files"),
        (DOCKERFILE + "COPY src ./", "which moves files"),
        (DOCKERFILE + "COPY --from=x a ./", "which moves files"),
        (DOCKERFILE.replace("-t .", "boto3"), "it installs with pip"),
        (DOCKERFILE.replace("RUN", "# RUN"), "it does not install the requirements.txt"),
        (DOCKERFILE.replace("app.lambda_handler", "app.other"), "defines no other"),
        (DOCKERFILE.replace('["app.lambda_handler"]', "app.lambda_handler"), "its CMD is"),
        ("", "it is not FROM"),
        (DOCKERFILE.replace("FROM", "FROM --platform=linux/arm64"), "it is not FROM"),
        (DOCKERFILE + "RUN pip install -r requirements.txt && rm -rf /x", "it has RUN pip"),
        (DOCKERFILE + 'COPY "unclosed ./', "No closing quotation"),
        (DOCKERFILE + "COPY [1", "Expecting"),
        (DOCKERFILE + 'CMD ["a.b", "c"]', "its CMD is"),
    ],
)  # fmt: skip
def test_a_dockerfile_that_does_more_is_built_by_an_engine(app: Path, dockerfile: str, why: str) -> None:
    (app / "orders" / "src").mkdir()
    (app / "orders" / "Dockerfile").write_text(dockerfile)
    (folder,) = imported(app, one("Timeout: 9")).folders
    assert why in folder.built.why
    assert "handler" not in folder.text
    assert folder.dockerfile == dockerfile


@pytest.mark.parametrize(
    "line",
    ["COPY . .",
     "COPY ./app.py ${LAMBDA_TASK_ROOT}/", "COPY src src", "COPY src/ ./src/", 'COPY ["app.py", "/var/task/"]',
     "WORKDIR /var/task", "LABEL a=b", "RUN pip install --no-cache-dir -r ./requirements.txt"],
)  # fmt: skip
def test_a_dockerfile_that_keeps_places_needs_no_engine(app: Path, line: str) -> None:
    (app / "orders" / "src").mkdir()
    (app / "orders" / "Dockerfile").write_text(DOCKERFILE + line)
    (folder,) = imported(app, one("Timeout: 9")).folders
    assert (folder.built.why, folder.built.handler) == ("", "app.lambda_handler")


def test_image_config_replaces_the_command(app: Path) -> None:
    (app / "orders" / "app.py").write_text("def a(event, context): ...\n\ndef b(event, context): ...\n")
    (folder,) = imported(app, one("ImageConfig: {Command: [app.b]}")).folders
    assert folder.built.handler == "app.b"
    (folder,) = imported(app, one("ImageConfig: {Command: [app.b], WorkingDirectory: /x}")).folders
    assert folder.dockerfile is not None
    assert folder.dockerfile.endswith('WORKDIR /x\nCMD ["app.b"]\n')


def test_an_image_that_exists_is_named(app: Path) -> None:
    (folder,) = imported(app, one("ImageUri: 1.dkr.ecr.x/y@sha256:0", "{}")).folders
    assert yaml.safe_load(folder.text.splitlines()[0].replace(" = ", ": ")) == {"image": "1.dkr.ecr.x/y@sha256:0"}


def test_dates_that_yaml_makes_are_shown(app: Path) -> None:
    project = imported(app, one("Tags: {since: 2026-01-02}, CodeSigningConfigArn: 2026-01-02"))
    assert any("2026-01-02" in each.why + each.do for each in project.notes)
