"""Two releases at once, a release that is stopped by Ctrl-C, and phases that overlap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ReleaseError
from pipeline.core.events import StepFinished, StepStarted
from pipeline.core.interruption import PATIENCE
from pipeline.ledger.releases import list_releases
from pipeline.release import release
from tests.functional.command_line import ROOT
from tests.functional.release_lab import Lab, different


def test_two_that_make_one_environment_at_once_both_end_well(lab: Lab) -> None:
    """On one machine the second waits for the first."""
    with lab.environment() as shared:
        both = [lab.begin(shared), lab.begin(shared)]
        assert [run.wait() for run in both] == [0, 0], [run.result for run in both]
        expect_whole(lab, shared)
        assert sorted(run.result["changed"] for run in both) == [False, True]


def expect_whole(lab: Lab, environment: str) -> None:
    """What runs is what the ledger says, and nothing is left over."""
    found = lab.snapshot(environment)
    assert found["running"] == {name: [digest] * 2 for name, digest in found["release"].items()}
    assert found["last release tagged"]
    for stack in ("registry", "pipeline"):
        assert (found[stack]["at rest"], found[stack]["change sets"]) == (True, [])


def test_two_machines_that_change_one_environment_at_once_leave_one_of_the_two_changes(
    lab: Lab, tmp_path: Path
) -> None:
    with lab.environment() as shared:
        lab.up(shared)
        with lab.changed("\n# theirs\n"):
            theirs = lab.begin(shared)
            theirs.until("build ends", times=3)
        with lab.changed("\n# ours\n"):
            ours = lab.begin(shared, local=str(tmp_path / "another machine"))
            codes = [theirs.wait(), ours.wait()]
            # The overtaken one reports it; the other has finished.
            assert 0 in codes, (theirs.told(), ours.told())
            lab.up(shared)
            expect_whole(lab, shared)
            numbers = [each.number for each in list_releases(lab.aws.client("ssm"), shared)]
            assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("moment", ["stack transaction-registry begins", "within stack transaction-pipeline"])
def test_ctrl_c_leaves_at_once_and_the_next_run_goes_on(lab: Lab, moment: str) -> None:
    with lab.environment() as environment:
        run = lab.begin(environment)
        run.until(moment)
        asked = time.monotonic()
        run.interrupt()
        assert run.wait() in (130, 0)  # 0: it was faster than the signal
        assert time.monotonic() - asked < PATIENCE + 2
        assert run.left_behind() == []
        lab.up(environment)
        assert lab.snapshot(environment)["pipeline"]["change sets"] == []


def test_ctrl_c_on_the_command_line_is_exit_code_130_and_says_how_to_go_on(lab: Lab, tmp_path: Path) -> None:
    with lab.environment() as environment:
        environ = {
            **os.environ, **lab.aws.variables,
            "TRANSACTION_PIPELINE_CACHE": str(tmp_path / "an empty cache, so that builds take a while"),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bootstrap.py"), "up", "--environment", environment, "--json", "--events"],
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "StepStarted" in line:
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to everything that runs in front
        _, said = process.communicate(timeout=PATIENCE + 10)
        assert process.returncode == 130
        assert "run the same command again" in said
        assert "Traceback" not in said


def test_what_is_slow_in_stack_2_is_made_while_images_are_built(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that take longer than stack 1: stack 2 is begun on placeholders, and the functions are switched later."""
    monkeypatch.setattr(release, "IMAGES_NEARLY", 0.05)
    really = release.acceptable_images

    def slow(deployment: Any, report: Any) -> Any:
        images = really(deployment, report)
        until = time.monotonic() + 30
        # A build that takes longer than all else, without a test that takes longer than it must.
        while (
            not any(isinstance(e, StepFinished) and "pipeline" in e.subject for e in told) and time.monotonic() < until
        ):
            time.sleep(0.02)
        return images

    monkeypatch.setattr(release, "acceptable_images", slow)
    told: list[Any] = []
    with lab.environment() as environment:
        deployment = lab.deployment(environment)
        done = release.release(deployment, told.append, by="a test")
        pipeline = f"transaction-pipeline-{environment}"
        stacks = [each.detail for each in told if isinstance(each, StepFinished) and each.subject == pipeline]
        assert stacks == ["created", "updated"]
        begun = next(i for i, e in enumerate(told) if isinstance(e, StepStarted) and e.subject == pipeline)
        pushed = next(i for i, e in enumerate(told) if isinstance(e, StepStarted) and e.step == "push")
        assert begun < pushed
        assert done.sample is not None
        expect_whole(lab, environment)


def test_a_first_release_that_does_not_answer_says_that_there_is_no_way_back(lab: Lab) -> None:
    with lab.environment() as environment:
        with lab.changed("\nraise RuntimeError('broken at import')\n"), pytest.raises(ReleaseError) as raised:
            lab.release(environment)
        assert "no earlier release" in str(raised.value.next_step)
        assert list_releases(lab.aws.client("ssm"), environment) == ()
        mended, _ = lab.release(environment)
        assert (mended.record and mended.record.number, mended.sample and mended.sample.outcome) == (1, "APPROVED")


def test_a_broken_change_of_the_template_is_taken_back_as_a_whole(lab: Lab) -> None:
    """Not only the images: what the release had changed of the stack is as it was, too."""
    with lab.environment() as environment:
        lab.release(environment)
        before = lab.snapshot(environment)
        toml = lab.root / "images" / "fraud-detection" / "function.toml"
        text = toml.read_text()
        try:
            toml.write_text(text.replace("memory = 1769", "memory = 1024"))
            with (
                lab.changed("\nraise RuntimeError('broken at import')\n"),
                pytest.raises(ReleaseError, match="taken back"),
            ):
                lab.release(environment)
        finally:
            toml.write_text(text)
        found = lab.snapshot(environment)
        found["images"] = before["images"]  # the broken image stays in its repository
        assert different(found, before) == []
