"""When environments expire, and that nothing doubtful ever does."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cfn.names import Names
from pipeline.assembly.model import Architecture
from pipeline.core.errors import SettingsError
from pipeline.environment.configuration import Project, read_choices, settings_of
from pipeline.environment.lifetime import EXPIRES_AFTER
from pipeline.environment.personal import own_environment
from pipeline.release.expiry import find_expiring

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
NAMES = Names("dev", "shop")


def stack(name: str, tag: str | None = "1d", *, status: str = "CREATE_COMPLETE", **times: Any) -> dict[str, Any]:
    tags = [{"Key": EXPIRES_AFTER, "Value": tag}] if tag is not None else []
    return {"StackName": name, "StackStatus": status, "CreationTime": NOON, "Tags": tags, **times}


class CloudFormation:
    """DescribeStacks in pages of one stack."""

    def __init__(self, *stacks: dict[str, Any]) -> None:
        self.stacks = stacks

    def get_paginator(self, operation: str) -> CloudFormation:
        assert operation == "describe_stacks"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"Stacks": [each]} for each in self.stacks]


def due(*stacks: dict[str, Any], after: timedelta = timedelta(days=2)) -> list[str]:
    found = find_expiring(CloudFormation(*stacks), NAMES)
    return [each.environment for each in found if each.is_due(NOON + after)]


def test_the_last_change_of_either_stack_counts() -> None:
    both = [stack("shop-registry-ada"), stack("shop-pipeline-ada", LastUpdatedTime=NOON + timedelta(hours=5))]
    assert due(*both, after=timedelta(hours=28, minutes=59)) == []
    assert due(*both, after=timedelta(hours=29)) == ["ada"]


def test_a_zone_is_a_zone() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=9)))
    (found,) = find_expiring(CloudFormation(stack("shop-registry-ada", CreationTime=east)), NAMES)
    assert found.at == NOON + timedelta(days=1)


@pytest.mark.parametrize(
    "stacks",
    [
        [stack("shop-registry-ada", None)],
        [stack("shop-registry-ada"), stack("shop-pipeline-ada", None)],
        [stack("shop-registry-ada"), stack("shop-pipeline-ada", status="UPDATE_IN_PROGRESS")],
        [stack("shop-registry-ada"), stack("shop-pipeline-ada", "3d")],
        [stack("other-registry-ada")],
        [stack("shop-registry-ADA")],
        [stack("shop-rehearsal-ada")],
        [stack("shop-registry-ada", status="REVIEW_IN_PROGRESS")],
        *([stack("shop-registry-ada", tag)] for tag in ("", "never", "0d", "-1d", "1", "1 d", "١d", "999999w", "1d\n")),
    ],
)
def test_what_never_expires(stacks: list[dict[str, Any]]) -> None:
    assert due(*stacks) == []


def test_an_unreadable_tag_is_named() -> None:
    (found,) = find_expiring(CloudFormation(stack("shop-registry-ada", "never")), NAMES)
    assert (found.at, "'never'" in found.why_not) == (None, True)


def test_a_half_created_environment_expires() -> None:
    assert due(stack("shop-registry-ada"), stack("shop-pipeline-ada", None, status="REVIEW_IN_PROGRESS")) == ["ada"]


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("ada", "ada"),
        ("Ada.Byron", "ada-byron"),
        ("7up", "up"),
        ("a" * 40, "a" * 16),
        ("ada.byron.lovelace", "ada-byron-lovela"),
        ("ädä", "d"),
        ("...", ""),
        ("123456789012345-x", "x"),
    ],
)
def test_the_own_environment_is_called_like_the_user(user: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    assert own_environment() == name
    assert not name or Names(name).environment == name


def test_a_user_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", getuser)
    assert own_environment() == ""


def test_the_table_me_is_for_the_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    path = tmp_path / "environments.toml"
    path.write_text('[environments.me]\nexpires_after = "1d"\n[environments.prod]\nzones = 3\n')
    assert read_choices(path, "ada").expires_after == "1d"
    assert read_choices(path, "grace").expires_after is None
    assert read_choices(path, "prod").expires_after is None
    path.write_text('[environments.me]\nexpires_after = "1d"\n[environments.ada]\nzones = 3\n')
    assert read_choices(path, "ada").expires_after is None


@pytest.mark.parametrize("text", ["", "1", "day", "0s", "400d"])
def test_a_lifetime_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "environments.toml"
    path.write_text(f'[defaults]\nexpires_after = "{text}"\n')
    with pytest.raises(SettingsError, match="expires_after: "):
        settings_of("ada", read_choices(path, "ada"), project=Project("shop"), architecture=Architecture.ARM64)
