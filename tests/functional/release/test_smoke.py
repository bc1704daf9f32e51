"""``make aws-smoke``: it refuses without an account's number, and its whole road is walked on the embedded AWS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from botocore.session import Session

from pipeline.core.files import cache_folder
from pipeline.local.host.control import find_local, stop_local
from pipeline.target import Target
from tests.aws.beliefs import BELIEFS
from tests.aws.smoke import END, LAST, ROAD, Smoke, Step, _names
from tests.functional.command_line import ROOT
from tests.functional.conftest import EmbeddedAws


def smoke(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "tests.aws.smoke", "--report", str(folder / "report.md"), *arguments],
        cwd=ROOT,
        env=clean | {
            "TRANSACTION_PIPELINE_LOCAL": str(folder / "local"),
            "TRANSACTION_PIPELINE_CACHE": str(cache_folder()),
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(folder),
        },
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip


@pytest.mark.parametrize("account", ["", "12345", "123456789012 ", "my-account"])
def test_without_the_number_of_an_account_it_only_says_what_it_costs(tmp_path: Path, account: str) -> None:
    done = smoke(tmp_path, "--account", account)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"costs about \d+\.\d\d USD", done.stderr)
    assert not {"report.md", "local"} & {path.name for path in tmp_path.iterdir()}


def test_without_credentials_nothing_is_done(tmp_path: Path) -> None:
    done = smoke(tmp_path, "--account", "123456789012", "--region", "eu-central-1")
    assert done.returncode == 2
    assert "nothing was done" in done.stderr


def test_the_number_of_another_account_is_refused(tmp_path: Path) -> None:
    try:
        done = smoke(tmp_path, "--account", "123456789012", "--target", "local")
        assert done.returncode == 2
        assert "the credentials are those of 000000000000" in done.stderr
        assert not (tmp_path / "report.md").exists()
    finally:
        stop_local(tmp_path / "local")


def test_the_whole_road(tmp_path: Path) -> None:
    done = smoke(tmp_path, "--account", "000000000000", "--target", "local")
    report = (tmp_path / "report.md").read_text()
    assert done.returncode == 0, report + done.stderr
    assert done.stdout == report + "\n"
    assert report.count("| ok: ") == len(ROAD) + len(END) + 1
    assert report.count("| held |") == sum(belief.emulated for belief in BELIEFS)
    assert LAST.shows in report
    assert "Left behind by `down`: nothing. Still there: nothing." in report
    assert "000000000000" not in report
    assert find_local(tmp_path / "local") is None


class Failing(Smoke):
    """A run whose steps fail from the ``first`` on, also by Ctrl-C, and which calls nothing."""

    def __init__(self, first: int, problem: BaseException | None = None) -> None:
        super().__init__("local", None, "smoke", lambda _: None)
        self.first, self.problem, self.done = first, problem, list[Step]()

    def _step(self, step: Step, project: Path) -> bool:
        self.done.append(step)
        if len(self.done) > self.first and step is not LAST:
            if self.problem:
                raise self.problem
            return False
        return True

    def _clear(self) -> None:
        self.report.left.append("table transaction-state-smoke")


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt(), subprocess.TimeoutExpired("up", 1)])
def test_everything_is_deleted_whatever_failed(problem: BaseException | None, tmp_path: Path) -> None:
    run = Failing(3, problem)
    with pytest.raises(type(problem)) if problem else nullcontext():
        run.run(tmp_path, tmp_path)
    assert run.done == [*ROAD[:4], LAST]
    assert run.report.failed
    assert "Left behind by `down`: `table transaction-state-smoke`." in run.report.text("local", "000000000000")


def test_what_down_leaves_behind_is_deleted_and_nothing_else(embedded_aws: EmbeddedAws) -> None:
    run = Smoke("local", None, "smoke-abc", lambda _: None)
    target = Target("local", "us-east-1", session(embedded_aws), embedded_aws.endpoint)
    for name in ("transaction-smoke-abc", "transaction-other-smoke-abcd"):
        embedded_aws.client("sqs").create_queue(QueueName=name)
        embedded_aws.client("ecr").create_repository(repositoryName=name)
        embedded_aws.client("logs").create_log_group(logGroupName=f"/aws/{name}")
        embedded_aws.client("sns").create_topic(Name=name)
        embedded_aws.client("dynamodb").create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST", DeletionProtectionEnabled=True,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Smoke, "target", target)
        run._clear()
    assert len(run.report.left) == 5
    assert run.report.stay == []
    assert {name for _, name in _names(target) if "smoke" in name} == {
        "transaction-other-smoke-abcd", "/aws/transaction-other-smoke-abcd"
    }  # fmt: skip


def session(aws: EmbeddedAws) -> Session:
    made = Session()
    made.set_credentials(aws.access_key_id, aws.secret_access_key)
    return made
