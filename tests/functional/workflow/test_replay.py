"""Recorded state machines run on the embedded AWS: what differs from AWS is known, and the page says so."""

from __future__ import annotations

import os

import pytest

from pipeline.local.runtime.sandbox import find_isolation
from tests.functional.conftest import EmbeddedAws
from tests.recorded.differences import DIFFERENCES, PAGE, Replay, page, replay_all
from tests.recorded.replay import differences


@pytest.fixture(scope="module")
def replayed(embedded_aws: EmbeddedAws) -> Replay:
    return replay_all(embedded_aws)


def test_every_mismatch_is_a_known_difference(replayed: Replay) -> None:
    assert replayed.unexplained == []


def test_every_known_difference_is_still_there(replayed: Replay) -> None:
    assert [each.what for each in DIFFERENCES if not replayed.shown_by(each)] == []


def test_the_page_is_current(replayed: Replay) -> None:
    if find_isolation().sandbox is None and os.environ.get("REQUIRE_EVERYTHING") != "1":
        pytest.skip("without a sandbox more recordings differ: paths in the errors of functions are this machine's")
    assert PAGE.read_text() == page(replayed), "if it is meant: make docs"


def test_a_mark_of_the_recorder_stands_for_any_text_and_nothing_else_does() -> None:
    recorded = {"id": "arn:<partition>:states", "date": "date", "output": [1, {"a": None}], "n": 0}
    assert (
        list(differences(recorded, {"id": "arn:aws:states", "date": "now", "output": [1, {"a": None}], "n": 0})) == []
    )
    for other in ({"id": "arn:aws:sns"}, {"output": [1, {}]}, {"output": [1]}, {"n": False}, {"more": 1}):
        assert len(list(differences(recorded, recorded | other))) == 1, other
