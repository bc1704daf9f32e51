"""``resources.yaml`` is part of stack 2, and functions name what is in it by logical ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from cfn.events.kinds import DataStream, Queue, TableStream, Topic
from cfn.pipeline import pipeline_template
from cfn.problems import SettingsError
from cfn.registry import registry_template
from cfn.render import render
from cfn.settings import Call, FunctionDefinition, Settings
from pipeline.assembly.manifest import definition_of, read_manifest
from pipeline.environment.resources_file import read_resources

PAGE = (Path(__file__).parents[3] / "docs" / "resources.md").read_text()
OWN = {
    "Resources": {
        "Orders": {"Type": "AWS::DynamoDB::Table"},
        "Jobs": {"Type": "AWS::SQS::Queue"},
        "News": {"Type": "AWS::SNS::Topic"},
        "Clicks": {"Type": "AWS::Kinesis::Stream"},
    }
}


def synthesise(own: dict[str, Any], *functions: FunctionDefinition) -> dict[str, Any]:
    settings = Settings("dev", project="orders", workflow=None, resources=json.dumps(own))
    template: dict[str, Any] = json.loads(render(pipeline_template(settings, functions)))
    return template


def block(kind: str) -> str:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


def test_the_example_of_the_page_is_deployed_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "resources.yaml").write_text(block("yaml"))
    (tmp_path / "function.toml").write_text('handler = "handler.handle"\n' + block("toml"))
    function = definition_of("bill", read_manifest(tmp_path / "function.toml"), "dev")
    settings = Settings("dev", project="orders", workflow=None, resources=read_resources(tmp_path))
    text = render(pipeline_template(settings, [function]))
    template = json.loads(text)
    assert template["Resources"]["SlowBills"]["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    (policy,) = template["Resources"]["BillRole"]["Properties"]["Policies"]
    named = {json.dumps(each["Resource"]) for each in policy["PolicyDocument"]["Statement"]}
    assert {'{"Fn::Sub": "${Orders.Arn}"}', '{"Fn::Sub": "${Reports.Arn}/*"}'} <= named
    config = ManualArgs(append_rules=["cfn.rules"], regions=["us-east-1"])
    assert [f"{match.rule.id} {match.message}" for match in lint(text, config=config) if match.rule.id[0] == "E"] == []


def test_events_name_own_resources() -> None:
    function = FunctionDefinition(
        "bill", events=(Queue("Jobs"), Topic("News"), TableStream("Orders"), DataStream("Clicks"))
    )
    resources = synthesise(OWN, function)["Resources"]
    assert resources["BillEvent1"]["Properties"]["EventSourceArn"] == {"Fn::Sub": "${Jobs.Arn}"}
    assert resources["BillEvent2"]["Properties"]["TopicArn"] == {"Fn::Sub": "${News}"}
    assert resources["BillEvent3"]["Properties"]["EventSourceArn"] == {"Fn::Sub": "${Orders.StreamArn}"}
    assert resources["BillEvent4"]["Properties"]["EventSourceArn"] == {"Fn::Sub": "${Clicks.Arn}"}
    assert "BillQueue" not in resources


def test_the_logical_ids_of_the_page_are_those_of_the_stack() -> None:
    settings = Settings("dev", project="orders", workflow=None)
    transactions = json.loads(render(pipeline_template(Settings("dev"), _called())))
    from tests.unit.cfn.examples import FULL

    names = {*json.loads(render(pipeline_template(settings, [FULL])))["Resources"], *transactions["Resources"]}
    table = PAGE.partition("| logical id | is |")[2]
    assert set(re.findall(r"`([A-Z]\w+)`", table.partition("\n\n")[0])) <= names


def _called() -> list[FunctionDefinition]:
    return [FunctionDefinition(name) for name in ("transaction-validation", "fraud-detection", "compliance-checking")]


@pytest.mark.parametrize("make", [pipeline_template, registry_template])
def test_an_own_resource_that_is_not_there_is_named(make: Any) -> None:
    function = FunctionDefinition("bill", calls=(Call("s3", ("GetObject",), "Reports/*"),))
    settings = Settings("dev", project="orders", workflow=None, resources=json.dumps(OWN))
    with pytest.raises(SettingsError, match=r"bill names Reports, which is not in resources\.yaml"):
        make(settings, [function])


@pytest.mark.parametrize(("section", "name"), [("Resources", "BillFunction"), ("Outputs", "AlarmTopicArn")])
def test_a_name_of_the_stack_is_a_conflict(section: str, name: str) -> None:
    own = {section: {name: {"Type": "AWS::SQS::Queue", "Value": "x"}}}
    with pytest.raises(SettingsError, match=f"the stack has {name} in {section} itself"):
        synthesise(own, FunctionDefinition("bill"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "resources.yaml cannot be used"),
        ("- a\n", "it is no template"),
        ("Transform: AWS::Serverless-2016-10-31\n", "the section 'Transform' is not taken"),
        ("Resources:\n  A: 3\n", "Resources is not a table of tables"),
        ("Resources:\n  A:\n    Properties: {}\n", "the resource A has no Type"),
        ("Parameters:\n  A:\n    Type: String\n", "the parameter A has no Default"),
        ("Resources:\n  A:\n    Type: X\n  A:\n    Type: Y\n", "'A' is there twice (line 4)"),
        ("\ud83d", "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "resources.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(SettingsError) as caught:
        read_resources(tmp_path)
    assert said in str(caught.value)


def test_json_and_short_tags_are_read(tmp_path: Path) -> None:
    assert read_resources(tmp_path) == ""
    (tmp_path / "resources.yaml").write_text(json.dumps(OWN))
    assert json.loads(read_resources(tmp_path)) == OWN
    (tmp_path / "resources.yaml").write_text(
        "Conditions:\n  IsProd: !Equals [!Ref AWS::Region, x]\nOutputs:\n  A:\n    Value: !Sub '${AWS::Region}-a'\n"
    )
    assert json.loads(read_resources(tmp_path)) == {
        "Conditions": {"IsProd": {"Fn::Equals": [{"Ref": "AWS::Region"}, "x"]}},
        "Outputs": {"A": {"Value": {"Fn::Sub": "${AWS::Region}-a"}}},
    }


def variables(**environment: str) -> dict[str, Any]:
    function = FunctionDefinition("bill", environment=tuple(environment.items()))
    made = synthesise(OWN, function)["Resources"]["BillFunction"]["Properties"]["Environment"]["Variables"]
    return {name: made[name] for name in environment}


def test_variables_name_own_resources() -> None:
    assert variables(TABLE="${Orders}", JOBS="at ${Jobs.Arn} in ${AWS::Region}, ${HOME}, ${!Orders}", PLAIN="x") == {
        "TABLE": {"Fn::Sub": "${Orders}"},
        "JOBS": {"Fn::Sub": "at ${Jobs.Arn} in ${AWS::Region}, ${!HOME}, ${!Orders}"},
        "PLAIN": "x",
    }


def test_other_text_in_braces_stays_text() -> None:
    texts = {"HOME": "${HOME}/${user}/${x-y}", "ESCAPED": "${!Orders}"}
    assert variables(**texts) == {"HOME": "${HOME}/${user}/${x-y}", "ESCAPED": "${Orders}"}


def test_an_unknown_logical_id_in_a_variable_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"TABLE of bill names Ordres, which is not in resources.yaml"):
        variables(TABLE="${Ordres.Arn}")
