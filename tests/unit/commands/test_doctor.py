"""What doctor takes for an account that `up` can go on with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from commands import doctor as command
from commands.context import Context
from pipeline.doctor import Status
from pipeline.doctor.checks import CHECKS, RELIED_ON
from pipeline.doctor.verdict import CheckResult


def examined(
    monkeypatch: pytest.MonkeyPatch, results: list[CheckResult], *, is_local: bool = False
) -> tuple[int, bool]:
    target: Any = SimpleNamespace(is_local=is_local)
    monkeypatch.setattr(Context, "running_target", lambda _self: target)
    monkeypatch.setattr(command, "examine", lambda *_: tuple(results))
    monkeypatch.setattr(command, "_isolation", lambda *_: ())
    outcome = command.doctor(Context(target_name="local" if is_local else "aws"))
    return outcome.exit_code, outcome.result["healthy"]


def test_a_check_that_up_relies_on_and_that_could_not_be_made_is_no_good_news(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RELIED_ON:
        assert examined(monkeypatch, [CheckResult(name, Status.UNKNOWN, "no answer")]) == (1, False)


def test_the_embedded_aws_need_not_answer_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = [CheckResult(name, Status.UNKNOWN, "not supported") for name in CHECKS]
    assert examined(monkeypatch, unknown, is_local=True) == (0, True)


@pytest.mark.parametrize(
    ("status", "exit_code"), [(Status.OK, 0), (Status.WARNING, 0), (Status.UNKNOWN, 0), (Status.ERROR, 1)]
)
def test_other_checks_fail_by_an_error_alone(monkeypatch: pytest.MonkeyPatch, status: Status, exit_code: int) -> None:
    assert examined(monkeypatch, [CheckResult("quotas", status, "seen")]) == (exit_code, exit_code == 0)
