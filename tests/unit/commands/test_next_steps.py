"""Next steps are values whose commands can be pasted."""

from __future__ import annotations

import ast
import pickle
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import bootstrap
from cfn.problems import NextStep, PipelineError
from commands.context import Context
from commands.next_steps import command_line, error_document, spelled
from commands.usage import MODULES, find_command
from pipeline.core.errors import LocalError

ROOT = Path(bootstrap.__file__).parent
HERE, THERE = Context(), Context(environment="prod", target_name="aws", region="eu-west-1")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (NextStep("Start it", ("up",)), "Start it: ./bootstrap.py up{}"),
        (NextStep("Renew", ("down",), ("up", "--yes")), "Renew: ./bootstrap.py down{}, then ./bootstrap.py up{} --yes"),
        (NextStep("Look", ("redrive", "--id", "a b")), "Look: ./bootstrap.py redrive{} --id 'a b'"),
        (NextStep("What `up` does is in the docs."), "What `up` does is in the docs."),
        ("Write one.", "Write one."),
    ],
)  # fmt: skip
def test_commands_are_spelled_for_the_same_environment_and_prose_is_left_alone(step: NextStep | str, said: str) -> None:
    assert spelled(HERE, step) == said.replace("{}", "")
    assert spelled(THERE, step) == said.replace("{}", " --environment prod --target aws --region eu-west-1")


def test_the_document_has_the_commands_as_data() -> None:
    error = LocalError("dev was not contacted", "it is not running", NextStep("Start it", ("up",)))
    assert error_document(Context(environment="prod"), error) == {
        "what": "dev was not contacted",
        "why": "it is not running",
        "next_step": "Start it: ./bootstrap.py up --environment prod",
        "commands": [["./bootstrap.py", "up", "--environment", "prod"]],
    }


def test_another_way_to_call_the_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_PROGRAM", "docker compose run --rm deploy bootstrap.py")
    assert spelled(HERE, NextStep("Start it", ("up",))) == "Start it: docker compose run --rm deploy bootstrap.py up"


def test_what_a_shell_reads_is_what_was_meant() -> None:
    assert shlex.split(command_line(HERE, "submit", '{"a": "it\'s"}')) == ["./bootstrap.py", "submit", '{"a": "it\'s"}']


def test_an_error_crosses_a_process_with_its_commands() -> None:
    error = pickle.loads(pickle.dumps(LocalError("a", "b", NextStep("c", ("up",), ("down",)))))
    assert isinstance(error, PipelineError)
    assert error.next_step == NextStep("c", ("up",), ("down",))


def named_commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every command that the program's source names in a NextStep, with its place; computed words are left out."""
    for path in sorted(path for top in ("pipeline", "commands", "cfn") for path in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NextStep":
                for each in node.args[1:]:
                    if isinstance(each, ast.Tuple):
                        words = [word.value for word in each.elts if isinstance(word, ast.Constant)]
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", tuple(map(str, words))


def test_every_command_and_option_of_a_next_step_exists() -> None:
    found = list(named_commands())
    assert len(found) > 20
    for place, (name, *words) in found:
        if not name.startswith("-"):  # only an option is written here, the command came from elsewhere
            assert name in MODULES, place
            options = {option for each in find_command(name).parameters for option in each.opts}
            assert {word for word in words if word.startswith("-")} <= options, place


def test_the_pipeline_names_commands_and_never_its_program() -> None:
    """A program that is written out there forgets the environment."""
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not re.search(r"bootstrap\.py \w", line), f"{path}:{number}"


def test_no_next_step_hides_a_command_in_prose() -> None:
    """What is to be run is data; "Run `up`" would be shown without the environment's options."""
    names = "|".join(MODULES)
    for path in sorted(path for top in ("pipeline", "commands", "cfn") for path in (ROOT / top).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(rf"\bRun `(?:{names})[` ]", text), path
