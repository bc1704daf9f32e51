"""The rehearsal that an environment's settings require, and what is printed of one."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from commands.context import Context
from commands.deploying import required_rehearsal
from commands.rehearsing import _gate, _lines
from pipeline.core.errors import PipelineError
from pipeline.rehearsal.comparison import Failure, Rehearsal, compare
from pipeline.rehearsal.gate import Gate, Recorded, RequiredRehearsal

TRANSACTIONS = '[project]\nworkflow = "transactions"\n'
REQUIRED = (
    '[environments.prod.rehearsal]\nfile = "recorded.jsonl"\nlimit = 100\nmax_changed = 3\n'
    'forbidden = ["REJECTED to APPROVED"]\n'
)


def context(folder: Path, settings: str, environment: str = "prod") -> Context:
    (folder / "environments.toml").write_text(settings)
    (folder / "recorded.jsonl").write_text('{"transaction_id": "t-1"}\n')
    return Context(environment, project=folder)


def test_only_the_environment_that_asks_for_it_requires_a_rehearsal(tmp_path: Path) -> None:
    settings = TRANSACTIONS + REQUIRED
    gate = Gate(3, ("REJECTED to APPROVED",))
    assert required_rehearsal(context(tmp_path, settings)) == RequiredRehearsal(
        gate, Recorded(tmp_path / "recorded.jsonl", 100)
    )
    assert required_rehearsal(context(tmp_path, settings, "dev")) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (TRANSACTIONS + REQUIRED.replace("REJECTED", "REJECT"), "saw: 'REJECT to APPROVED'"),
        (TRANSACTIONS + REQUIRED.replace("max_changed = 3", "max_changed = -1"), "Expected `int` >= 0"),
        (TRANSACTIONS + REQUIRED.replace("limit = 100", "limit = 0"), "Expected `int` >= 1"),
        (TRANSACTIONS + REQUIRED.replace("max_changed", "max_change"), "no such key"),
        (TRANSACTIONS + REQUIRED.replace('file = "recorded.jsonl"', ""), "rehearsal.file: missing"),
        (TRANSACTIONS + REQUIRED.replace("recorded.jsonl", "gone.jsonl"), "gone.jsonl"),
        (TRANSACTIONS + REQUIRED.replace("recorded.jsonl", "environments.toml"), "unknown file format"),
    ],
)
def test_a_rehearsal_that_could_not_be_done_is_refused_before_a_release(
    tmp_path: Path, settings: str, why: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        required_rehearsal(context(tmp_path, settings))
    assert why in refused.value.why


def test_options_replace_the_gate_of_the_settings(tmp_path: Path) -> None:
    own = context(tmp_path, TRANSACTIONS + REQUIRED)
    assert _gate(own, None, ()) == Gate(3, ("REJECTED to APPROVED",))
    assert _gate(own, 0, ()) == Gate(0, ())
    assert _gate(context(tmp_path, TRANSACTIONS), None, ()) == Gate()
    with pytest.raises(click.UsageError, match="saw: 'nonsense'"):
        _gate(own, None, ("nonsense",))


def test_what_is_printed_is_bounded_and_holds_no_control_characters() -> None:
    hostile = "\x1b[2J"
    found = [
        compare(hostile, line, {"outcome": "APPROVED", "score": 1}, {"outcome": hostile, "score": hostile})
        for line in range(25)
    ]
    rehearsal = Rehearsal(
        25, tuple(each for each in found if each), failures=(Failure(hostile, 1, hostile),), malformed=((2, hostile),)
    )
    lines = _lines(rehearsal)
    assert not any("\x1b" in line for line in [*lines, rehearsal.summary])
    assert "  and 15 more: see them with --json or --out" in lines
    assert len(lines) < 20
