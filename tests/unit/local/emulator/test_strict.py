"""The table of refusals, and the arithmetic of its rates."""

from __future__ import annotations

import re

import pytest

from pipeline.local.emulator.strict.api_calls import parse_call
from pipeline.local.emulator.strict.function_refusals import unfit
from pipeline.local.emulator.strict.image_refusals import immutable
from pipeline.local.emulator.strict.invocation_rate import InvocationRate
from pipeline.local.emulator.strict.name_refusals import tag_keys
from pipeline.local.emulator.strict.refusal import Refusal
from pipeline.local.emulator.strict.table import REFUSALS


@pytest.mark.parametrize("row", REFUSALS, ids=[f"{row.service} {row.call} {row.condition[:40]}" for row in REFUSALS])
def test_a_row_says_what_and_whence(row: Refusal) -> None:
    assert re.match(r"(D|S|B|R|3P)\b", row.source)
    assert row.code
    assert row.text
    assert row.condition


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ten_a_second_for_each_execution() -> None:
    clock = Clock()
    rate = InvocationRate(clock)
    assert [rate.take("a", 2) for _ in range(21)] == [True] * 20 + [False]
    assert rate.take("b", 2)
    clock.now = 0.05
    assert [rate.take("a", 2) for _ in range(2)] == [True, False]
    clock.now = 10
    assert sum(rate.take("a", 2) for _ in range(50)) == 20


def test_another_reservation_begins_anew() -> None:
    rate = InvocationRate(Clock())
    assert [rate.take("a", 1) for _ in range(11)][-1] is False
    assert sum(rate.take("a", 3) for _ in range(50)) == 30


def test_nothing_reserved_is_nothing_allowed() -> None:
    assert not InvocationRate(Clock()).take("a", 0)


@pytest.mark.parametrize(
    ("mutability", "filters", "tag", "expected"),
    [
        ("MUTABLE", [], "a", False),
        ("IMMUTABLE", [], "a", True),
        ("IMMUTABLE_WITH_EXCLUSION", ["next-*"], "next-1", False),
        ("IMMUTABLE_WITH_EXCLUSION", ["next-*"], "1", True),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "v1", True),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "latest", False),
    ],
)
def test_which_tags_are_immutable(mutability: str, filters: list[str], tag: str, expected: bool) -> None:
    excluded = [{"filterType": "WILDCARD", "filter": each} for each in filters]
    repository = {"imageTagMutability": mutability, "imageTagMutabilityExclusionFilters": excluded}
    assert immutable(repository, tag) is expected


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"config": 1, "layers": []}'])
def test_what_is_no_manifest_is_unfit(content: bytes) -> None:
    assert unfit(content, "application/vnd.oci.image.manifest.v1+json")


@pytest.mark.parametrize(
    "request_",
    [
        {"Tags": [{"Key": "aws:x", "Value": "1"}]},
        {"tags": [{"key": "aws:x", "value": "1"}]},
        {"Tags": [{"TagKey": "aws:x"}]},
        {"Tags": {"aws:x": "1"}},
        {"Action": "CreateTags", "Tag.1.Key": "aws:x"},
        {"TagSpecification.1.Tag.2.Key": "aws:x"},
        {"Tags.member.1.Key": "aws:x"},
    ],
)
def test_tags_are_found_in_every_form(request_: dict[str, object]) -> None:
    assert tag_keys(request_) == ["aws:x"]


def test_what_is_no_tag_is_not_taken_for_one() -> None:
    assert tag_keys({"Key": {"aws:x": {"S": "1"}}, "Environment": {"Variables": {"aws:x": "1"}}}) == []


def test_calls_are_told_by_their_protocols() -> None:
    json_target = {"x-amz-target": "AmazonEC2ContainerRegistry_V20150921.PutImage"}
    assert parse_call("ecr", "POST", "/", json_target, b'{"a": 1}', {}) == ("PutImage", {"a": 1})
    assert parse_call("ecr", "POST", "/", json_target, b"nothing", {}) == ("PutImage", {})
    assert parse_call("lambda", "PUT", "/2015-03-31/functions/f%3Alive/code", {}, b"{}", {}) == (
        "UpdateFunctionCode",
        {"FunctionName": "f:live"},
    )
    assert parse_call("lambda", "GET", "/2015-03-31/functions/f", {}, b"", {}) is None
    assert parse_call("s3", "PUT", "/bucket", {}, b"", {}) == ("CreateBucket", {"Bucket": "bucket"})
    assert parse_call("s3", "PUT", "/bucket/key", {}, b"", {}) is None
    body = b"Action=CreateStack&StackName=a"
    assert parse_call("cloudformation", "POST", "/", {}, body, {}) == (
        "CreateStack",
        {"Action": "CreateStack", "StackName": "a"},
    )
