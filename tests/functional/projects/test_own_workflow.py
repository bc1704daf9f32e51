"""A project with a workflow of its own: deployed, tried, run, taken back, changed, and deleted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

PAGE = (ROOT / "docs" / "own-workflow.md").read_text()
DEFINITION = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
TABLE = """
Resources:
  Orders:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: desk-orders
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
"""
HANDLER = "def handle(event, context):\n    return {'id': event['id'], 'total': 5}\n"
BROKEN = "def handle(event, context):\n    raise ValueError('no price')\n"


@pytest.fixture(scope="module")
def desk(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("desk"), embedded_aws)
    project.write("environments.toml", '[project]\nname = "desk"\n')
    project.write("resources.yaml", TABLE)
    project.write("workflow.asl.yaml", DEFINITION)
    project.write("events/smoke.json", '{"id": "smoke"}')
    project.write("images/bill/function.toml", 'handler = "handler.handle"\n')
    project.write("images/bill/handler.py", HANDLER)
    yield project
    project.run("down", code=(0, 1))


def ids(desk: Project) -> set[str]:
    return {item["id"]["S"] for item in desk.aws.client("dynamodb").scan(TableName="desk-orders")["Items"]}


def test_a_wrong_definition_starts_nothing(desk: Project) -> None:
    desk.write("workflow.asl.yaml", DEFINITION.replace("function:bill", "function:bil"))
    refused = desk.json("up", code=1)
    assert refused["what"] == "the workflow cannot be deployed"
    assert "did you mean bill?" in refused["why"]
    desk.write("workflow.asl.yaml", DEFINITION)


def test_it_is_deployed_and_tried_by_its_smoke_event(desk: Project) -> None:
    assert desk.json("up")["smoked"] == ["desk-pipeline-dev"]
    assert ids(desk) == {"smoke"}
    assert not desk.json("up")["changed"]


def test_an_execution_is_started_and_followed(desk: Project) -> None:
    done = desk.json("submit", '{"id": "order-1"}')
    assert (done["status"], done["output"]) == ("SUCCEEDED", {"id": "order-1"})
    assert ids(desk) == {"smoke", "order-1"}
    failed = desk.json("submit", "{}", code=1)
    assert failed["status"] == "FAILED"
    assert "KeyError" in failed["error"] + failed["cause"]
    desk.run("submit", "{", code=2)
    desk.run("submit", "--file", str(desk.folder / "environments.toml"), code=2)


def test_it_is_verified_and_drawn(desk: Project) -> None:
    verified = desk.json("verify-workflow", "--svg", str(desk.folder / "workflow.svg"))
    assert verified["states"] == 2
    drawn = (desk.folder / "workflow.svg").read_text()
    assert ">Bill<" in drawn
    assert ">Keep<" in drawn


def test_a_release_whose_execution_fails_is_taken_back(desk: Project) -> None:
    desk.write("images/bill/handler.py", BROKEN)
    refused = desk.json("up", code=1)
    assert refused["what"].startswith("the release of dev was taken back")
    assert "the workflow failed: it ended as FAILED with ValueError: " in refused["why"]
    assert "no price" in refused["why"]
    assert desk.json("submit", '{"id": "order-2"}')["output"] == {"id": "order-2"}
    desk.write("images/bill/handler.py", HANDLER)


def test_a_changed_definition_is_planned_and_deployed(desk: Project) -> None:
    desk.write("workflow.asl.yaml", DEFINITION.replace("TimeoutSeconds: 5", "TimeoutSeconds: 6"))
    planned = desk.json("plan", code=2)
    changed = [each["logical_id"] for stack in planned["stacks"] for each in stack["resources"]]
    assert changed == ["StateMachine"]
    assert desk.json("up")["changed"]


def test_a_saved_definition_is_live_and_a_broken_one_is_waited_for(desk: Project) -> None:
    watching = subprocess.Popen(
        [sys.executable, str(ROOT / "bootstrap.py"), "watch"],
        cwd=desk.folder, env=desk.variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stderr is not None
        lines = iter(watching.stderr)
        assert any("watching images/" in line for line in lines)
        desk.write("workflow.asl.yaml", DEFINITION.replace("TimeoutSeconds: 5", "TimeoutSeconds: 7"))
        assert any("../workflow.asl.yaml: dev is up to date" in line for line in lines)
        (machine,) = (
            each for each in desk.aws.client("stepfunctions").list_state_machines()["stateMachines"]
            if each["name"] == "desk-pipeline-dev"
        )  # fmt: skip
        described = desk.aws.client("stepfunctions").describe_state_machine(stateMachineArn=machine["stateMachineArn"])
        assert json.loads(described["definition"])["States"]["Keep"]["TimeoutSeconds"] == 7
        desk.write("workflow.asl.yaml", DEFINITION.replace("function:bill", "function:bil"))
        assert any("did you mean bill?" in line for line in lines)
        desk.write("workflow.asl.yaml", DEFINITION)
        assert any("../workflow.asl.yaml: fixed; dev is up to date" in line for line in lines)
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)
    assert watching.returncode == 0


def test_commands_of_transactions_say_what_the_project_has(desk: Project) -> None:
    for command in (("redrive",), ("explain", "x")):
        assert desk.json(*command, code=1)["why"] == "the project desk has a workflow of its own, and no transactions"
    assert {event["source"] for event in desk.json("logs")["events"]} <= {"bill", "state-machine"}
    policy = desk.json("doctor", "--policy", "up")
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert {"states:StartExecution", "states:DescribeExecution"} <= actions
    assert "states:StartSyncExecution" not in actions


def test_an_express_workflow_answers_at_once(desk: Project) -> None:
    desk.run("down")
    desk.write("workflow.toml", 'type = "EXPRESS"\n')
    assert desk.json("up")["smoked"] == ["desk-pipeline-dev"]
    done = desk.json("submit", '{"id": "order-3"}')
    assert (done["status"], done["output"]) == ("SUCCEEDED", {"id": "order-3"})
    assert ":express:" in done["execution"]
    actions = json.dumps(desk.json("doctor", "--policy", "submit"))
    assert "states:StartSyncExecution" in actions
    assert desk.json("down")["deleted"] == ["desk-pipeline-dev", "desk-registry-dev"]
