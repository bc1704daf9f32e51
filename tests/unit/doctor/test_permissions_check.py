"""The check ``permissions``: IAM's simulation for the caller, by user, session, root user or without permission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.doctor import Status
from pipeline.doctor.policy import permissions_of
from tests.unit.doctor.account import ACCOUNT, FakeAccount, bodies


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


def test_a_user_with_all_permissions(account: FakeAccount) -> None:
    verdict = account.verdict("permissions")
    assert verdict.status is Status.OK
    asked = account.called("iam.SimulatePrincipalPolicy")
    assert {each["PolicySourceArn"] for each in asked} == {f"arn:aws:iam::{ACCOUNT}:user/team/somebody"}
    wanted = permissions_of("up", (bodies().registry, bodies().pipeline))
    assert {action for each in asked for action in each["ActionNames"]} == {each.action for each in wanted}


def test_the_simulation_uses_the_arns_that_up_works_on(account: FakeAccount) -> None:
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
            "ecr:PutImage (outside the permissions boundary)",
        ),
    ],
)
def test_a_missing_action(account: FakeAccount, decision: Mapping[str, Any], said: str) -> None:
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


def test_a_caller_who_is_not_allowed_to_simulate(account: FakeAccount) -> None:
    account.refuse("iam.SimulatePrincipalPolicy", "AccessDenied")
    assert account.verdict("permissions").status is Status.UNKNOWN


def test_the_root_user_needs_no_simulation(account: FakeAccount) -> None:
    account.answer(
        "sts.GetCallerIdentity", {"Account": ACCOUNT, "UserId": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    )
    assert account.verdict("permissions").status is Status.OK
    assert account.called("iam.SimulatePrincipalPolicy") == []
