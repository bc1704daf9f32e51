"""Pages that promise something are held to it: rules of AWS, permissions, wildcards, recovery."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.aws.beliefs import BELIEFS, HEADING, section
from tests.recorded.recordings import answers, machines
from tests.unit.cfn.examples import DEV, PROD, pipeline, registry

ROOT = Path(__file__).resolve().parents[2]
RULES, _, TRY_FIRST = (ROOT / "docs" / "aws-rules.md").read_text().partition(HEADING)
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in RULES.partition("## Not refused")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| rule ")
]
# How code cites AWS.
CITES = re.compile(
    r"AWS documentation|\bAPI_[A-Z][a-z]+[A-Z]|service authorization"
    r"|(?:developer|user|Lambda|SNS|SQS|Step Functions)\s+guide,"
)
# Cites AWS for something that no test of ours could notice, or only passes a citation on.
ELSEWHERE = {
    "cfn/rules",  # rules for any template: each names its source
    "pipeline/local/emulator/patches/",  # each row names its source
    "pipeline/local/emulator/strict/",  # each row names its source, and has its test
    "pipeline/stacks/templates_bucket.py",  # how S3 answers for a bucket of another account
}


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 50
    assert all(len(row) == 5 for row in ROWS), [row for row in ROWS if len(row) != 5]


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    rule, source, relied, held, _ = row
    assert rule
    assert re.match(r"[DSBR]\b", source)
    for path in re.findall(r"`([^`]+)`", relied):
        assert (ROOT / path).is_file(), path
    named = re.findall(r"`(tests/[^`:]+)::([^`]+)`", held)
    assert named
    for path, test in named:
        assert test in names_in(path), f"{path}::{test}"


RECORDED = re.compile(r"recorded \(((?:`[a-z-]+`(?:, )?)+)\)(?:, (?:schema|document))?")


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_what_proves_a_row_is_there(row: list[str]) -> None:
    _, source, _, _, proven = row
    if found := RECORDED.fullmatch(proven):
        assert {*re.findall(r"`([a-z-]+)`", found[1])} <= machines().keys() | answers().keys()
    elif proven in ("schema", "document"):
        assert source[0] in {"schema": "SB", "document": "D"}[proven]
    else:
        assert proven in ("reviewer's judgement", "only believed")


def test_what_is_not_proven_is_tried_first_on_an_account() -> None:
    tried = {belief.rule for belief in BELIEFS}
    assert {row[0] for row in ROWS if row[4] in ("reviewer's judgement", "only believed")} <= tried
    assert tried <= {row[0] for row in ROWS}


def test_the_list_of_what_to_try_first_is_current() -> None:
    assert section() == HEADING + TRY_FIRST, "if the change is intended: make docs"


def citing() -> Iterator[str]:
    for folder in ("cfn", "pipeline", "images", "commands"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if CITES.search(path.read_text()) and not any(name.startswith(each) for each in ELSEWHERE):
                yield name


@pytest.mark.parametrize("path", [*citing()])
def test_a_file_that_cites_aws_is_on_the_page(path: str) -> None:
    assert f"`{path}`" in RULES, f"{path} relies on a rule of AWS: give docs/aws-rules.md a row for it"


def wildcards(value: object, resource: str) -> Iterator[tuple[str, str, str]]:
    """(logical id, Effect, what) for every wildcard in the policies of a resource."""
    if isinstance(value, dict):
        if "Effect" in value and ("Action" in value or "NotAction" in value):
            for key in ("Action", "Resource", "Principal"):
                for each in many(value.get(key)):
                    for text in many(flat(each)):
                        if "*" in text:
                            yield resource, value["Effect"], f"{key} {text}"
            for text in many(flat(value.get("Condition"))):
                if "*" in text:
                    yield resource, value["Effect"], f"Condition {text}"
            return
        for each in value.values():
            yield from wildcards(each, resource)
    elif isinstance(value, list):
        for each in value:
            yield from wildcards(each, resource)


def many(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def flat(value: object) -> list[str]:
    """Every text inside of a value, such as in ``{"Fn::Sub": "…:*"}``."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in flat(each)]
    return [text for each in value for text in flat(each)] if isinstance(value, list) else []


LAYER_BUCKET = "arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket"
ANY_FUNCTION = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*"
# What docs/security.md justifies; the resources by the name that the page has for them.
JUSTIFIED = {
    ("NetworkInterfacePolicy", "Allow", "Resource *"): "NetworkInterfacePolicy",
    ("NetworkInterfacePolicy", "Deny", "Action ec2:*"): "NetworkInterfacePolicy",
    ("NetworkInterfacePolicy", "Deny", "Resource *"): "NetworkInterfacePolicy",
    ("StateMachineRole", "Allow", "Resource *"): "StateMachineRole",
    ("SweeperRole", "Allow", "Resource *"): "StateMachineRole",
    ("ReleaseRole", "Allow", "Resource *"): "ReleaseRole",
    **{
        ("ReleaseRole", "Allow", f"Resource ${{{stem}Function.Arn}}:*"): "ReleaseRole"
        for stem in ("ComplianceChecking", "FraudDetection", "TransactionValidation")
    },
    ("AlarmKey", "Allow", "Action kms:*"): "AlarmKey",
    ("AlarmKey", "Allow", "Action kms:GenerateDataKey*"): "AlarmKey",
    ("AlarmKey", "Allow", "Resource *"): "AlarmKey",
    ("AlertTopicPolicy", "Deny", "Principal *"): "AlertTopicPolicy",
    ("AlarmTopicPolicy", "Deny", "Principal *"): "AlarmTopicPolicy",
    ("DeadLetterQueuePolicy", "Deny", "Principal *"): "DeadLetterQueuePolicy",
    ("DeadLetterQueuePolicy", "Deny", "Action sqs:*"): "DeadLetterQueuePolicy",
    ("DynamodbEndpoint", "Allow", "Principal *"): "endpoints",
    ("S3Endpoint", "Allow", "Principal *"): "endpoints",
    ("S3Endpoint", "Allow", f"Resource {LAYER_BUCKET}/*"): "endpoints",
    **{
        (f"{stem}Repository", "Allow", f"Condition {ANY_FUNCTION}"): "repositories"
        for stem in ("ComplianceChecking", "FraudDetection", "TransactionValidation")
    },
}  # fmt: skip


def test_every_wildcard_in_a_policy_is_justified() -> None:
    found = {
        each
        for settings in (DEV, PROD)
        for make in (registry, pipeline)
        for logical_id, resource in make(settings)["Resources"].items()
        for each in wildcards(resource["Properties"], logical_id)
    }
    assert found == set(JUSTIFIED)
    page = (ROOT / "docs" / "security.md").read_text()
    for name in set(JUSTIFIED.values()):
        assert name in page


RECOVERY = (ROOT / "docs" / "recovery.md").read_text()


def test_every_command_of_the_recovery_page_exists() -> None:
    from commands.usage import MODULES

    words = {words.split()[0] for words in re.findall(r"`([a-z]+(?: [^`]*)?)`", RECOVERY)}
    ours = words & {"up", "plan", "rollback", "releases", "prune", "redrive", "explain", "doctor", "down", "status",
                    "synth", "check", "infra", "submit"}  # fmt: skip
    assert len(ours) >= 10
    assert ours <= set(MODULES)


def test_the_recovery_page_names_checks_that_exist() -> None:
    from pipeline.doctor import CHECKS

    named = re.findall(r"`doctor`: ([a-z, ]+?)(?:[.;|]|$)", RECOVERY, re.MULTILINE)
    assert named
    for each in named:
        for check in each.strip().split(", "):
            assert check in CHECKS, check


def test_every_aws_command_of_the_recovery_page_exists() -> None:
    import botocore.session
    from botocore import xform_name

    session = botocore.session.get_session()
    local = {("cloudformation", "package"), ("configure", "")}
    for service, operation in re.findall(r"\baws ([a-z0-9-]+) ([a-z0-9-]+)", RECOVERY):
        if (service, operation) in local:
            continue
        operations = {xform_name(each, "-") for each in session.get_service_model(service).operation_names}
        assert operation in operations, f"aws {service} {operation}"
