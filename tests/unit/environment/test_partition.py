"""Regions whose partition the templates are not written for are refused before AWS is contacted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import bootstrap
from pipeline.core.errors import AccountError
from pipeline.target import aws_target


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn"), ("us-iso-east-1", "aws-iso")],
)
def test_another_partition_is_refused_by_name(region: str, partition: str) -> None:
    with pytest.raises(AccountError) as refused:
        aws_target(region)
    assert f"the region {region} belongs to the partition {partition}" in refused.value.why


def test_the_region_of_the_environment_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-gov-east-1")
    with pytest.raises(AccountError, match="us-gov-east-1"):
        aws_target(None)


@pytest.mark.parametrize("region", ["eu-central-1", "mx-central-1", "eu-central-99"])
def test_commercial_regions_and_unknown_ones_are_taken(region: str) -> None:
    assert aws_target(region).region == region


def test_no_template_is_written_for_another_partition(tmp_path: Path) -> None:
    arguments = ["synth", "--region", "us-gov-west-1", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(bootstrap.main, arguments)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["what"] == "no template was written"
    assert "arn:aws:states:::" in json.loads(done.stdout)["why"]
    assert not (tmp_path / "out").exists()


def test_a_policy_is_printed_for_a_region_that_is_not_known() -> None:
    done = CliRunner().invoke(bootstrap.main, ["doctor", "--policy=status", "--region", "eu-central-99"])
    assert done.exit_code == 0
    assert "arn:aws:lambda:eu-central-99:" in done.stdout
