"""The table of permissions against CloudFormation's schemas and IAM's simulation against the account that is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from pipeline.doctor import Status
from pipeline.doctor.permissions import BY_RESOURCE_TYPE, CALLED, LARGE_TEMPLATES, RECOVERING, permissions_of_up
from tests.unit.cfn.examples import DEV, PROD, pipeline, registry
from tests.unit.doctor.account import ACCOUNT, FakeAccount

SCHEMAS = Path(cfnlint.__file__).parent / "data" / "schemas"


@cache
def handler_permissions(kind: str) -> set[str]:
    """Every action that the schema's handlers name."""
    index = json.loads((SCHEMAS / "providers" / "us-east-1.json").read_text())
    schema = json.loads((SCHEMAS / "resources" / f"{index[kind]}.json").read_text())
    handled = [action for each in schema.get("handlers", {}).values() for action in each.get("permissions", [])]
    return {*handled, *(schema.get("tagging") or {}).get("permissions", [])}


def test_every_resource_type_of_the_templates_has_its_permissions() -> None:
    kinds = {
        each["Type"]
        for settings in (DEV, PROD)
        for template in (registry(settings), pipeline(settings))
        for each in template["Resources"].values()
    }
    assert kinds == set(BY_RESOURCE_TYPE)


@pytest.mark.parametrize("kind", [kind for kind in BY_RESOURCE_TYPE if kind.startswith("AWS::")])
def test_cloudformation_names_each_permission_itself(kind: str) -> None:
    ours = {each.action for each in BY_RESOURCE_TYPE[kind]}
    assert ours
    assert ours - handler_permissions(kind) == set()


def test_what_recovers_is_called_somewhere() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[3] / "pipeline" / "stacks").glob("*.py"))
    for each in RECOVERING:
        operation = each.action.partition(":")[2]
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
        assert snake in source, each


def test_actions_are_listed_once_and_in_order() -> None:
    wanted = permissions_of_up(BY_RESOURCE_TYPE)
    assert len(wanted) == len(set(wanted))
    for actions in CALLED.values():
        assert len(actions) == len(set(actions))


def test_the_bucket_is_asked_about_only_for_large_templates() -> None:
    assert set(permissions_of_up([], large=True)) - set(permissions_of_up([])) == set(LARGE_TEMPLATES)


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


def simulation(**decisions: Mapping[str, Any]) -> Any:
    """IAM's answer: allowed, but for the actions given as ``ecr_PutImage={"EvalDecision": …}``."""
    changes = {name.replace("_", ":", 1): value for name, value in decisions.items()}
    return lambda asked: {
        "EvaluationResults": [
            {"EvalActionName": action, "EvalDecision": "allowed", **changes.get(action, {})}
            for action in asked["ActionNames"]
        ],
        "IsTruncated": False,
    }


def test_a_user_who_may_do_everything(account: FakeAccount) -> None:
    verdict = account.verdict("permissions")
    assert verdict.status is Status.OK
    asked = account.called("iam.SimulatePrincipalPolicy")
    assert {each["PolicySourceArn"] for each in asked} == {f"arn:aws:iam::{ACCOUNT}:user/team/somebody"}
    kinds = {each["Type"] for make in (registry, pipeline) for each in make(DEV)["Resources"].values()}
    assert {action for each in asked for action in each["ActionNames"]} == {
        each.action for each in permissions_of_up(kinds)
    }


def test_narrow_policies_are_asked_about_what_up_works_on(account: FakeAccount) -> None:
    account.verdict("permissions")
    [images] = [each for each in account.called("iam.SimulatePrincipalPolicy") if "ecr:PutImage" in each["ActionNames"]]
    assert f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/fraud-detection-dev" in images["ResourceArns"]
    [roles] = [each for each in account.called("iam.SimulatePrincipalPolicy") if "iam:PassRole" in each["ActionNames"]]
    assert f"arn:aws:iam::{ACCOUNT}:role/transaction-pipeline-dev-any" in roles["ResourceArns"]


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ({"EvalDecision": "implicitDeny"}, "ecr:PutImage"),
        ({"EvalDecision": "explicitDeny"}, "ecr:PutImage (denied)"),
        (
            {"EvalDecision": "implicitDeny", "OrganizationsDecisionDetail": {"AllowedByOrganizations": False}},
            "ecr:PutImage (denied by the organization)",
        ),
        (
            {
                "EvalDecision": "implicitDeny",
                "PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False},
            },
            "ecr:PutImage (outside of the permissions boundary)",
        ),
    ],
)
def test_an_action_that_is_lacking(account: FakeAccount, decision: Mapping[str, Any], said: str) -> None:
    account.answer("iam.SimulatePrincipalPolicy", simulation(ecr_PutImage=decision))
    verdict = account.verdict("permissions")
    assert verdict.status is Status.ERROR
    assert verdict.evidence.endswith(f"actions that `up` needs: {said}")


def test_an_action_that_depends_on_a_condition(account: FakeAccount) -> None:
    decision = {"EvalDecision": "implicitDeny", "MissingContextValues": ["aws:CalledVia"]}
    account.answer("iam.SimulatePrincipalPolicy", simulation(dynamodb_CreateTable=decision))
    verdict = account.verdict("permissions")
    assert verdict.status is Status.WARNING
    assert "dynamodb:CreateTable depends on conditions" in verdict.evidence


def test_a_session_is_judged_by_its_role(account: FakeAccount) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_1"
    account.answer(
        "sts.GetCallerIdentity",
        {
            "Account": ACCOUNT,
            "UserId": "AROAEXAMPLE:me",
            "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Admin_1/me",
        },
    )
    account.answer("iam.GetRole", {"Role": {
        "Path": "/", "RoleName": "n", "RoleId": "AROAEXAMPLEEXAMPLE", "Arn": role, "CreateDate": "2026-01-01T00:00:00Z",
    }})  # fmt: skip
    assert account.verdict("permissions").status is Status.OK
    assert account.called("iam.GetRole") == [{"RoleName": "AWSReservedSSO_Admin_1"}]
    assert {each["PolicySourceArn"] for each in account.called("iam.SimulatePrincipalPolicy")} == {role}


def test_a_caller_who_may_not_simulate(account: FakeAccount) -> None:
    account.refuse("iam.SimulatePrincipalPolicy", "AccessDenied")
    assert account.verdict("permissions").status is Status.UNKNOWN


def test_the_root_user_needs_no_simulation(account: FakeAccount) -> None:
    account.answer(
        "sts.GetCallerIdentity", {"Account": ACCOUNT, "UserId": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    )
    assert account.verdict("permissions").status is Status.OK
    assert account.called("iam.SimulatePrincipalPolicy") == []
