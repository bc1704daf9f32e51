"""The table of refusals, and the arithmetic of its rates."""

from __future__ import annotations

import re
from pathlib import Path

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


PAGE = Path(__file__).parents[4] / "docs" / "aws-rules.md"
STRICT = "tests/functional/local/test_strict.py"
# The rules of the page whose violation AWS refuses: a row (service, call, beginning of its condition), or the test of a
# refusal of ministack's or of a patch.
REFUSED: dict[str, tuple[str, str, str] | str] = {
    "`PackageType` and `FunctionName` are create-only": f"{STRICT}::test_a_custom_named_resource_is_not_replaced",
    "An image index, a manifest list": ("lambda", "CreateFunction", "an image index"),
    "The deletion of a function": (
        "tests/functional/release/test_versions.py::test_the_aliases_of_others_keep_their_versions"
    ),
    "PutParameter without Overwrite": (
        "tests/functional/release/test_environment_lock.py::test_it_is_held_by_one_at_a_time_and_leaves_nothing"
    ),
    "At least 100 executions": ("lambda", "PutFunctionConcurrency", "less than 100"),
    "A function accepts at most ten": ("lambda", "Invoke, RequestResponse", "more than 10"),
    "Some variables are reserved": ("lambda", "CreateFunction", "a reserved environment"),
    "A synchronous answer has at most 6 MB": (
        "tests/functional/local/test_runtime.py::test_an_answer_that_is_too_large_is_an_error_and_the_next_is_well"
    ),
    "An execution environment has": "tests/functional/local/test_isolation.py::test_only_its_own_tmp_can_be_written",
    "New accounts give a function at most": ("lambda", "CreateFunction", "more than 10,240 MB"),
    "100 images in one": ("ecr", "BatchGetImage", "more than 100"),
    "Parts of a layer": ("ecr", "CompleteLayerUpload", "a part before"),
    "A blob is mounted": f"{STRICT}::test_a_blob_that_no_manifest_refers_to_is_not_mounted",
    "TemplateBody has at most": f"{STRICT}::test_a_template_body_has_at_most_51200_bytes",
    "The statuses of a stack": ("cloudformation", "CreateChangeSet", "the stack is in a status"),
    "A stack in ROLLBACK_COMPLETE": ("cloudformation", "UpdateStack", "the stack is in a status"),
    "An empty change set fails": "tests/functional/stacks/test_apply.py::test_an_empty_change_set_is_no_change",
    "A queue's and a topic's identifier": f"{STRICT}::test_what_has_a_read_only_identifier_is_not_adopted_by_its_name",
    "A rolled back creation deletes": ("ecr", "DeleteRepository", "it contains images"),
    "DeleteStack retains only": "tests/functional/stacks/test_apply.py::test_a_deletion_keeps_the_resources_to_retain",
    "PutImage of an existing tag": ("ecr", "PutImage", "the tag exists"),
    "StartSyncExecution accepts": ("states", "StartSyncExecution", "an input of more"),
    "A standard parameter holds": ("ssm", "PutParameter", "a value of more than 4,096"),
    "A subnet is a /28": ("ec2", "CreateSubnet", "a network that is not"),
    "By default 5 VPCs": ("ec2", "CreateVpc", "on a fresh account"),
    "Signatures are rejected": "tests/unit/local/emulator/test_signatures.py::test_what_botocore_signs_is_verified",
    "A signature of version 4": "tests/unit/local/emulator/test_signatures.py::test_what_botocore_signs_is_verified",
    "A login of the registry": (
        "tests/functional/local/test_access.py::test_a_registry_login_has_the_permissions_of_its_caller"
    ),
}
# What a rule says that AWS refuses something.
_REFUSING = re.compile(
    r"refuse|reject|at most|at least \d|must be|must allow|reserved|create-only|exclude each|only certain"
    r"|limited|larger, a|only in the zones|can only|not mounted|needs network"
)


def page_rules() -> list[str]:
    tables = PAGE.read_text().split("## Not refused")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in tables.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != "rule"]


def not_refused() -> list[str]:
    section = PAGE.read_text().split("## Not refused")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != "rule"]


def test_every_refusal_of_the_page_has_a_row_or_a_reason() -> None:
    named = (*REFUSED, *not_refused())
    rules = page_rules()
    unnamed = [rule for rule in rules if _REFUSING.search(rule) and not rule.startswith(named)]
    assert unnamed == [], "add the test of the refusal to REFUSED, or the reason to the page, under Not refused"
    assert [each for each in named if not any(rule.startswith(each) for rule in rules)] == []


@pytest.mark.parametrize("held", REFUSED.values(), ids=lambda held: str(held)[-60:])
def test_what_refuses_is_there(held: tuple[str, str, str] | str) -> None:
    if isinstance(held, tuple):
        service, call, condition = held
        assert [row for row in REFUSALS if (row.service, row.call) == (service, call)
                and row.condition.startswith(condition)]  # fmt: skip
    else:
        path, _, name = held.partition("::")
        assert f"def {name}(" in (PAGE.parents[1] / path).read_text()
