"""The decision table of stacks: every status, with a wanted stack that equals or differs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from cfn.render import TEMPLATE_URL_MAX
from pipeline.stacks import (
    Adopt,
    ChangeSetSummary,
    CleanUpReview,
    ContinueRollback,
    Create,
    ExistingResource,
    NoChange,
    Refuse,
    ReplaceFailed,
    StackState,
    StackStatus,
    Update,
    Wait,
    WantedStack,
    plan_stack,
)
from pipeline.stacks.plan import REVIEW_PATIENCE
from pipeline.stacks.state import canonical_template, is_abandoned, maker

TEMPLATE: dict[str, Any] = {
    "Parameters": {"Image": {"Type": "String", "Default": ""}, "Size": {"Type": "Number", "Default": 1}},
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
}
BODY = json.dumps(TEMPLATE)
WANTED = WantedStack("pipeline-dev", BODY)
DEPLOYED = StackState(
    "pipeline-dev",
    StackStatus.CREATE_COMPLETE,
    stack_id="arn:…",
    parameters={"Image": "", "Size": "1"},
    template=canonical_template(BODY),
)

# status → decision when the wanted stack equals the deployed one, and when it differs; also in docs/stacks.md.
DECISIONS: dict[StackStatus, tuple[type, type]] = {
    StackStatus.ABSENT: (Create, Create),
    StackStatus.DELETE_COMPLETE: (Create, Create),
    StackStatus.REVIEW_IN_PROGRESS: (CleanUpReview, CleanUpReview),
    StackStatus.CREATE_IN_PROGRESS: (Wait, Wait),
    StackStatus.CREATE_COMPLETE: (NoChange, Update),
    StackStatus.CREATE_FAILED: (ReplaceFailed, ReplaceFailed),
    StackStatus.ROLLBACK_IN_PROGRESS: (Wait, Wait),
    StackStatus.ROLLBACK_COMPLETE: (ReplaceFailed, ReplaceFailed),
    StackStatus.ROLLBACK_FAILED: (ReplaceFailed, ReplaceFailed),
    StackStatus.UPDATE_IN_PROGRESS: (Wait, Wait),
    StackStatus.UPDATE_COMPLETE_CLEANUP_IN_PROGRESS: (Wait, Wait),
    StackStatus.UPDATE_COMPLETE: (NoChange, Update),
    StackStatus.UPDATE_FAILED: (ContinueRollback, ContinueRollback),
    StackStatus.UPDATE_ROLLBACK_IN_PROGRESS: (Wait, Wait),
    StackStatus.UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS: (Wait, Wait),
    StackStatus.UPDATE_ROLLBACK_COMPLETE: (NoChange, Update),
    StackStatus.UPDATE_ROLLBACK_FAILED: (ContinueRollback, ContinueRollback),
    StackStatus.IMPORT_IN_PROGRESS: (Wait, Wait),
    StackStatus.IMPORT_COMPLETE: (NoChange, Update),
    StackStatus.IMPORT_ROLLBACK_IN_PROGRESS: (Wait, Wait),
    StackStatus.IMPORT_ROLLBACK_COMPLETE: (NoChange, Update),
    StackStatus.IMPORT_ROLLBACK_FAILED: (Refuse, Refuse),
    StackStatus.DELETE_IN_PROGRESS: (Wait, Wait),
    StackStatus.DELETE_FAILED: (ReplaceFailed, ReplaceFailed),
}


@pytest.mark.parametrize("status", DECISIONS, ids=str)
def test_every_status_leads_to_its_decision(status: StackStatus) -> None:
    equal, different = DECISIONS[status]
    state = replace(DEPLOYED, status=status)
    assert type(plan_stack(state, WANTED)) is equal
    assert type(plan_stack(state, replace(WANTED, parameters={"Image": "new"}))) is different


def test_the_table_has_every_status_of_cloudformation() -> None:
    model = botocore.session.get_session().get_service_model("cloudformation")
    assert {status.value for status in DECISIONS} - {"ABSENT"} == set(model.shape_for("StackStatus").enum)


def test_docs_show_this_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "stacks.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    shown = [(status, re.findall(r"`(\w+)`", row[1])) for row in rows for status in re.findall(r"`([A-Z_]+)`", row[0])]
    assert len(shown) == len(dict(shown))
    assert dict(shown) == {
        str(status): list(dict.fromkeys((equal.__name__, different.__name__)))
        for status, (equal, different) in DECISIONS.items()
    }


def test_an_update_lists_what_differs() -> None:
    other = {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], "Topic": {"Type": "AWS::SNS::Topic"}}}
    wanted = replace(WANTED, template_body=json.dumps(other), parameters={"Size": "2"}, tags={"team": "risk"})
    plan = plan_stack(DEPLOYED, wanted)
    assert isinstance(plan, Update)
    assert (plan.template_changed, plan.tags_changed) == (True, True)
    assert plan.parameters == {"Size": ("1", "2")}


def test_an_omitted_parameter_gets_its_default() -> None:
    plan = plan_stack(replace(DEPLOYED, parameters={"Image": "old", "Size": "1"}), WANTED)
    assert isinstance(plan, Update)
    assert plan.parameters == {"Image": ("old", "")}


def test_parameters_that_a_template_adds_or_removes_are_listed() -> None:
    other = {**TEMPLATE, "Parameters": {"Image": {"Type": "String", "Default": ""}, "Days": {"Type": "Number"}}}
    plan = plan_stack(DEPLOYED, replace(WANTED, template_body=json.dumps(other), parameters={"Days": "7"}))
    assert isinstance(plan, Update)
    assert plan.parameters == {"Days": (None, "7"), "Size": ("1", None)}


@pytest.mark.parametrize(
    "body",
    [
        {**TEMPLATE, "Transform": "AWS::Serverless-2016-10-31"},
        {**TEMPLATE, "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Metadata": "{{resolve:ssm:/x}}"}}},
        {**TEMPLATE, "Parameters": {"Image": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": ""}}},
        {**TEMPLATE, "Parameters": {"Image": {"Type": "String", "Default": "", "NoEcho": True}}},
    ],
    ids=["macro", "dynamic reference", "SSM parameter", "NoEcho parameter"],
)
def test_values_from_other_sources_are_compared_by_cloudformation(body: dict[str, Any]) -> None:
    text = json.dumps(body)
    parameters = {name: DEPLOYED.parameters[name] for name in body["Parameters"]}
    state = replace(DEPLOYED, template=canonical_template(text), parameters=parameters)
    plan = plan_stack(state, replace(WANTED, template_body=text))
    assert isinstance(plan, Update)
    assert plan.only_cloudformation_knows


def test_all_reasons_for_a_rejection_are_listed() -> None:
    body = {**TEMPLATE, "Parameters": {"Needed": {"Type": "String"}}, "Description": "x" * TEMPLATE_URL_MAX}
    plan = plan_stack(DEPLOYED, WantedStack("pipeline-dev", json.dumps(body), {"Unknown": "1"}))
    assert isinstance(plan, Refuse)
    assert "1,000,000" in plan.reason
    assert "no parameter Unknown" in plan.reason
    assert "value for the parameter Needed" in plan.reason


def test_a_template_is_measured_in_bytes() -> None:
    body = json.dumps({**TEMPLATE, "Description": "é" * (TEMPLATE_URL_MAX // 2)}, ensure_ascii=False)
    assert len(body) < TEMPLATE_URL_MAX
    assert isinstance(plan_stack(DEPLOYED, replace(WANTED, template_body=body)), Refuse)


def test_a_yaml_template_is_left_to_cloudformation() -> None:
    plan = plan_stack(
        DEPLOYED, WantedStack("pipeline-dev", "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n", {"A": "1"})
    )
    assert isinstance(plan, Update)


def test_existing_resources_are_imported_on_creation() -> None:
    wanted = replace(WANTED, existing=(ExistingResource("Queue", "AWS::SQS::Queue", {"QueueUrl": "https://q"}),))
    assert isinstance(plan_stack(StackState("pipeline-dev", StackStatus.ABSENT), wanted), Adopt)
    assert isinstance(plan_stack(DEPLOYED, wanted), NoChange)


@pytest.mark.parametrize(
    ("age", "status", "decision"),
    [
        (REVIEW_PATIENCE - 1, "CREATE_COMPLETE", Wait),
        (REVIEW_PATIENCE - 1, "FAILED", CleanUpReview),
        (REVIEW_PATIENCE + 1, "CREATE_COMPLETE", CleanUpReview),
    ],
)
def test_a_recent_review_belongs_to_another_run(age: float, status: str, decision: type) -> None:
    change_set = ChangeSetSummary("transaction-pipeline-1", "arn:…", status, age)
    state = replace(DEPLOYED, status=StackStatus.REVIEW_IN_PROGRESS, change_sets=(change_set,))
    assert type(plan_stack(state, WANTED)) is decision


def test_a_review_of_a_dead_process_is_abandoned() -> None:
    change_set = ChangeSetSummary("transaction-pipeline-1", "arn:…", "CREATE_COMPLETE", 0.0, abandoned=True)
    state = replace(DEPLOYED, status=StackStatus.REVIEW_IN_PROGRESS, change_sets=(change_set,))
    assert isinstance(plan_stack(state, WANTED), CleanUpReview)


def test_a_process_is_dead_only_if_that_is_known() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = maker()
    assert not is_abandoned(here)
    assert is_abandoned(here.replace(f"process {os.getpid()}", f"process {ended.pid}"))
    assert not is_abandoned(f"by x on another-machine, process {ended.pid}")
    assert not is_abandoned("made in the console")


@pytest.mark.parametrize("status", [status for status, (equal, _) in DECISIONS.items() if equal is ReplaceFailed])
def test_a_protected_stack_is_never_replaced(status: StackStatus) -> None:
    plan = plan_stack(replace(DEPLOYED, status=status, termination_protection=True), WANTED)
    assert isinstance(plan, Refuse)
    assert "--no-enable-termination-protection" in plan.next_step


def test_the_two_calls_that_complete_a_rollback() -> None:
    failed = plan_stack(replace(DEPLOYED, status=StackStatus.UPDATE_FAILED), WANTED)
    half = plan_stack(replace(DEPLOYED, status=StackStatus.UPDATE_ROLLBACK_FAILED), WANTED)
    assert isinstance(failed, ContinueRollback)
    assert isinstance(half, ContinueRollback)
    assert (failed.call, half.call) == ("RollbackStack", "ContinueUpdateRollback")
