"""What a project adds to the stack is linted, and nothing else; the result is cached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cfn.pipeline import pipeline_template
from cfn.render import render
from cfn.settings import FunctionDefinition, OwnWorkflow, Settings
from pipeline.core.errors import SettingsError
from pipeline.environment import linting
from pipeline.environment.linting import Finding, lint_project, require_clean

HELLO = FunctionDefinition("hello")
OWN = {
    "Resources": {
        "Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"DelaySecond": 5}},
        "Quiet": {
            "Type": "AWS::SQS::Queue",
            "Metadata": {"cfn-lint": {"config": {"ignore_checks": ["E3002"]}}},
            "Properties": {"DelaySecond": 5},
        },
    },
    "Outputs": {"Gone": {"Value": {"Ref": "Nowhere"}}},
}
WORKFLOW = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${function:hello}", "End": True}}}


def linted(store: Path, **settings: Any) -> tuple[Finding, ...]:
    made = Settings("dev", project="shop", workflow=None, **settings)
    return lint_project(made, render(pipeline_template(made, [HELLO])), "us-east-1", store)


def test_errors_and_warnings_of_the_own_part_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = linted(tmp_path, resources=json.dumps(OWN), own_workflow=OwnWorkflow(json.dumps(WORKFLOW)))
    assert {(each.rule, each.where.split("/")[1]) for each in found if each.is_error} == {
        ("E3002", "Jobs"), ("E6101", "Gone"),
    }  # fmt: skip
    assert {"W9564", "W9565"} <= {each.rule for each in found if each.where.startswith("Resources/StateMachine/")}
    assert {each.where.split("/")[1] for each in found} == {"Jobs", "Gone", "StateMachine"}
    with pytest.raises(SettingsError, match=r"DelaySecond.*E3002") as caught:
        require_clean(found)
    assert "W9564" not in caught.value.why

    monkeypatch.setattr(linting, "_lint", lambda *_: pytest.fail("it is cached"))
    assert linted(tmp_path, resources=json.dumps(OWN), own_workflow=OwnWorkflow(json.dumps(WORKFLOW))) == found


def test_a_project_without_its_own_part_is_not_linted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linting, "_lint", lambda *_: pytest.fail("there is nothing to lint"))
    assert linted(tmp_path) == ()


def test_a_damaged_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = (Finding("E1", "Resources/Jobs", "wrong"),)
    monkeypatch.setattr(linting, "_lint", lambda *_: found)
    assert linted(tmp_path, resources=json.dumps(OWN)) == found
    (kept,) = (tmp_path / "lint").iterdir()
    for damaged in (b"", b"{", b'[{"rule": 1}]'):
        kept.write_bytes(damaged)
        assert linted(tmp_path, resources=json.dumps(OWN)) == found


def test_warnings_alone_stop_nothing() -> None:
    require_clean([Finding("W9564", "Resources/StateMachine", "a warning")])
