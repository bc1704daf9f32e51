"""The whole road through the command line: from the folders under images/ to an answered transaction and back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.command_line import ROOT, CommandLine

TRANSACTION = {
    "transaction_id": "test-123",
    "amount": 100,
    "currency": "USD",
    "merchant_id": "merchant-001",
    "customer_id": "customer-001",
}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("the road")
    line = CommandLine(folder / "local state", folder / "cache")
    yield line
    for environment in ("dev", "other"):
        line.run("down", "--environment", environment)


@pytest.fixture(scope="module")
def released(line: CommandLine) -> Any:
    """The result of the first ``up``."""
    return line.json("up")


def test_up_releases_every_function_without_an_entrance_by_digest(released: Any) -> None:
    assert released["changed"] is True
    assert released["sample"]["outcome"] == "APPROVED"
    manifests = (ROOT / "images").glob("*/function.toml")
    folders = {path.parent.name for path in manifests if "entrance" not in tomllib.loads(path.read_text())}
    assert {each["name"] for each in released["functions"]} == {f"{name}-dev" for name in folders}
    for function in released["functions"]:
        assert function["image"].endswith(f"{function['name']}@{function['digest']}")
        assert DIGEST.fullmatch(function["digest"])


def test_a_transaction_is_answered(line: CommandLine, released: Any) -> None:
    answer = line.json("submit", json.dumps(TRANSACTION))
    assert (answer["transaction_id"], answer["outcome"], answer["repeat"]) == ("test-123", "APPROVED", False)
    again = line.json("submit", json.dumps(TRANSACTION))
    assert (again["outcome"], again["repeat"], again["decided_at"]) == ("APPROVED", True, answer["decided_at"])


def test_every_fault_of_a_transaction_is_answered_at_once(line: CommandLine, released: Any) -> None:
    answer = line.json("submit", '{"amount": -1, "currency": "XXQ"}')
    assert answer["outcome"] == "REJECTED"
    faulty = {reason["field"] for reason in answer["reasons"]}
    assert faulty == {"transaction_id", "amount", "currency", "merchant_id", "customer_id"}


def test_a_second_up_changes_nothing(line: CommandLine, released: Any) -> None:
    again = line.json("up")
    assert again["changed"] is False
    assert again["functions"] == released["functions"]
    assert "sample" not in again


def test_status_shows_what_runs(line: CommandLine, released: Any) -> None:
    status = line.json("status")
    # The pipeline is updated where it was created before the images were built.
    assert {stack["status"] for stack in status["stacks"]} <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    assert {each["digest"] for each in status["functions"]} == {each["digest"] for each in released["functions"]}
    assert [each["placeholder"] for each in status["functions"]] == [False, False, False]


def test_a_transaction_that_meets_a_placeholder_is_parked_in_its_environment(line: CommandLine, released: Any) -> None:
    line.json("infra", "--environment", "other")
    assert all(each["placeholder"] for each in line.json("status", "--environment", "other")["functions"])
    error = line.json("submit", "--environment", "other", json.dumps(TRANSACTION), code=1)
    assert "parked" in error["what"]
    assert "PlaceholderImage" in error["why"]
    assert "up" in error["next_step"]
    assert _waiting(line, "transaction-dlq-other") == 1
    assert _waiting(line, "transaction-dlq-dev") == 0


def test_infra_keeps_the_images_that_run(line: CommandLine, released: Any) -> None:
    assert line.json("infra")["changed"] is False


def test_synth_writes_what_is_deployed(line: CommandLine, tmp_path: Path) -> None:
    line.run("synth", "--out", str(tmp_path / "a folder"))
    for name in ("registry", "pipeline"):
        template = json.loads((tmp_path / "a folder" / f"{name}.json").read_text())
        assert "Resources" in template


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "{nope"], "not JSON"),
        (["submit", "{}", "--environment", "nowhere"], "has no state machine"),
        (["status", "--target", "aws", "--region", "us-east-1"], "no credentials"),
    ],
)
def test_bad_input_is_explained(line: CommandLine, released: Any, arguments: list[str], said: str) -> None:
    error = line.json(*arguments, code=1)
    assert set(error) == {"what", "why", "next_step", "commands"}
    assert said in error["why"]
    text = line.run(*arguments, code=1)
    assert text.stdout == ""
    assert text.stderr.startswith("error: ")


def test_wrong_usage_is_exit_code_2(line: CommandLine) -> None:
    assert "No such option" in line.run("up", "--fast", code=2).stderr
    assert "a name is" in line.json("status", "--environment", "Not_A_Name", code=2)["why"]


def _waiting(line: CommandLine, queue: str) -> int:
    """Messages in a queue of the embedded AWS."""
    sqs = line.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])
