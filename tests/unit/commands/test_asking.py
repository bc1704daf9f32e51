"""Questions before a change that may be unintended."""

from __future__ import annotations

import pytest

from commands.asking import confirm_watching
from commands.context import Context
from pipeline.core.errors import SettingsError


def on_aws(answer: str) -> Context:
    return Context("prod", target_name="aws", ask=lambda _question: answer)


def test_watching_aws_has_to_be_meant() -> None:
    confirm_watching(on_aws("yes"), yes=False)
    for answer in ("y", ""):
        with pytest.raises(SettingsError, match="not approved"):
            confirm_watching(on_aws(answer), yes=False)
    with pytest.raises(SettingsError, match=r"no terminal to ask on\. Approve that with --yes"):
        confirm_watching(Context("prod", target_name="aws"), yes=False)


def test_watching_needs_no_question_here_nor_after_a_yes() -> None:
    confirm_watching(Context("dev", target_name="local"), yes=False)
    confirm_watching(on_aws("no"), yes=True)
