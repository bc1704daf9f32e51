"""A project's own workflow: what its definition names, what its role allows, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from cfn.pipeline import pipeline_template
from cfn.problems import SettingsError
from cfn.render import render
from cfn.settings import EXPRESS, STANDARD, Call, FunctionDefinition, OwnWorkflow, Settings
from pipeline.environment.workflow_file import read_workflow

PAGE = (Path(__file__).parents[4] / "docs" / "own-workflow.md").read_text()
BILL = FunctionDefinition("bill")
OWN = {
    "Resources": {
        "Orders": {"Type": "AWS::DynamoDB::Table"},
        "Jobs": {"Type": "AWS::SQS::Queue"},
        "News": {"Type": "AWS::SNS::Topic"},
        "Other": {"Type": "AWS::StepFunctions::StateMachine"},
        "Hands": {"Type": "AWS::StepFunctions::Activity"},
        "Reports": {"Type": "AWS::S3::Bucket"},
    }
}


def task(resource: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, "End": True, **fields}


def machine(**states: Any) -> str:
    return json.dumps({"StartAt": next(iter(states)), "States": states})


def synthesise(
    definition: str,
    *functions: FunctionDefinition,
    kind: str = STANDARD,
    calls: tuple[Call, ...] = (),
    own: dict[str, Any] = OWN,
) -> dict[str, Any]:
    settings = Settings(
        "dev",
        project="shop",
        workflow=None,
        own_workflow=OwnWorkflow(definition, kind, calls),
        resources=json.dumps(own),
    )
    template: dict[str, Any] = json.loads(render(pipeline_template(settings, functions or (BILL,))))
    return template


def allowed(template: dict[str, Any]) -> dict[str, list[str]]:
    """The actions of the machine's role by resource, without those of log delivery."""
    (policy,) = template["Resources"]["StateMachineRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    assert statements[-1]["Action"][0] == "logs:CreateLogDelivery"
    return {
        each["Resource"]["Fn::Sub"] if isinstance(each["Resource"], dict) else each["Resource"]: each["Action"]
        for each in statements[:-1]
    }


def refused(definition: str, **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        synthesise(definition, **more)
    return caught.value.why


def test_the_machine_of_the_page_passes_all_rules(tmp_path: Path) -> None:
    definition, manifest = (re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)[0] for kind in ("yaml", "toml"))
    (tmp_path / "workflow.asl.yaml").write_text(definition)
    (tmp_path / "workflow.toml").write_text(manifest)
    own = read_workflow(tmp_path, None)
    table = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        },
    }
    resources = json.dumps({"Resources": {"Orders": table, "Reports": {"Type": "AWS::S3::Bucket"}}})
    settings = Settings("dev", project="shop", workflow=None, own_workflow=own, resources=resources)
    text = render(pipeline_template(settings, [BILL]))
    assert allowed(json.loads(text)) == {
        "${BillAlias}": ["lambda:InvokeFunction"],
        "${Orders.Arn}": ["dynamodb:PutItem"],
        "${Reports.Arn}/*": ["s3:PutObject"],
    }
    config = ManualArgs(append_rules=["cfn.rules"], regions=["us-east-1"])
    found = [f"{match.rule.id} {match.message}" for match in lint(text, config=config)]
    assert [each for each in found if each[0] == "E"] == []


def test_references_become_substitutions() -> None:
    template = synthesise(
        machine(
            A={"Type": "Task", "Resource": "${function:bill}", "Next": "B"},
            B={"Type": "Pass", "Result": "${Orders} ${Orders.Arn} ${AWS::Region} {% ${'a': 1} %}", "End": True},
        )
    )
    properties = template["Resources"]["StateMachine"]["Properties"]
    assert properties["DefinitionSubstitutions"] == {
        "BillAlias": {"Ref": "BillAlias"},
        "Orders": {"Ref": "Orders"},
        "Orders_Arn": {"Fn::GetAtt": ["Orders", "Arn"]},
        "AWS_Region": {"Ref": "AWS::Region"},
    }
    text = properties["DefinitionString"]
    assert "${Orders} ${Orders_Arn} ${AWS_Region} {% ${'a': 1} %}" in text
    assert '"Resource": "${BillAlias}"' in text
    assert template["Outputs"]["StateMachineArn"] == {"Value": {"Ref": "StateMachine"}}


@pytest.mark.parametrize(
    ("state", "resource", "action"),
    [
        (task("${function:bill}"), "${BillAlias}", "lambda:InvokeFunction"),
        (task("arn:aws:lambda:eu-west-1:123456789012:function:other"), None, "lambda:InvokeFunction"),
        (
            task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": "${function:bill}"}),
            "${BillAlias}", "lambda:InvokeFunction",
        ),
        (
            task("arn:aws:states:::lambda:invoke.waitForTaskToken", Parameters={"FunctionName": "${BillAlias}"}),
            "${BillAlias}", "lambda:InvokeFunction",
        ),
        (
            task("arn:aws:states:::dynamodb:getItem", Parameters={"TableName": "${Orders}"}),
            "${Orders.Arn}", "dynamodb:GetItem",
        ),
        (
            task("arn:aws:states:::aws-sdk:dynamodb:query", Parameters={"TableName": "${Orders}", "IndexName": "day"}),
            "${Orders.Arn}/index/day", "dynamodb:Query",
        ),
        (
            task("arn:aws:states:::dynamodb:getItem", Parameters={"TableName": "legacy-orders"}),
            "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/legacy-orders", "dynamodb:GetItem",
        ),
        (
            task("arn:aws:states:::sqs:sendMessage", Parameters={"QueueUrl": "${Jobs}"}),
            "${Jobs.Arn}", "sqs:SendMessage",
        ),
        (task("arn:aws:states:::sns:publish", Parameters={"TopicArn": "${News}"}), "${News}", "sns:Publish"),
        (
            task("arn:aws:states:::states:startExecution", Parameters={"StateMachineArn": "${Other}"}),
            "${Other}", "states:StartExecution",
        ),
        (
            task("arn:aws:states:::aws-sdk:sfn:startSyncExecution", Parameters={"StateMachineArn": "${Other}"}),
            "${Other}", "states:StartSyncExecution",
        ),
    ],
)  # fmt: skip
def test_what_a_state_names_is_allowed(state: dict[str, Any], resource: str | None, action: str) -> None:
    assert allowed(synthesise(machine(A=state))) == {resource or state["Resource"]: [action]}


def test_states_in_branches_and_maps_count() -> None:
    inner = {"StartAt": "C", "States": {"C": task("${function:bill}")}}
    batch = {"StartAt": "D", "States": {"D": task("arn:aws:states:::sns:publish", Parameters={"TopicArn": "${News}"})}}
    definition = machine(
        A={"Type": "Parallel", "Branches": [inner], "Next": "B"}, B={"Type": "Map", "ItemProcessor": batch, "End": True}
    )
    assert set(allowed(synthesise(definition))) == {"${BillAlias}", "${News}"}


def test_jsonata_arguments_count_where_the_state_is_in_jsonata() -> None:
    state = task("arn:aws:states:::sns:publish", Arguments={"TopicArn": "${News}"})
    whole = json.dumps({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": state}})
    assert set(allowed(synthesise(whole))) == {"${News}"}
    assert set(allowed(synthesise(machine(A={**state, "QueryLanguage": "JSONata"})))) == {"${News}"}
    assert "the state A calls sns:Publish" in refused(machine(A=state))


def test_activities_and_other_roles_need_nothing() -> None:
    other = {"Credentials": {"RoleArn": "arn:aws:iam::123456789012:role/r"}}
    assert allowed(synthesise(machine(A=task("${Hands}")))) == {}
    assert allowed(synthesise(machine(A=task("arn:aws:states:::aws-sdk:s3:getObject", **other)))) == {}


def test_what_the_definition_does_not_show_is_in_calls() -> None:
    definition = machine(A=task("arn:aws:states:::aws-sdk:s3:putObject", Parameters={"Bucket": "${Reports}"}))
    assert 'add [[calls]] with service = "s3" to workflow.toml' in refused(definition)
    calls = (Call("s3", ("PutObject",), "Reports/*"), Call("kms", ("Decrypt",), "*"))
    assert allowed(synthesise(definition, calls=calls)) == {"${Reports.Arn}/*": ["s3:PutObject"], "*": ["kms:Decrypt"]}


@pytest.mark.parametrize(
    "state",
    [
        task("arn:aws:states:::dynamodb:getItem", Parameters={"TableName.$": "$.table"}),
        task("arn:aws:states:::sqs:sendMessage", Parameters={"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q"}),
        task("arn:aws:states:::states:startExecution.sync:2", Parameters={"StateMachineArn": "${Other}"}),
        task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": "bill"}),
        task("arn:aws:states:::http:invoke", Parameters={}),
        {"Type": "Map", "End": True, "ItemReader": {"Resource": "arn:aws:states:::s3:getObject"},
         "ItemProcessor": {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": True}}}},
    ],
)  # fmt: skip
def test_what_nothing_allows_is_refused(state: dict[str, Any]) -> None:
    assert "the definition does not show on what" in refused(machine(A=state))


@pytest.mark.parametrize("resource", ["bill", "state-machine", "state-table", "*", "", "https://example.com", 3, None])
def test_a_task_without_an_arn_is_refused(resource: Any) -> None:
    why = refused(machine(A=task(resource)))
    assert "the state A calls" in why
    assert "which is not an ARN; a function is ${function:NAME}" in why


def test_a_distributed_map_may_start_its_own_executions() -> None:
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "B",
        "States": {"B": {"Type": "Pass", "End": True}},
    }
    definition = machine(A={"Type": "Map", "ItemProcessor": processor, "End": True})
    place = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    assert allowed(synthesise(definition)) == {
        f"{place}:stateMachine:shop-pipeline-dev": ["states:StartExecution"],
        f"{place}:execution:shop-pipeline-dev/*": ["states:DescribeExecution", "states:StopExecution"],
    }
    assert "is a distributed Map" in refused(definition, kind=EXPRESS)


@pytest.mark.parametrize("pattern", ["lambda:invoke.waitForTaskToken", "states:startExecution.sync:2"])
def test_an_express_workflow_waits_for_nothing(pattern: str) -> None:
    parameters = {"FunctionName": "${function:bill}", "StateMachineArn": "${Other}"}
    why = refused(machine(A=task(f"arn:aws:states:::{pattern}", Parameters=parameters)), kind=EXPRESS)
    assert f"the state A waits for {pattern}" in why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${function:bil}", "${function:bil} is no function; did you mean bill?"),
        ("${function:}", "${function:} is no function; there are bill"),
        ("${function:bill", "${function:bill has no closing brace"),
        ('${function:bill"}', "${function:bill has no closing brace"),
        ("${function:bill\n}", "${function:bill has no closing brace"),
        ("${Order}", "${Order} stands for nothing; did you mean Orders?"),
        ("${Zzzz.Arn}", "${Zzzz.Arn} stands for nothing; the stack and resources.yaml have no such logical id"),
        ("${AWS::Regio}", "${AWS::Regio} stands for nothing; did you mean AWS::Region?"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(text: str, why: str) -> None:
    assert why in refused(machine(A={"Type": "Pass", "Result": text, "End": True}))


def test_names_that_the_workflow_takes_are_refused() -> None:
    definition = machine(A={"Type": "Pass", "End": True})
    with pytest.raises(SettingsError, match="the stack has StateMachineRole already"):
        synthesise(definition, FunctionDefinition("state-machine"))
    assert "the stack has StateMachine already" in refused(
        definition, own={"Resources": {"StateMachine": {"Type": "AWS::SNS::Topic"}}}
    )


def test_wrong_calls_are_refused_in_the_name_of_their_file() -> None:
    definition = machine(A={"Type": "Pass", "End": True})
    assert "workflow.toml names Report, which" in refused(definition, calls=(Call("s3", ("GetObject",), "Report/*"),))
    assert "workflow.toml calls the action 's3:*'" in refused(definition, calls=(Call("s3", ("s3:*",), "Reports/*"),))


def test_a_function_may_start_the_workflow() -> None:
    starter = FunctionDefinition("starter", calls=(Call("sqs", ("SendMessage",), "state-machine"),))
    with pytest.raises(SettingsError, match="belongs to states"):
        synthesise(machine(A={"Type": "Pass", "End": True}), starter)
    starter = FunctionDefinition("starter", calls=(Call("stepfunctions", ("StartExecution",), "state-machine"),))
    template = synthesise(machine(A={"Type": "Pass", "End": True}), starter)
    (policy,) = template["Resources"]["StarterRole"]["Properties"]["Policies"]
    place = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:shop-pipeline-dev"
    assert {"Fn::Sub": place} in [each["Resource"] for each in policy["PolicyDocument"]["Statement"]]


def test_failures_raise_an_alarm_and_are_logged_without_data() -> None:
    resources = synthesise(machine(A={"Type": "Pass", "End": True}))["Resources"]
    for name, metric in (("failed", "ExecutionsFailed"), ("timed-out", "ExecutionsTimedOut")):
        properties = resources[metric]["Properties"]
        assert properties["AlarmName"] == f"shop-pipeline-dev-{name}"
        assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    logged = resources["StateMachine"]["Properties"]["LoggingConfiguration"]
    assert (logged["Level"], logged["IncludeExecutionData"]) == ("ERROR", False)
