"""Rules for every state of the machine, and for the template that contains it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonata
import pytest
from troposphere import Ref, Sub, Template, dynamodb, sns, sqs

from cfn.data import add_fingerprint_key
from cfn.entrances.files_entrance import concurrency
from cfn.names import Names, pascal_case
from cfn.settings import Settings
from cfn.workflow import composition
from cfn.workflow.composition import (
    DOCUMENT,
    EXPRESSIONS,
    FILE_ENTRANCE,
    RESOURCES,
    SWEEPER,
    compact,
    definition,
    definition_text,
    expressions,
    file_entrance,
    sweeper_definition,
)
from cfn.workflow.limits import CALLED_FUNCTIONS, FILE_BATCH, FILE_SECONDS
from cfn.workflow.state_machine import add_workflow
from pipeline.core.errors import SettingsError
from pipeline.transactions.ways import followers

GOLDEN = Path(__file__).parents[3] / "golden" / "workflow.asl.json"
# The service's errors, not the function's (Step Functions guide, "Handle transient Lambda service exceptions").
LAMBDA_ERRORS = [
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
    "Lambda.EC2ThrottledException",
    # A function that was idle for weeks: its network interfaces or its optimised image are created again.
    "Lambda.ResourceNotReadyException",
    "Lambda.CodeArtifactUserPendingException",
]
DEFINITION = definition()


def all_states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for branch in state.get("Branches", []):
            yield from all_states(branch)


STATES = dict(all_states(DEFINITION))
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}


def expressions_in(value: Any) -> Iterator[str]:
    match value:
        case str() if value.startswith("{%"):
            yield value[2:-2]
        case dict():
            for each in value.values():
                yield from expressions_in(each)
        case list():
            for each in value:
                yield from expressions_in(each)


def golden_text() -> str:
    return json.dumps(DEFINITION, indent=2) + "\n"


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
        fingerprint_key=add_fingerprint_key(found),
    )
    return found


def test_the_composed_definition_is_the_golden_one() -> None:
    expected = GOLDEN.read_text()
    assert golden_text() == expected, "if the change is intended: python -m tests.unit.cfn.workflow.test_definition"


@pytest.mark.parametrize("document", [DOCUMENT, SWEEPER], ids=["workflow", "sweeper"])
def test_the_document_is_as_workflow_studio_saves_it(document: Path) -> None:
    """So that an edit there shows as that edit only."""
    text = document.read_text()
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("document", "composed"), [(DOCUMENT, DEFINITION), (SWEEPER, sweeper_definition())], ids=["workflow", "sweeper"]
)
def test_composition_changes_expressions_and_comments_only(document: Path, composed: Any) -> None:
    def without(value: Any) -> Any:
        match value:
            case str():
                return "an expression" if value.startswith("{%") else value
            case dict():
                return {name: without(each) for name, each in value.items() if name != "Comment"}
            case list():
                return [without(each) for each in value]
        return value

    assert without(json.loads(document.read_text())) == without(composed)


def test_every_file_of_an_expression_is_used() -> None:
    sources = [
        *(document.read_text() for document in (DOCUMENT, FILE_ENTRANCE, SWEEPER)),
        *(path.read_text() for path in EXPRESSIONS.glob("*.jsonata")),
    ]
    used = {name for text in sources for name in re.findall(r"\$\{(\w+)\}", text)}
    assert used == {*expressions(), *RESOURCES, "StateMachine"}


@pytest.mark.parametrize("machine", [definition(), file_entrance(concurrency=1)], ids=["pipeline", "files"])
def test_the_name_of_a_state_is_unique_in_the_whole_machine(machine: dict[str, Any]) -> None:
    """Amazon States Language, "States": also among those of branches and of item processors."""
    names = list(state_names(machine))
    assert len(names) == len(set(names))


def state_names(machine: dict[str, Any]) -> Iterator[str]:
    for name, state in machine["States"].items():
        yield name
        for inner in (*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])):
            yield from state_names(inner)


def test_both_formats_of_a_file_are_read_with_the_same_limits() -> None:
    states = file_entrance(concurrency=7)["States"]
    lines = states["Lines"]
    rows = json.loads(json.dumps(states["Rows"]).replace("Row", "Line"))  # in the names of states
    assert lines["ItemBatcher"]["MaxItemsPerBatch"] == FILE_BATCH
    assert lines["MaxConcurrency"] == 7
    # What differs is how an item becomes a transaction.
    for name in lines.keys() - {"Comment", "Label", "ItemReader", "ItemSelector"}:
        assert lines[name] == rows[name], name


@pytest.mark.parametrize(
    ("transaction", "given"),
    [({"amount": 0.1000000000000001}, {"amount": 0.1000000000000001}), ([1], "[1]"), ("x", "x"), (None, "null")],
)
def test_a_line_of_a_file_reaches_the_pipeline_as_it_is(transaction: Any, given: Any) -> None:
    """$string rounds numbers to 15 digits (JSONata documentation), which would make another amount of this one."""
    batch = file_entrance(concurrency=1)["States"]["Lines"]["ItemProcessor"]["States"]["EachLine"]
    text = batch["ItemProcessor"]["States"]["SubmitLine"]["Arguments"]["Input"]
    expression = jsonata.Jsonata.jsonata(text.removeprefix("{%").removesuffix("%}"))
    null = jsonata.utils.Utils.NULL_VALUE
    bound = {"input": {"transaction": null if transaction is None else transaction}}
    assert expression.evaluate(None, {"states": bound}) == given


def test_a_file_of_the_default_load_submits_as_many_a_second_as_the_settings_say() -> None:
    assert concurrency(Settings("dev")) * FILE_BATCH / FILE_SECONDS == pytest.approx(10_000 / 60, rel=0.1)
    assert concurrency(Settings("dev", transactions_per_minute=1)) == 1


@pytest.mark.parametrize("name", [pascal_case(path.stem) for path in EXPRESSIONS.glob("*.jsonata")])
def test_every_file_is_a_complete_expression(name: str) -> None:
    jsonata.Jsonata.jsonata(expressions()[name])


def test_limits_reach_the_expressions() -> None:
    changed = definition(lease_seconds=7, patience_seconds=0.5, details_days=3)
    assert "$millis()+7000" in definition_text(changed)
    assert ">=500 " in definition_text(changed)
    assert "+259200" in definition_text(changed)


def test_a_name_that_stands_for_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "any.jsonata").write_text("${Absent}")
    monkeypatch.setattr(composition, "EXPRESSIONS", tmp_path)
    with pytest.raises(KeyError, match="Absent"):
        definition()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/* it's a note */ $a = 'b'", "$a='b'"),
        ("'/* no note */'  &  'two  spaces'", "'/* no note */'&'two  spaces'"),
        ("/* one */ 'a' /* it's two */", "'a'"),
        ("$a\n  and\n  $b", "$a and $b"),
        ("$in := [1, 2]; $x", "$in:=[1,2];$x"),
    ],
)
def test_compaction_drops_notes_and_spaces_but_not_those_of_strings(text: str, short: str) -> None:
    assert compact(text) == short


@pytest.mark.parametrize("name", STATES)
def test_every_expression_parses(name: str) -> None:
    for text in expressions_in(STATES[name]):
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
            "ErrorEquals": LAMBDA_ERRORS,
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


def test_an_approval_enters_thirteen_states() -> None:
    """Each state costs latency; one more needs a reason."""
    way, name = [], DEFINITION["StartAt"]
    while True:
        state = DEFINITION["States"][name]
        way.append(name)
        if state["Type"] == "Succeed":
            break
        name = {"Valid": "History"}.get(name) or state.get("Next", state.get("Default"))
    assert way == [
        "Read", "Sensitive", "Claim", "Validate", "Valid", "History", "Assess", "Decide", "Record", "Flagged",
        "Answered",
    ]  # fmt: skip
    assert [len(branch["States"]) for branch in STATES["Assess"]["Branches"]] == [2, 2]


def test_choices_and_passes_touch_only_what_a_task_has_checked() -> None:
    """They have no Catch, so nothing in them may parse or raise."""
    for name, state in STATES.items():
        if state["Type"] in ("Choice", "Pass", "Succeed"):
            for text in expressions_in(state):
                assert not re.search(r"\$(parse|error|assert|number|eval)\(", text), name


def test_a_parallel_and_a_succeed_have_no_output_expression() -> None:
    for state in STATES.values():
        if state["Type"] in ("Parallel", "Succeed"):
            assert not {"Output", "Assign"} & set(state)


def test_every_substitution_is_filled_and_used() -> None:
    machine = template().to_dict()["Resources"]["StateMachine"]["Properties"]
    used = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert used == set(machine["DefinitionSubstitutions"]) >= set(RESOURCES)


def test_substitutions_restore_the_full_definition() -> None:
    machine = template().to_dict()["Resources"]["StateMachine"]["Properties"]
    text = machine["DefinitionString"]
    for name, value in machine["DefinitionSubstitutions"].items():
        if name not in RESOURCES:
            assert "${" not in value
            text = text.replace(f"${{{name}}}", value)
    assert json.loads(text) == DEFINITION


def test_the_role_allows_exactly_the_calls_of_the_tasks() -> None:
    actions = {
        "arn:aws:states:::lambda:invoke": "lambda:InvokeFunction",
        "arn:aws:states:::aws-sdk:dynamodb:query": "dynamodb:Query",
        "arn:aws:states:::aws-sdk:secretsmanager:getSecretValue": "secretsmanager:GetSecretValue",
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
            arn = statement["Resource"]
            if action == ["dynamodb:Query"]:
                assert arn == {"Fn::Sub": ["${Table}/index/customer", {"Table": {"Fn::GetAtt": ["Table", "Arn"]}}]}
    assert allowed == needed


def test_no_payload_is_logged() -> None:
    logging = template().to_dict()["Resources"]["StateMachine"]["Properties"]["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)


def test_the_definition_is_deterministic() -> None:
    assert definition_text(definition()) == definition_text(DEFINITION)


def parsed(text: str) -> Any:
    """The syntax tree of an expression, without positions."""

    def plain(node: Any) -> Any:
        match node:
            case list():
                return [plain(each) for each in node]
            case re.Pattern():
                return node.pattern
            case str() | int() | float() | bool() | None:
                return node
        inner = {name: value for name, value in vars(node).items() if name not in ("position", "id")}
        return {
            name: plain(value)
            for name, value in inner.items()
            if not (callable(value) or type(value).__name__ in ("Parser", "Jsonata"))
        }

    return plain(jsonata.Jsonata.jsonata(text).ast)


@pytest.mark.parametrize("name", [path.stem for path in EXPRESSIONS.glob("*.jsonata")])
def test_compaction_changes_no_meaning(name: str) -> None:
    """Above all not that of a space in a regular expression, which has to be written \\x20."""
    spaced, texts = (EXPRESSIONS / f"{name}.jsonata").read_text(), expressions()
    while found := re.search(r"\$\{(\w+)\}", spaced):
        spaced = spaced.replace(found[0], texts[found[1]])
    assert parsed(texts[pascal_case(name)]) == parsed(spaced)
    assert parsed("$contains($x, /[ .]/)") != parsed(compact("$contains($x, /[ .]/)"))


def test_the_definition_leaves_room_in_the_template() -> None:
    """A template is limited to 51,200 bytes, which the functions of the stack need too."""
    resources = template().to_dict()["Resources"]
    workflow = {name: body for name, body in resources.items() if name.startswith("StateMachine")}
    assert len(json.dumps(workflow, separators=(",", ":"))) < 26_300


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
            fingerprint_key=Ref("K"),
        )


if __name__ == "__main__":
    GOLDEN.write_text(golden_text())
