"""The entrances http and queue in the templates, with the functions of this project."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfn.entrances.queue_entrance import batches_at_a_time
from cfn.problems import SettingsError
from cfn.settings import Call, Entrance, FunctionDefinition, Jwt, Settings
from pipeline.assembly.sources import find_sources
from pipeline.environment.synth import build_templates
from pipeline.transactions.cost import compute_cost
from pipeline.transactions.entrance_cost import entrance_costs, file_entrance_cost
from pipeline.transactions.prices import Prices

IMAGES = Path(__file__).parents[3] / "images"
BOTH = (Entrance.HTTP, Entrance.QUEUE)


def functions(*entrances: Entrance) -> tuple[FunctionDefinition, ...]:
    return tuple(source.definition for source in find_sources(IMAGES, entrances=entrances))


def resources(*entrances: Entrance, **changes: Any) -> dict[str, Any]:
    settings = replace(Settings("dev", entrances=entrances), **changes)
    found: dict[str, Any] = json.loads(build_templates(settings, functions(*entrances)).pipeline)["Resources"]
    return found


@pytest.fixture(scope="module")
def both() -> dict[str, Any]:
    return resources(*BOTH)


def properties(found: dict[str, Any], logical_id: str) -> dict[str, Any]:
    value: dict[str, Any] = found[logical_id]["Properties"]
    return value


def statements(found: dict[str, Any], role: str) -> set[tuple[str, ...]]:
    [policy] = properties(found, role)["Policies"]
    return {tuple(each["Action"]) for each in policy["PolicyDocument"]["Statement"]}


def test_without_the_setting_there_is_nothing_of_them(both: dict[str, Any]) -> None:
    without = resources()
    assert without.keys() <= both.keys()
    added = both.keys() - without.keys()
    assert added
    assert all(name.startswith(("HttpApi", "HttpEntrance", "QueueEntrance", "ResultTopic")) for name in added)


def test_the_functions_are_outside_the_vpc_with_the_calls_that_they_make(both: dict[str, Any]) -> None:
    for name in ("HttpEntrance", "QueueEntrance"):
        assert "VpcConfig" not in properties(both, f"{name}Function")
        assert "ManagedPolicyArns" not in properties(both, f"{name}Role")
        variables = properties(both, f"{name}Function")["Environment"]["Variables"]
        machine = "${AWS::AccountId}:stateMachine:transaction-pipeline-dev"
        assert variables["STATE_MACHINE_ARN"]["Fn::Sub"].endswith(machine)
    logs = ("logs:CreateLogStream", "logs:PutLogEvents")
    start = ("states:StartSyncExecution",)
    assert statements(both, "HttpEntranceRole") == {logs, start, ("dynamodb:GetItem",)}
    polling = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")
    assert statements(both, "QueueEntranceRole") == {logs, start, ("sns:Publish",), polling}


def test_the_api_is_signed_for_throttled_and_logged_without_what_was_sent(both: dict[str, Any]) -> None:
    routes = [each["Properties"] for each in both.values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    assert {each["RouteKey"] for each in routes} == {
        "POST /transactions", "GET /transactions/{id}", "GET /openapi.json", "$default",
    }  # fmt: skip
    assert {each["AuthorizationType"] for each in routes} == {"AWS_IAM"}
    stage = properties(both, "HttpApiStage")
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == 500  # 10,000 a minute, three times at the peak
    assert not {"$context.path", "$context.requestOverride"} & set(
        json.loads(stage["AccessLogSettings"]["Format"]).values()
    )
    assert properties(both, "HttpApiLogGroup")["LogGroupName"].startswith("/aws/vendedlogs/")
    assert properties(both, "HttpApiFailures")["MetricName"] == "5xx"


def test_with_tokens_the_log_names_their_subject_and_the_function_knows_the_issuer() -> None:
    found = resources(Entrance.HTTP, jwt=Jwt("https://login.example.com", ("payments",), ("submit", "all")))
    routes = [each["Properties"] for each in found.values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    assert {each["AuthorizationType"] for each in routes} == {"JWT"}
    assert {tuple(each["AuthorizationScopes"]) for each in routes} == {("submit", "all")}
    logged = json.loads(properties(found, "HttpApiStage")["AccessLogSettings"]["Format"])
    assert logged["subject"] == "$context.authorizer.claims.sub"
    assert "userArn" not in logged
    variables = properties(found, "HttpEntranceFunction")["Environment"]["Variables"]
    assert (variables["JWT_ISSUER"], variables["JWT_SCOPES"]) == ("https://login.example.com", "submit all")
    without = properties(resources(Entrance.HTTP), "HttpEntranceFunction")["Environment"]["Variables"]
    assert not [name for name in without if name.startswith("JWT")]


def test_the_queue_waits_six_times_as_long_as_its_function_and_has_a_failure_queue(both: dict[str, Any]) -> None:
    queue = properties(both, "QueueEntranceQueue")
    assert queue["VisibilityTimeout"] == 6 * properties(both, "QueueEntranceFunction")["Timeout"]
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["QueueEntranceFailures", "Arn"]}, "maxReceiveCount": 3,
    }  # fmt: skip
    mapping = properties(both, "QueueEntranceEvent1")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 30}
    assert properties(both, "QueueEntranceWaiting")["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert "QueueEntranceFailuresKept" in both


def test_a_fifo_queue_and_its_failures_are_ordered_and_deduplicated_by_message_group() -> None:
    found = resources(Entrance.QUEUE, queue_fifo=True)
    for name in ("QueueEntranceQueue", "QueueEntranceFailures"):
        queue = properties(found, name)
        assert (queue["FifoQueue"], queue["DeduplicationScope"], queue["FifoThroughputLimit"]) == (
            True, "messageGroup", "perMessageGroupId",
        )  # fmt: skip
        # The id is the deduplication, not the content.
        assert "ContentBasedDeduplication" not in queue
    assert properties(found, "QueueEntranceQueue")["QueueName"] == "queue-entrance-dev.fifo"
    assert properties(found, "QueueEntranceFailures")["QueueName"] == "queue-entrance-dev-failures.fifo"
    assert "MaximumBatchingWindowInSeconds" not in properties(found, "QueueEntranceEvent1")


@pytest.mark.parametrize(
    ("per_minute", "batches"), [(1, 2), (1_000, 3), (10_000, 30), (60_000, 180), (1_000_000, 1000)]
)
def test_as_many_batches_run_as_the_load_needs(per_minute: int, batches: int) -> None:
    [function] = [each for each in functions(Entrance.QUEUE) if each.entrance]
    assert batches_at_a_time(Settings("dev", transactions_per_minute=per_minute), function) == batches


def test_data_that_is_protected_keeps_messages_and_logs() -> None:
    found = resources(*BOTH, protect_data=True)
    for name in ("QueueEntranceQueue", "QueueEntranceFailures", "HttpApiLogGroup"):
        assert found[name]["DeletionPolicy"] == "Retain"


def test_mistakes_are_named() -> None:
    with pytest.raises(SettingsError, match='one folder declares entrance = "queue"'):
        build_templates(Settings("dev", entrances=(Entrance.QUEUE,)), functions())
    with pytest.raises(SettingsError, match="an entrance twice"):
        build_templates(Settings("dev", entrances=(Entrance.HTTP, Entrance.HTTP)), functions(Entrance.HTTP))
    with pytest.raises(SettingsError, match="queue_fifo is for the entrance queue"):
        build_templates(Settings("dev", queue_fifo=True), functions())
    with pytest.raises(SettingsError, match="has no transactions"):
        build_templates(Settings("dev", project="p", workflow=None, entrances=(Entrance.HTTP,)), ())
    publishing = FunctionDefinition("teller", calls=(Call("sns", ("Publish",), "result-topic"),))
    with pytest.raises(SettingsError, match="calls the resource 'result-topic'"):
        build_templates(Settings("dev"), (*functions(), publishing))


def test_the_cost_names_each_entrance() -> None:
    prices = Prices.load()
    settings = Settings("dev", entrances=BOTH)
    lines = {line.name: line.usd for line in entrance_costs(settings, functions(*BOTH), prices)}
    assert lines.keys() == {"through http", "through queue"}
    # A request, an invocation of 300 ms and 1,769 MB, and 0.9 GB of logs.
    assert lines["through http"] == pytest.approx(1 + 0.2 + 1769 / 1024 * 0.3 * 13.3334 + 0.45)
    assert lines["through queue"] < lines["through http"] / 3
    fifo = {
        line.name: line.usd for line in entrance_costs(replace(settings, queue_fifo=True), functions(*BOTH), prices)
    }
    assert fifo["through queue"] - lines["through queue"] == pytest.approx(0.1 * 1.2)
    # 100,000 batches, each an EXPRESS execution of 0.6 s and 64 MB.
    by_files = file_entrance_cost(prices)
    assert (by_files.name, by_files.usd) == ("through files", pytest.approx(0.1 + 0.1 * 0.6 / 16 * 16.67, rel=0.01))
    template = json.loads(build_templates(settings, functions(*BOTH)).pipeline)
    bill = replace(compute_cost(template, prices), entrances=tuple(entrance_costs(settings, functions(*BOTH), prices)))
    assert "through http" in bill.text()
    assert [each["name"] for each in bill.to_json()["entrances"]] == ["through http", "through queue"]
