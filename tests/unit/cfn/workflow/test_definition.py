"""Rules for every state of the machine, and for the template that contains it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonata
import pytest
from troposphere import Ref, Sub, Template, dynamodb, sns, sqs

from cfn.names import Names
from cfn.settings import Settings
from cfn.workflow import add_workflow, definition_text
from cfn.workflow_expressions import CALLED_FUNCTIONS
from cfn.workflow_limits import followers
from cfn.workflow_states import definition
from cfn.workflow_tasks import LAMBDA_ERRORS, SUBSTITUTIONS
from pipeline.core.errors import SettingsError

DEFINITION = definition()


def all_states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for branch in state.get("Branches", []):
            yield from all_states(branch)


STATES = dict(all_states(DEFINITION))
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}


def expressions(value: Any) -> Iterator[str]:
    match value:
        case str() if value.startswith("{%"):
            yield value[2:-2]
        case dict():
            for each in value.values():
                yield from expressions(each)
        case list():
            for each in value:
                yield from expressions(each)


def template() -> Template:
    found = Template()
    table = found.add_resource(
        dynamodb.Table("Table", TableName="t", BillingMode="PAY_PER_REQUEST", KeySchema=[], AttributeDefinitions=[])
    )
    add_workflow(
        found,
        Names("dev"),
        Settings("dev"),
        functions={name: Sub(f"arn:aws:lambda:us-east-1:1:function:{name}") for name in CALLED_FUNCTIONS},
        table=table,
        alert_topic=found.add_resource(sns.Topic("Topic")),
        dead_letter_queue=found.add_resource(sqs.Queue("Queue")),
    )
    return found


@pytest.mark.parametrize("name", STATES)
def test_every_expression_parses(name: str) -> None:
    for text in expressions(STATES[name]):
        jsonata.Jsonata.jsonata(text.strip())


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_time_limit_and_catches_everything(name: str) -> None:
    task = TASKS[name]
    assert task["TimeoutSeconds"] > 0
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
    # The States Language: States.ALL stands alone and last.
    assert all("States.ALL" not in catcher["ErrorEquals"] for catcher in task["Catch"][:-1])


def test_a_parallel_catches_everything() -> None:
    assert STATES["Assess"]["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


def test_only_parked_submissions_fail() -> None:
    fails = {name for name, state in STATES.items() if state["Type"] == "Fail"}
    leading = {name for name, state in DEFINITION["States"].items() if fails & {after for _, after in followers(state)}}
    assert leading == {"Release", "ParkInTable"}


def test_every_transition_to_park_names_the_failed_state() -> None:
    for name, state in DEFINITION["States"].items():
        for catcher in state.get("Catch", []):
            if catcher["Next"] in ("Park", "Refuse"):
                assert catcher["Assign"]["failed"] in (name, catcher["Assign"]["failed"] if name == "Assess" else name)
        for rule in state.get("Choices", []):
            if rule["Next"] == "Park":
                assert name == "Refuse" or rule["Assign"]["failed"] == name


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if "lambda" in task["Resource"]])
def test_functions_are_retried_on_service_errors_only(name: str) -> None:
    assert TASKS[name]["Retry"] == [
        {
            "ErrorEquals": list(LAMBDA_ERRORS),
            "IntervalSeconds": 2,
            "MaxAttempts": 3,
            "BackoffRate": 2.0,
            "JitterStrategy": "FULL",
        }
    ]
    # A function may answer more than a state can hold, and States.ALL does not catch that.
    assert {"ErrorEquals": ["States.DataLimitExceeded"]}.items() <= TASKS[name]["Catch"][0].items()


@pytest.mark.parametrize("name", ["Claim", "Record", "RecordRefusal"])
def test_a_failed_condition_is_caught_in_both_spellings(name: str) -> None:
    assert TASKS[name]["Catch"][0]["ErrorEquals"] == [
        "DynamoDB.ConditionalCheckFailedException",
        "DynamoDb.ConditionalCheckFailedException",
    ]
    assert TASKS[name]["Catch"][0]["Next"] == "Recall"


def test_an_approval_enters_ten_states() -> None:
    """Each state costs latency; one more needs a reason."""
    way, name = [], DEFINITION["StartAt"]
    while True:
        state = DEFINITION["States"][name]
        way.append(name)
        if state["Type"] == "Succeed":
            break
        name = {"Valid": "Assess", "Flagged": "Answered"}.get(name) or state["Next"]
    assert way == ["Claim", "Validate", "Valid", "Assess", "Decide", "Record", "Flagged", "Answered"]
    assert [len(branch["States"]) for branch in STATES["Assess"]["Branches"]] == [2, 2]


def test_choices_and_passes_touch_only_what_a_task_has_checked() -> None:
    """They have no Catch, so nothing in them may parse or raise."""
    for name, state in STATES.items():
        if state["Type"] in ("Choice", "Pass", "Succeed"):
            for text in expressions(state):
                assert not re.search(r"\$(parse|error|assert|number|eval)\(", text), name


def test_a_parallel_and_a_succeed_have_no_output_expression() -> None:
    for state in STATES.values():
        if state["Type"] in ("Parallel", "Succeed"):
            assert not {"Output", "Assign"} & set(state)


def test_every_substitution_is_filled_and_used() -> None:
    machine = template().to_dict()["Resources"]["StateMachine"]["Properties"]
    used = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert used == set(machine["DefinitionSubstitutions"]) >= set(SUBSTITUTIONS)


def test_substitutions_restore_the_full_definition() -> None:
    machine = template().to_dict()["Resources"]["StateMachine"]["Properties"]
    text = machine["DefinitionString"]
    for name, value in machine["DefinitionSubstitutions"].items():
        if name not in SUBSTITUTIONS:
            assert "${" not in value
            text = text.replace(f"${{{name}}}", value)
    assert json.loads(text) == DEFINITION


def test_the_role_allows_exactly_the_calls_of_the_tasks() -> None:
    actions = {
        "arn:aws:states:::lambda:invoke": "lambda:InvokeFunction",
        "arn:aws:states:::dynamodb:getItem": "dynamodb:GetItem",
        "arn:aws:states:::dynamodb:putItem": "dynamodb:PutItem",
        "arn:aws:states:::dynamodb:updateItem": "dynamodb:UpdateItem",
        "arn:aws:states:::sns:publish": "sns:Publish",
        "arn:aws:states:::sqs:sendMessage": "sqs:SendMessage",
    }
    needed = {actions[task["Resource"]] for task in TASKS.values()}
    statements = template().to_dict()["Resources"]["StateMachineRole"]["Properties"]["Policies"][0]["PolicyDocument"][
        "Statement"
    ]
    allowed: set[str] = set()
    for statement in statements:
        action = statement["Action"]
        if statement["Resource"] == "*":
            assert all(each.startswith("logs:") for each in action)
        else:
            allowed |= {action} if isinstance(action, str) else set(action)
    assert allowed == needed


def test_no_payload_is_logged() -> None:
    logging = template().to_dict()["Resources"]["StateMachine"]["Properties"]["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)


def test_the_definition_is_deterministic() -> None:
    assert definition_text(definition()) == definition_text(DEFINITION)


def test_the_definition_leaves_room_in_the_template() -> None:
    """A template is limited to 51,200 bytes, which the functions of the stack need too."""
    resources = template().to_dict()["Resources"]
    workflow = {name: body for name, body in resources.items() if name.startswith("StateMachine")}
    assert len(json.dumps(workflow, separators=(",", ":"))) < 22_500


def test_a_missing_function_is_named() -> None:
    found = Template()
    with pytest.raises(SettingsError, match="fraud-detection"):
        add_workflow(
            found,
            Names("dev"),
            Settings("dev"),
            functions={"transaction-validation": Ref("A"), "compliance-checking": Ref("B")},
            table=Ref("T"),
            alert_topic=Ref("S"),
            dead_letter_queue=Ref("Q"),
        )
