"""Submitting a file of transactions to the real state machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from pipeline.core.errors import SubmissionError
from pipeline.core.events import Event, Submitted
from pipeline.transactions.claims import read_claim
from pipeline.transactions.results_file import default_results
from pipeline.transactions.submissions import GIVE_UP_AFTER, submit_file
from tests.functional.workflow_lab import ACCESS, ROOT, Lab, running_lab


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("submission lab")) as lab:
        lab.deploy(patience_seconds=1)
        yield lab


@pytest.fixture
def lab(started: Lab) -> Lab:
    started.clear()
    return started


def transactions(folder: Path, count: int, **more: Any) -> Path:
    path = folder / "t.jsonl"
    path.write_text(
        "".join(
            json.dumps({"transaction_id": f"t-{number}", "amount": "1.00", "currency": "USD", **more}) + "\n"
            for number in range(count)
        )
    )
    return path


def test_every_line_is_accounted_for(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    documents = [
        {"transaction_id": "a", "amount": "1.00", "currency": "USD"},
        {"transaction_id": "b", "amount": "1.00", "currency": "USD", "score": 60},
        {"transaction_id": "c"},
        {"transaction_id": "a", "amount": "2.00", "currency": "USD"},
        {"transaction_id": "a", "amount": "1.00", "currency": "USD"},
    ]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents) + "{oops\n")
    events: list[Event] = []
    summary = submit_file(lab.client("stepfunctions"), lab.machine, path, workers=1, report=events.append)
    assert summary.counts == {"APPROVED": 2, "CONFLICT": 1, "REJECTED": 1, "REVIEW": 1, "malformed": 1}
    assert (summary.lines, summary.before, summary.repeats) == (6, 0, 1)
    assert [number for number, _why in summary.malformed] == [6]
    assert json.loads(json.dumps(summary.to_json()))["malformed"][0]["line"] == 6
    last = events[-1]
    assert isinstance(last, Submitted)
    assert (last.done, last.total, last.outcomes["APPROVED"]) == (6, 6, 2)
    results = [json.loads(line) for line in default_results(path).read_text().splitlines()][1:]
    assert [result["line"] for result in results] == [1, 2, 3, 4, 5, 6]
    assert results[1]["answer"]["outcome"] == "REVIEW"


def test_input_that_step_functions_refuses_is_malformed_and_not_sent(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"transaction_id":"a","amount":1e400,"currency":"USD"}\n'
        '{"transaction_id":"b","amount":1,"currency":"USD","amount":2}\n'
        f'{{"transaction_id":"c","amount":{"9" * 400},"currency":"USD"}}\n'
    )
    summary = submit_file(lab.client("stepfunctions"), lab.machine, path)
    assert summary.counts == {"malformed": 3}
    assert [why.partition("JSON: ")[2] for _number, why in summary.malformed] == [
        "a number is out of range", "the name amount is repeated in an object", "a number is out of range",
    ]  # fmt: skip
    assert lab.trace() == lab.parked() == []


def test_a_csv_file_is_answered_too(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("transaction_id,amount,currency\na,1.00,USD\nb,2.00,\n")
    assert submit_file(lab.client("stepfunctions"), lab.machine, path).counts == {"APPROVED": 1, "REJECTED": 1}


def test_a_second_run_submits_nothing(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 20)
    submit_file(lab.client("stepfunctions"), lab.machine, path)
    lab.trace()
    summary = submit_file(lab.client("stepfunctions"), lab.machine, path)
    assert (summary.lines, summary.before, summary.counts) == (20, 20, {"APPROVED": 20})
    assert lab.trace() == []


def test_parked_lines_are_counted_and_not_submitted_again(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 5)
    lab.faults(lab.fault("Validate", times=2))
    for _twice in range(2):
        assert submit_file(lab.client("stepfunctions"), lab.machine, path).counts == {"APPROVED": 3, "parked": 2}
    assert len(lab.parked()) == 2


def test_lines_that_were_redriven_get_their_answer_in_the_next_run(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 3)
    lab.faults(lab.fault("Validate", error="PlaceholderImage", times=2))
    client, dynamodb = lab.client("stepfunctions"), lab.client("dynamodb")

    def decided(transaction_id: str) -> bool:
        return read_claim(dynamodb, lab.names.table, transaction_id).decided

    assert submit_file(client, lab.machine, path, decided=decided).counts == {"APPROVED": 1, "parked": 2}
    assert submit_file(client, lab.machine, path, decided=decided).counts == {"APPROVED": 1, "parked": 2}
    assert len(lab.parked()) == 2
    for number in range(3):
        lab.submit({"transaction_id": f"t-{number}", "amount": "1.00", "currency": "USD"})
    again = submit_file(client, lab.machine, path, decided=decided)
    assert (again.counts, again.repeats, again.without_answer) == ({"APPROVED": 3}, 2, 0)


def test_unanswered_lines_are_submitted_by_the_next_run(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 5)
    lab.faults(lab.fault("Record", when="die-after"))
    first = submit_file(lab.client("stepfunctions"), lab.machine, path)
    assert (first.counts, len(first.unanswered)) == ({"APPROVED": 4, "unanswered": 1}, 1)
    second = submit_file(lab.client("stepfunctions"), lab.machine, path)
    assert (second.counts, second.before, second.repeats) == ({"APPROVED": 5}, 4, 1)


@pytest.mark.at_length
def test_it_stops_after_repeated_unanswered_submissions(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 60)
    nobody = boto3.client(
        "stepfunctions", endpoint_url="http://127.0.0.1:9", region_name="us-east-1", aws_access_key_id="x",
        aws_secret_access_key="x", config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    with pytest.raises(SubmissionError, match="got no answer"):
        submit_file(nobody, lab.machine, path, workers=4)
    tried = default_results(path).read_text().splitlines()[1:]
    assert GIVE_UP_AFTER <= len(tried) <= GIVE_UP_AFTER + 4
    assert submit_file(lab.client("stepfunctions"), lab.machine, path).counts == {"APPROVED": 60}


@pytest.mark.at_length
def test_a_killed_run_is_resumed(lab: Lab, tmp_path: Path) -> None:
    path = transactions(tmp_path, 120)
    code = (
        "import sys; from pathlib import Path; import boto3; from botocore.config import Config;"
        "from pipeline.transactions.submissions import submit_file;"
        "client = boto3.client('stepfunctions', endpoint_url=sys.argv[1], region_name='us-east-1',"
        " config=Config(inject_host_prefix=False));"
        "submit_file(client, sys.argv[2], Path(sys.argv[3]), workers=4)"
    )
    key = {"AWS_ACCESS_KEY_ID": ACCESS.root.access_key_id, "AWS_SECRET_ACCESS_KEY": ACCESS.root.secret_access_key}
    child = subprocess.Popen(
        [sys.executable, "-c", code, lab.endpoint, lab.machine, str(path)], cwd=ROOT, env=os.environ | key
    )
    results, until = default_results(path), time.monotonic() + 30
    while (not results.exists() or results.read_bytes().count(b"\n") < 20) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = results.read_bytes().count(b"\n") - 1  # the first line names the AWS
    assert 19 <= done < 120
    time.sleep(2)  # let executions in flight end
    summary = submit_file(lab.client("stepfunctions"), lab.machine, path)
    assert (summary.counts, summary.before) == ({"APPROVED": 120}, done)
    decided = lab.client("dynamodb").scan(TableName=lab.names.table)["Items"]
    assert [item["attempts"]["N"] for item in decided] == ["1"] * 120
