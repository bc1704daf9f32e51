"""The banner of the console: errors first, and drift as it was read last."""

from __future__ import annotations

from pipeline.console.views import findings_of
from pipeline.core.errors import NextStep
from pipeline.doctor.verdict import CheckResult, Status
from pipeline.drift.drifted import Difference, Drifted


def spell(command: tuple[str, ...]) -> str:
    return " ".join(("./bootstrap.py", *command))


def test_drift_is_in_the_banner_once_with_the_command_that_puts_it_back() -> None:
    results = [
        CheckResult("drift", Status.WARNING, "read a quarter of an hour ago"),
        CheckResult("clock", Status.OK, "fine"),
        CheckResult("images", Status.ERROR, "gone", NextStep("Push it", ("up",))),
    ]
    drifted = Drifted("F", "AWS::Lambda::Function", "fraud", (Difference("MemorySize", "512", "1024"),))
    images, drift = findings_of(results, [drifted], spell)
    assert (images.status, images.name) == ("error", "images")
    assert (drift.status, drift.evidence) == ("warning", "fraud: MemorySize is 1024 instead of 512")
    assert "./bootstrap.py up --revert-drift" in drift.cure


def test_nothing_needs_attention_without_findings() -> None:
    assert findings_of([CheckResult("drift", Status.WARNING, "put back meanwhile")], [], spell) == ()
