"""What a function's folder must hold so that it can become an image."""

from __future__ import annotations

import re
import tomllib

import pytest
from transactions.submission import DEADLINE_SECONDS

from cfn.settings import Entrance
from cfn.workflow.composition import definition, tasks
from cfn.workflow.limits import COMPLIANCE, FRAUD, VALIDATION
from pipeline.assembly.sources import find_sources
from tests.unit.images.loading import ENTRANCES, FUNCTIONS, IMAGES, load_handler

SHARED_SOURCES = sorted((IMAGES / "transactions").glob("*.py"))


def test_every_folder_with_a_function_file_is_a_tested_function() -> None:
    assert sorted(path.parent.name for path in IMAGES.glob("*/function.toml")) == sorted((*FUNCTIONS, *ENTRANCES))


@pytest.mark.parametrize("function", ENTRANCES)
def test_an_entrance_is_deployed_only_where_the_settings_have_it(function: str) -> None:
    entrance = Entrance(function.removesuffix("-entrance"))
    assert [each.name for each in find_sources(IMAGES)] == sorted(FUNCTIONS)
    assert [each.name for each in find_sources(IMAGES, entrances=[entrance])] == sorted((*FUNCTIONS, function))


def test_an_entrance_waits_for_an_execution_within_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """API Gateway answers after 30 s; the queue's function must be able to publish after the wait."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    timeouts = {name: tomllib.loads((IMAGES / name / "function.toml").read_text())["timeout"] for name in ENTRANCES}
    assert DEADLINE_SECONDS < timeouts["http-entrance"] < 30
    assert timeouts["queue-entrance"] > load_handler("queue-entrance").PUBLISHING_SECONDS + DEADLINE_SECONDS


def test_functions_with_the_same_requirements_share_one_lock_and_so_one_layer() -> None:
    locks: dict[bytes, set[bytes]] = {}
    for name in (*FUNCTIONS, *ENTRANCES):
        wanted, locked = (IMAGES / name / f"requirements.{kind}" for kind in ("in", "txt"))
        locks.setdefault(wanted.read_bytes(), set()).add(locked.read_bytes())
    assert len(locks) == 3
    assert [len(each) for each in locks.values()] == [1] * len(locks)


@pytest.mark.parametrize("function", [*FUNCTIONS, *ENTRANCES])
def test_every_requirement_is_locked_by_hash(function: str) -> None:
    text = (IMAGES / function / "requirements.txt").read_text()
    packages = re.findall(
        r"^([a-z0-9-]+)==[^\s;]+(?: ; .*)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.M
    )
    assert packages == re.findall(r"^([a-z0-9-]+)==", text, re.M)
    assert "aws-lambda-powertools" in packages


@pytest.mark.parametrize("function", [*FUNCTIONS, *ENTRANCES])
def test_a_dockerfile_copies_and_runs_nothing(function: str) -> None:
    lines = (IMAGES / function / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert instructions == ["ARG", "FROM", "COPY", "COPY", "COPY", "CMD"]
    definition = tomllib.loads((IMAGES / function / "function.toml").read_text())
    assert f'CMD ["{definition["handler"]}"]' in lines


def test_a_function_ends_before_the_state_that_waits_for_it() -> None:
    """A function that hangs would otherwise hold its reserved execution after its answer was given up."""
    called = {"Validation": VALIDATION, "Fraud": FRAUD, "Compliance": COMPLIANCE}
    waits = {task["Arguments"].get("FunctionName"): task["TimeoutSeconds"] for task in tasks(definition())}
    for name, function in called.items():
        limit = tomllib.loads((IMAGES / function / "function.toml").read_text())["timeout"]
        assert limit < waits[f"${{{name}Function}}"], function


def test_no_function_calls_aws() -> None:
    """The workflow reads and writes for them, so they need neither permissions nor a way to a service."""
    for function in FUNCTIONS:
        assert "calls" not in tomllib.loads((IMAGES / function / "function.toml").read_text())


@pytest.mark.parametrize("path", SHARED_SOURCES, ids=lambda path: path.stem)
def test_only_the_glue_of_the_shared_package_knows_powertools(path: object) -> None:
    assert ("aws_lambda_powertools" in path.read_text()) is (path.stem == "invocation")  # type: ignore[attr-defined]
