"""The events of a function: what each adds to the stack, its permission, its filter and where failures go."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from cfn.events.kinds import Bucket, Event, Queue, Route, Rule, Schedule, TableStream, Topic, Url
from cfn.pipeline import pipeline_template
from cfn.problems import SettingsError
from cfn.render import render
from cfn.settings import FunctionDefinition, Jwt, Settings
from tests.unit.cfn.examples import EVENTS, FOR_TOKENS, JWT, STREAM

SETTINGS = Settings("dev", project="orders", workflow=None)


def synthesise(*events: Event, settings: Settings = SETTINGS, **more: Any) -> dict[str, Any]:
    function = FunctionDefinition("bill", timeout=20, events=events, **more)
    template: dict[str, Any] = json.loads(render(pipeline_template(settings, [function])))
    return template


def of_type(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in template["Resources"].values() if each["Type"] == f"AWS::{kind}"]


def role_actions(template: dict[str, Any]) -> set[str]:
    (policy,) = template["Resources"]["BillRole"]["Properties"]["Policies"]
    return {action for statement in policy["PolicyDocument"]["Statement"] for action in statement["Action"]}


def findings(template: str) -> list[str]:
    """What cfn-lint and the rules of this project find."""
    config = ManualArgs(append_rules=["cfn.rules"], regions=["us-east-1"])
    return [f"{match.rule.id} {match.message}" for match in lint(template, config=config)]


@pytest.mark.at_length
def test_cfn_lint_and_our_rules_accept_each() -> None:
    functions = [
        FunctionDefinition(f"bill-{number}", timeout=20, events=(event,))
        for number, event in enumerate([*EVENTS, Queue(fifo=True)])
    ]
    assert findings(render(pipeline_template(SETTINGS, functions))) == []


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{type(event).__name__}-{event}"[:40])
def test_each_invokes_the_alias_and_never_the_function(event: Event) -> None:
    template = synthesise(event)
    alias = {"Ref": "BillAlias"}
    invoking = {
        "Lambda::EventSourceMapping": lambda each: each["FunctionName"],
        "Lambda::Permission": lambda each: each["FunctionName"],
        "SNS::Subscription": lambda each: each["Endpoint"],
        "Scheduler::Schedule": lambda each: each["Target"]["Arn"],
        "Events::Rule": lambda each: each["Targets"][0]["Arn"],
        "ApiGatewayV2::Integration": lambda each: each["IntegrationUri"],
    }
    found = [read(each["Properties"]) for kind, read in invoking.items() for each in of_type(template, kind)]
    urls = of_type(template, "Lambda::Url")
    assert found or urls
    assert all(each == alias for each in found)
    assert all(each["Properties"]["Qualifier"] == "live" for each in urls)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{type(event).__name__}-{event}"[:40])
def test_what_fails_is_kept_unless_a_caller_gets_the_error(event: Event) -> None:
    template = synthesise(event)
    kept = "BillFailures" in template["Resources"]
    assert kept == (not isinstance(event, Url | Route) and not (isinstance(event, Queue) and event.queue != ""))
    if kept:
        assert "BillFailuresKept" in template["Resources"]
        assert template["Resources"]["BillFailures"]["Properties"]["MessageRetentionPeriod"] == 1_209_600


def test_a_queue_of_its_own_waits_for_the_function_and_ends_in_the_failures() -> None:
    template = synthesise(Queue(window=5, attempts=3))
    queue = template["Resources"]["BillQueue"]["Properties"]
    assert queue["QueueName"] == "orders-bill-dev"
    assert queue["VisibilityTimeout"] == 125
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 3
    (mapping,) = of_type(template, "Lambda::EventSourceMapping")
    assert mapping["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"} <= role_actions(template)
    assert "sqs:SendMessage" not in role_actions(template)
    assert set(template["Outputs"]) >= {"BillQueueUrl", "BillFailuresUrl"}


def test_a_stream_halves_a_batch_and_sends_what_fails() -> None:
    template = synthesise(TableStream(STREAM, attempts=2, filter={"eventName": ["INSERT"]}))
    (mapping,) = of_type(template, "Lambda::EventSourceMapping")
    properties = mapping["Properties"]
    assert (properties["MaximumRetryAttempts"], properties["BisectBatchOnFunctionError"]) == (2, True)
    assert properties["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["BillFailures", "Arn"]}
    assert properties["FilterCriteria"] == {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]}
    assert {"dynamodb:GetRecords", "sqs:SendMessage"} <= role_actions(template)


def test_asynchronous_events_are_retried_as_the_function_says() -> None:
    template = synthesise(Rule({"source": ["shop"]}), retries=1, maximum_age=600)
    (config,) = of_type(template, "Lambda::EventInvokeConfig")
    assert (config["Properties"]["MaximumRetryAttempts"], config["Properties"]["MaximumEventAgeInSeconds"]) == (1, 600)
    assert config["Properties"]["Qualifier"] == "live"


@pytest.mark.parametrize(
    ("event", "service", "source"),
    [
        (Rule({"source": ["shop"]}), "events", {"Fn::GetAtt": ["BillEvent1", "Arn"]}),
        (Topic(), "sns", {"Ref": "BillTopic"}),
        (Topic("arn:aws:sns:us-east-1:123456789012:news"), "sns", "arn:aws:sns:us-east-1:123456789012:news"),
    ],
)
def test_a_service_may_invoke_from_that_source_only(event: Event, service: str, source: Any) -> None:
    (permission,) = of_type(synthesise(event), "Lambda::Permission")
    assert permission["Properties"]["Principal"] == f"{service}.amazonaws.com"
    assert permission["Properties"]["SourceArn"] == source


def test_functions_share_a_bucket_that_they_name_alike() -> None:
    functions = [
        FunctionDefinition("thumbnail", events=(Bucket("uploads", suffix=".png"),)),
        FunctionDefinition("virus-scan", events=(Bucket("uploads", on=["ObjectCreated:Put", "ObjectRestore:*"]),)),
    ]
    template = json.loads(render(pipeline_template(SETTINGS, functions)))
    (bucket,) = of_type(template, "S3::Bucket")
    listeners = bucket["Properties"]["NotificationConfiguration"]["LambdaConfigurations"]
    assert [each["Event"] for each in listeners] == ["s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectRestore:*"]
    assert bucket["DependsOn"] == ["ThumbnailEvent1Permission", "VirusScanEvent1Permission"]
    for each in of_type(template, "Lambda::Permission"):
        assert each["Properties"]["SourceAccount"] == {"Ref": "AWS::AccountId"}


def test_one_api_has_the_routes_of_all_functions() -> None:
    functions = [
        FunctionDefinition("read", timeout=10, events=(Route("GET /orders"), Route("GET /orders/{id}", "none"))),
        FunctionDefinition("write", timeout=10, events=(Route("POST /orders"),)),
    ]
    template = json.loads(render(pipeline_template(SETTINGS, functions)))
    assert len(of_type(template, "ApiGatewayV2::Api")) == 1
    assert len(of_type(template, "ApiGatewayV2::Integration")) == 2
    routes = {each["Properties"]["RouteKey"]: each["Properties"] for each in of_type(template, "ApiGatewayV2::Route")}
    assert {route: each["AuthorizationType"] for route, each in routes.items()} == {
        "GET /orders": "AWS_IAM", "GET /orders/{id}": "NONE", "POST /orders": "AWS_IAM",
    }  # fmt: skip


def test_a_route_of_tokens_names_the_authorizer_and_the_scopes_of_the_setting() -> None:
    settings = replace(SETTINGS, jwt=JWT)
    both = replace(FOR_TOKENS, events=(*FOR_TOKENS.events, Route("GET /orders")))
    template = json.loads(render(pipeline_template(settings, [both])))
    (authorizer,) = of_type(template, "ApiGatewayV2::Authorizer")
    assert authorizer["Properties"] == {
        "ApiId": {"Ref": "HttpApi"}, "AuthorizerType": "JWT", "Name": "orders-pipeline-dev",
        "IdentitySource": ["$request.header.Authorization"],
        "JwtConfiguration": {"Issuer": "https://login.example.com", "Audience": ["orders"]},
    }  # fmt: skip
    tokens, signed = (each["Properties"] for each in of_type(template, "ApiGatewayV2::Route"))
    assert (tokens["AuthorizationType"], tokens["AuthorizerId"]) == ("JWT", {"Ref": "HttpApiAuthorizer"})
    assert tokens["AuthorizationScopes"] == ["read", "write"]
    assert signed["AuthorizationType"] == "AWS_IAM"
    assert not {"AuthorizerId", "AuthorizationScopes"} & signed.keys()
    without = json.loads(render(pipeline_template(replace(settings, jwt=Jwt(JWT.issuer, JWT.audience)), [both])))
    assert all("AuthorizationScopes" not in each["Properties"] for each in of_type(without, "ApiGatewayV2::Route"))


@pytest.mark.at_length
def test_cfn_lint_and_our_rules_accept_a_route_of_tokens() -> None:
    assert findings(render(pipeline_template(replace(SETTINGS, jwt=JWT), [FOR_TOKENS]))) == []


def test_tokens_and_their_setting_need_each_other() -> None:
    with pytest.raises(SettingsError, match='GET /account of account has auth = "jwt", and dev has no setting jwt'):
        pipeline_template(SETTINGS, [FOR_TOKENS])
    with pytest.raises(SettingsError, match="and dev has none"):
        pipeline_template(replace(SETTINGS, jwt=JWT), [FunctionDefinition("bill", events=(Queue(),))])


@pytest.mark.parametrize(
    ("jwt", "said"),
    [
        (Jwt("http://login.example.com", ("a",)), "the issuer of jwt is 'http://login.example.com'"),
        (Jwt("https://", ("a",)), "the issuer of jwt is 'https://'"),
        (Jwt("https://user@login.example.com", ("a",)), "an issuer is an https URL"),
        (Jwt("https://login.example.com/?tenant=1", ("a",)), "an issuer is an https URL without query"),
        (Jwt("https://login.example.com/#a", ("a",)), "an issuer is an https URL without query"),
        (Jwt(" https://login.example.com", ("a",)), "an issuer is an https URL"),
        (Jwt("https://login.example.com", ()), "jwt has 0 audiences and API Gateway takes 1 to 50"),
        (Jwt("https://login.example.com", ("a",) * 51), "jwt has 51 audiences"),
        (Jwt("https://login.example.com", ("",)), "an audience of jwt is ''"),
        (Jwt("https://login.example.com", ("a b",)), "an audience of jwt is 'a b'"),
        (Jwt("https://login.example.com", ("a",), ("read write",)), "a scope of jwt is 'read write'"),
        (Jwt("https://login.example.com", ("a",), tuple("abcdefghijk")), "jwt has 11 scopes"),
    ],
)
def test_a_setting_that_api_gateway_would_refuse_is_named(jwt: Jwt, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        pipeline_template(replace(SETTINGS, jwt=jwt), [FOR_TOKENS])


def test_a_url_is_public_only_if_it_says_so() -> None:
    (url,) = of_type(synthesise(Url()), "Lambda::Url")
    assert url["Properties"]["AuthType"] == "AWS_IAM"
    assert of_type(synthesise(Url()), "Lambda::Permission") == []
    public = of_type(synthesise(Url("none")), "Lambda::Permission")
    assert sorted(each["Properties"]["Action"] for each in public) == [
        "lambda:InvokeFunction", "lambda:InvokeFunctionUrl",
    ]  # fmt: skip


def test_a_fifo_queue_has_a_fifo_failure_queue_of_a_name_that_fits() -> None:
    longest = FunctionDefinition("b" * (64 - len("orders--dev")), timeout=20, events=(Queue(fifo=True), Url()))
    template = json.loads(render(pipeline_template(SETTINGS, [longest])))
    queues = {each["Properties"]["QueueName"]: each["Properties"] for each in of_type(template, "SQS::Queue")}
    assert all(name.endswith(".fifo") and len(name) <= 80 and queues[name]["FifoQueue"] for name in queues)
    assert len(queues) == 2
    # Beside an existing queue of either type the failures of a topic stay in a standard queue.
    existing = Queue("arn:aws:sqs:us-east-1:123456789012:jobs.fifo")
    (failures,) = of_type(synthesise(existing, Topic()), "SQS::Queue")
    assert failures["Properties"]["QueueName"] == "orders-bill-dev-failures"


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((Route("get /x"),), "the route 'get /x' is not written like"),
        ((Schedule("every day"),), "the schedule 'every day' is not written like"),
        ((Bucket("My_Bucket"),), "the bucket 'My_Bucket' is not"),
        ((Bucket("uploads", on=["s3:ObjectCreated:*"]),), "S3 has no event 's3:ObjectCreated:\\*'"),
        ((Queue("jobs"),), "the queue 'jobs' is not an ARN of sqs"),
        ((Topic("arn:aws:sqs:us-east-1:123456789012:jobs"),), "is not an ARN of sns"),
        ((TableStream("orders"),), "the stream 'orders' is not an ARN of dynamodb"),
        ((Rule({}),), "its pattern is empty"),
        ((Queue(filter={"body": ["x" * 5000]}),), "its filter has more than 4,096 characters"),
        ((Queue(), Queue()), "bill has 2 queues of its own"),
        ((Queue(fifo=True, batch=11),), "its batch is 11 and Lambda takes at most 10 messages of a FIFO queue"),
        ((Queue(fifo=True, window=1),), "its window is 1 s and a FIFO queue has none"),
        ((Queue("arn:aws:sqs:us-east-1:123456789012:jobs.fifo", batch=100),), "at most 10 messages of a FIFO queue"),
        ((Queue("arn:aws:sqs:us-east-1:123456789012:jobs", fifo=True),), "its name does not end in .fifo"),
        ((Queue(fifo=True), Topic()), "bill has a FIFO queue, whose failure queue is FIFO, and other events"),
        ((TableStream(STREAM), Queue(fifo=True)), "bill has a FIFO queue, whose failure queue is FIFO, and other"),
        ((Topic(), Topic()), "bill has 2 topics of its own"),
        ((Url(), Url("none")), "more than one URL"),
    ],
)
def test_what_aws_would_refuse_is_named(events: tuple[Event, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        synthesise(*events)


def test_two_functions_cannot_answer_one_route() -> None:
    functions = [FunctionDefinition(name, timeout=10, events=(Route("GET /"),)) for name in ("one", "two")]
    with pytest.raises(SettingsError, match="two and one answer the route GET /"):
        pipeline_template(SETTINGS, functions)


def test_a_function_of_an_api_must_answer_in_time() -> None:
    with pytest.raises(SettingsError, match="API Gateway waits 30 s, and the timeout of bill is 60 s"):
        pipeline_template(SETTINGS, [FunctionDefinition("bill", timeout=60, events=(Route("GET /"),))])


def test_what_a_function_is() -> None:
    template = synthesise(
        ephemeral_storage=2048, reserved_concurrency=10, provisioned_concurrency=2, tracing=True,
        secrets=(("DATABASE", "secretsmanager:orders/db"), ("TOKEN", "ssm:/orders/token")),
    )  # fmt: skip
    function = template["Resources"]["BillFunction"]["Properties"]
    assert function["EphemeralStorage"] == {"Size": 2048}
    assert function["ReservedConcurrentExecutions"] == 10
    assert function["TracingConfig"] == {"Mode": "Active"}
    alias = template["Resources"]["BillAlias"]["Properties"]
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 2}
    variables = function["Environment"]["Variables"]
    assert (variables["DATABASE"], variables["TOKEN"]) == ("orders/db", "/orders/token")
    assert {"secretsmanager:GetSecretValue", "ssm:GetParameter", "xray:PutTraceSegments"} <= role_actions(template)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reserved_concurrency": 1, "provisioned_concurrency": 2}, "provisions 2 executions and reserves 1"),
        ({"secrets": (("DB", "orders/db"),)}, "write secretsmanager:NAME or ssm:NAME"),
    ],
)
def test_what_a_function_cannot_be(more: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        synthesise(**more)
