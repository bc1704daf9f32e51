"""Next steps can be pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bootstrap
from commands.context import Context
from commands.next_steps import COMMANDS, command_line, spelled

ROOT = Path(bootstrap.__file__).parent
HERE, THERE = Context(), Context(environment="prod", target_name="aws", region="eu-west-1")


def test_every_command_is_known() -> None:
    assert tuple(sorted(bootstrap.main.commands)) == COMMANDS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Run `up`.", "Run `./bootstrap.py up{}`."),
        ("`build --update-base` once, or `empty`", "`./bootstrap.py build{} --update-base` once, or `empty`"),
        ("`down`, then `up --yes`", "`./bootstrap.py down{}`, then `./bootstrap.py up{} --yes`"),
        ("`upper` `handler.py` up `plan_b` `aws logs tail`", "`upper` `handler.py` up `plan_b` `aws logs tail`"),
        ("nothing", "nothing"),
    ],
)
def test_a_command_that_is_named_is_spelled_for_the_same_environment(text: str, said: str) -> None:
    assert spelled(HERE, text) == said.replace("{}", "")
    assert spelled(THERE, text) == said.replace("{}", " --environment prod --target aws --region eu-west-1")


def test_another_way_to_call_the_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSACTION_PIPELINE_PROGRAM", "docker compose run --rm deploy bootstrap.py")
    assert spelled(HERE, "Run `up`.") == "Run `docker compose run --rm deploy bootstrap.py up`."


def test_what_is_spelled_already_stays() -> None:
    for context in (HERE, THERE):
        line = f"`{command_line(context, 'plan')}`, `{command_line(context, 'up --yes')}`"
        assert spelled(context, line) == line


def test_the_pipeline_names_commands_and_never_its_program() -> None:
    """Its texts are spelled where they are printed; one that is spelled in it forgets the environment."""
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not re.search(r"bootstrap\.py \w", line), f"{path}:{number}"
