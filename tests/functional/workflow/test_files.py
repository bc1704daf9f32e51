"""The entrance for files on the embedded AWS: each line gets one answer or one parked message, whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfn.entrances.outputs import FILES_BUCKET, FILES_STATE_MACHINE
from pipeline.core.errors import SubmissionError
from pipeline.core.events import Event, Submitted
from pipeline.transactions.files.mapped import Entrance, MapRun, map_file, put_report
from pipeline.transactions.results_file import Done, Origin, default_results, open_results
from pipeline.transactions.submissions import Summary, submit_file
from tests.functional.workflow_lab import Lab, running_lab


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("files lab")) as lab:
        lab.deploy(files=True, patience_seconds=30)
        yield lab


@pytest.fixture
def lab(started: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.transactions.files.mapped._POLL_SECONDS", 0.05)
    started.clear()
    return started


def entrance(lab: Lab) -> Entrance:
    return Entrance(lab.outputs[FILES_BUCKET], lab.outputs[FILES_STATE_MACHINE])


def origin(lab: Lab) -> Origin:
    return Origin("", lab.machine)


def mapped(lab: Lab, path: Path, report: Callable[[Event], None] = lambda _: None) -> MapRun | None:
    return map_file(
        lab.client("s3"), lab.client("stepfunctions"), entrance(lab), path, results=default_results(path),
        origin=origin(lab), report=report,
    )  # fmt: skip


def finish(lab: Lab, path: Path) -> Summary:
    """What ``submit --file --map`` does after the map."""
    return submit_file(lab.client("stepfunctions"), lab.machine, path)


def results(lab: Lab, path: Path) -> dict[int, Done]:
    with open_results(default_results(path), origin(lab)) as file:
        return dict(file.done)


def line(name: str, **more: Any) -> str:
    return json.dumps({"transaction_id": name, "amount": "1.00", "currency": "USD", **more}) + "\n"


def file_of(folder: Path, prefix: str, count: int, **more: Any) -> Path:
    path = folder / f"{prefix}.jsonl"
    path.write_text("".join(line(f"{prefix}-{number}", **more) for number in range(count)))
    return path


def executions(lab: Lab) -> list[dict[str, Any]]:
    machine = lab.outputs[FILES_STATE_MACHINE]
    found: list[dict[str, Any]] = lab.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    return found


def ended(lab: Lab, arn: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while (found := lab.client("stepfunctions").describe_execution(executionArn=arn))["status"] == "RUNNING":
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return dict(found)


def incoming(lab: Lab, key: str, body: bytes) -> dict[str, Any]:
    """The ended execution that an object starts."""
    before = {each["executionArn"] for each in executions(lab)}
    lab.client("s3").put_object(Bucket=lab.outputs[FILES_BUCKET], Key=f"incoming/{key}", Body=body)
    until = time.monotonic() + 30
    while not (new := [each for each in executions(lab) if each["executionArn"] not in before]):
        assert time.monotonic() < until
        time.sleep(0.05)
    return ended(lab, new[0]["executionArn"])


def written(lab: Lab, execution: dict[str, Any]) -> list[dict[str, Any]]:
    """The records that an execution's Map Run wrote for lines with a result."""
    s3, bucket = lab.client("s3"), lab.outputs[FILES_BUCKET]
    place = json.loads(execution["output"])["ResultWriterDetails"]
    manifest = json.loads(s3.get_object(Bucket=place["Bucket"], Key=place["Key"])["Body"].read())
    return [
        json.loads(each)
        for file in manifest["ResultFiles"]["SUCCEEDED"]
        for each in s3.get_object(Bucket=bucket, Key=file["Key"])["Body"].read().splitlines()
    ]


def test_an_object_in_the_bucket_is_answered_line_by_line(lab: Lab) -> None:
    body = line("in-1") + line("in-2", score=60) + '{"transaction_id":"in-3"}\n' + line("in-1", amount="2.00")
    body += "[1]\n" + "".join(line(f"in-{number}") for number in range(5, 16))
    execution = incoming(lab, "one.jsonl", body.encode())
    assert execution["status"] == "SUCCEEDED", execution
    assert json.loads(execution["output"])["items"]["Succeeded"] == 16
    found = {each["item"]: each["answer"]["outcome"] for each in written(lab, execution)}
    assert sorted(found) == list(range(16))
    assert [found[number] for number in (1, 2, 4)] == ["REVIEW", "REJECTED", "REJECTED"]
    assert {found[0], found[3]} == {"APPROVED", "CONFLICT"}
    assert {found[number] for number in range(5, 16)} == {"APPROVED"}
    assert (lab.record("in-1") or {})["execution"].startswith("file-")


def test_a_csv_object_is_answered_too(lab: Lab) -> None:
    execution = incoming(lab, "rows.CSV", b"transaction_id,amount,currency\nrow-1,1.00,USD\nrow-2,2.00,\n")
    assert execution["status"] == "SUCCEEDED", execution
    assert Counter(each["answer"]["outcome"] for each in written(lab, execution)) == {"APPROVED": 1, "REJECTED": 1}


def test_an_object_with_a_line_of_its_own_start_has_one_execution(lab: Lab, tmp_path: Path) -> None:
    before = len(executions(lab))
    mapped(lab, file_of(tmp_path, "once", 3))
    time.sleep(0.3)
    assert len(executions(lab)) == before + 1


@pytest.mark.parametrize(
    ("key", "body", "cause"),
    [
        ("latin.jsonl", '{"transaction_id":"ö"}\n'.encode("latin-1"), "is not UTF-8 at byte"),
        ("zipped.jsonl.gz", b"\x1f\x8b\x08\x00" + bytes(40), "is not UTF-8 at byte"),
        ("header.csv", b"transaction_id,amount,amount\nd-1,1,2\n", "headers cannot contain duplicates"),
        ("cut.jsonl", (line("cut-1") + '{"transaction_id":').encode(), "Line 2 of the object is not JSON"),
    ],
)
def test_an_object_that_cannot_be_read_fails_before_any_line(lab: Lab, key: str, body: bytes, cause: str) -> None:
    execution = incoming(lab, key, body)
    assert (execution["status"], execution["error"]) == ("FAILED", "States.ItemReaderFailed")
    assert cause in execution["cause"]
    assert lab.trace() == lab.parked() == []


def test_a_line_that_fits_into_no_batch_fails_the_map_run_before_any_line(lab: Lab) -> None:
    body = line("large-1") + line("large-2", note="x" * 300 * 1024)
    execution = incoming(lab, "large.jsonl", body.encode())
    assert (execution["status"], execution["error"]) == ("FAILED", "States.DataLimitExceeded")
    assert lab.trace() == []


def test_an_empty_object_has_no_results(lab: Lab) -> None:
    execution = incoming(lab, "empty.jsonl", b"")
    assert (execution["status"], written(lab, execution)) == ("SUCCEEDED", [])


def test_a_file_goes_through_the_map_and_into_the_results_file(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        line("m-1") + "\n{oops\n" + line("m-2", score=60, amount="2.50") + "[1]\n" + line("m-1")
        + '{"transaction_id":"m-3"}\n' + line("m-4", note="x" * 300 * 1024)
    )  # fmt: skip
    events: list[Event] = []
    run = mapped(lab, path, events.append)
    assert run is not None
    assert run.fetched == 5
    last = [each for each in events if isinstance(each, Submitted)][-1]
    assert (last.done, last.total, last.outcomes) == (5, 5, {"succeeded": 5})
    summary = finish(lab, path)
    assert (summary.lines, summary.before) == (7, 5)
    assert summary.counts == {"APPROVED": 2, "REVIEW": 1, "REJECTED": 3, "malformed": 1}
    found = results(lab, path)
    assert {number: each.outcome for number, each in found.items()} == {
        1: "APPROVED", 3: "malformed", 4: "REVIEW", 5: "REJECTED", 6: "APPROVED", 7: "REJECTED", 8: "REJECTED",
    }  # fmt: skip
    report = put_report(lab.client("s3"), entrance(lab), run, path, results=default_results(path), origin=origin(lab))
    assert report["sums"] == {"USD": {"APPROVED": "2.00", "REVIEW": "2.50"}}
    assert report["to_correct"] == {"REJECTED": [5, 7, 8], "malformed": [3]}
    stored = lab.client("s3").get_object(Bucket=entrance(lab).bucket, Key=f"{run.folder}/report.json")["Body"].read()
    assert json.loads(stored) == report


def test_the_same_file_again_submits_nothing(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "same", 12)
    mapped(lab, path)
    lab.trace()
    assert mapped(lab, path) is None
    default_results(path).unlink()
    again = mapped(lab, path)
    assert again is not None
    assert again.fetched == 12
    assert lab.trace() == []
    assert not any(each.repeat for each in results(lab, path).values())


def test_lines_with_a_result_by_another_way_are_not_submitted_again(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "rest", 3)
    finish(lab, path)
    lab.trace()
    path.write_text(path.read_text() + line("rest-3"))
    run = mapped(lab, path)
    assert run is not None
    assert (run.lines, run.fetched) == (1, 1)
    assert results(lab, path)[4].transaction_id == "rest-3"
    assert len([each for each in lab.trace() if each["state"] == "Claim"]) == 1


def test_two_files_with_the_same_ids_get_one_decision_each(lab: Lab, tmp_path: Path) -> None:
    one = file_of(tmp_path, "shared", 4)
    other = tmp_path / "other.jsonl"
    other.write_text(one.read_text() + line("shared-0", amount="9.00"))
    mapped(lab, one)
    mapped(lab, other)
    found = results(lab, other)
    assert [found[number].outcome for number in range(1, 6)] == ["APPROVED"] * 4 + ["CONFLICT"]
    assert all(found[number].repeat for number in range(1, 5))


def test_a_csv_file_is_read_as_without_the_map(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('transaction_id,amount,currency\nc-1,1.00,USD\nc-2,1.00\n"c-3","2.00",\n')
    mapped(lab, path)
    assert finish(lab, path).counts == {"APPROVED": 1, "REJECTED": 1, "malformed": 1}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.csv", "transaction_id,amount,amount\n", "its first row names 'amount' twice"),
        ("t.csv", "", "its first row names no fields"),
        ("t.jsonl.gz", "", "unknown file format '.gz'"),
    ],
)
def test_a_file_that_cannot_be_used_uploads_nothing(
    lab: Lab, tmp_path: Path, name: str, content: str, why: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    before = len(executions(lab))
    with pytest.raises(SubmissionError) as refused:
        mapped(lab, path)
    assert refused.value.why == why
    assert len(executions(lab)) == before


def test_the_results_file_cannot_be_the_file_itself(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch()
    with pytest.raises(SubmissionError, match="is the file itself"):
        map_file(
            lab.client("s3"), lab.client("stepfunctions"), entrance(lab), path, results=path, origin=origin(lab)
        )  # fmt: skip
    assert path.read_bytes() == b""


def test_a_file_without_a_good_line_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\x1f\x8b\x08\n"\xff"\n')
    assert mapped(lab, path) is None
    assert finish(lab, path).counts == {"malformed": 2}


def test_a_parked_line_is_parked_once_and_the_rest_answered(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "park", 20)
    lab.faults(lab.fault("Validate", times=2))
    mapped(lab, path)
    assert finish(lab, path).counts == {"APPROVED": 18, "parked": 2}
    assert len(lab.parked()) == 2


def test_a_map_run_stops_at_too_many_failures_and_is_redriven(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "stop", 60)
    # At least two batches of six, so more than 5 % of the lines.
    lab.faults(lab.fault("SubmitLine", error="Sfn.Broken", times=12))
    run = mapped(lab, path)
    assert run is not None
    assert run.fetched == 60
    described = lab.client("stepfunctions").describe_execution(
        executionArn=f"{entrance(lab).state_machine.replace(':stateMachine:', ':execution:')}:{run.execution}"
    )
    assert (described["status"], described["redriveCount"]) == ("SUCCEEDED", 1)
    assert finish(lab, path).counts == {"APPROVED": 60}


def test_an_execution_that_fails_again_says_so_and_the_next_run_goes_on(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "again", 40)
    lab.faults(lab.fault("SubmitLine", error="Sfn.Broken", times=1_000))
    with pytest.raises(SubmissionError, match=r"ended as FAILED with States\.ExceedToleratedFailureThreshold"):
        mapped(lab, path)
    lab.faults()
    run = mapped(lab, path)
    assert run is not None
    assert run.fetched == 40


def test_tolerated_failures_leave_an_incomplete_execution_and_are_submitted_on_their_own(
    lab: Lab, tmp_path: Path
) -> None:
    # A batch of these is less than 5 %.
    path = tmp_path / "few.jsonl"
    path.write_text("[1]\n" * 210)
    lab.faults(lab.fault("SubmitLine", error="Sfn.Broken", times=1))
    run = mapped(lab, path)
    assert run is not None
    assert run.fetched == 200
    assert executions(lab)[0]["status"] == "FAILED"
    summary = finish(lab, path)
    assert (summary.before, summary.counts) == (200, {"REJECTED": 210})


def test_an_aborted_map_run_is_redriven_by_the_next_run(lab: Lab, tmp_path: Path) -> None:
    path = file_of(tmp_path, "abort", 60)
    client = lab.client("stepfunctions")
    stopped: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, Submitted) and event.done and not stopped:
            arn = executions(lab)[0]["executionArn"]
            stopped.append(arn)
            client.stop_execution(executionArn=arn, error="Operator", cause="stop")

    run = mapped(lab, path, stop)
    assert stopped
    assert run is not None
    assert run.fetched == 60
    map_run = client.list_map_runs(executionArn=stopped[0])["mapRuns"]
    assert len(map_run) == 1
    described = client.describe_map_run(mapRunArn=map_run[0]["mapRunArn"])
    assert (described["status"], described["redriveCount"], described["itemCounts"]["succeeded"]) == (
        "SUCCEEDED",
        1,
        60,
    )
    assert finish(lab, path).counts == {"APPROVED": 60}


def test_two_runs_of_a_file_at_the_same_time_share_an_execution(lab: Lab, tmp_path: Path) -> None:
    one, other = file_of(tmp_path, "both", 20), tmp_path / "copy.jsonl"
    other.write_bytes(one.read_bytes())
    before = len(executions(lab))
    threads = [threading.Thread(target=mapped, args=(lab, path)) for path in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(executions(lab)) == before + 1
    assert len(results(lab, one)) == len(results(lab, other)) == 20


ITEMS = [{"verdict": "true"}, {"verdict": "false"}, {"verdict": "mostly-true"}]
READER = {
    "Resource": "arn:aws:states:::s3:getObject",
    "Arguments": {"Bucket": "{% $states.input.Bucket %}", "Key": "{% $states.input.Key %}"},
}
BATCHED = {"Items": ITEMS[:2]}
_NOT = 'The ToleratedFailure%sPath field refers to value "%s" which is not a valid %s: $.V'
FAILED = "An error occurred while executing the state 'MapState' (entered at the event id #2). "


def run_map(lab: Lab, given: Any, query: str, state: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a machine of one Distributed Map state on an object of ITEMS: its end, and its history."""
    client, bucket = lab.client("stepfunctions"), lab.outputs[FILES_BUCKET]
    lab.client("s3").put_object(Bucket=bucket, Key="incoming-not/file.json", Body=json.dumps(ITEMS).encode())
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "Pass",
        "States": {"Pass": {"Type": "Pass", "End": True}},
    }
    map_state = {"Type": "Map", "ItemProcessor": processor, "End": True, **state}
    role = client.describe_state_machine(stateMachineArn=lab.outputs[FILES_STATE_MACHINE])["roleArn"]
    machine = client.create_state_machine(
        name=f"{lab.names.files_state_machine}-{time.monotonic_ns()}",
        definition=json.dumps({"QueryLanguage": query, "StartAt": "MapState", "States": {"MapState": map_state}}),
        # Its policies name another machine and other objects, so a role of a test may do everything.
        roleArn=_free_role(lab, role),
    )["stateMachineArn"]
    arn = client.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    return ended(lab, arn), client.get_execution_history(executionArn=arn)["events"]


def _free_role(lab: Lab, like: str) -> str:
    iam, name = lab.client("iam"), "free-map"
    try:
        trust = iam.get_role(RoleName=like.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
        arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"])
    except iam.exceptions.EntityAlreadyExistsException:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    return arn


@pytest.mark.parametrize(
    ("query", "given", "state", "output"),
    [
        pytest.param(
            "JSONata",
            {"MaxItemsPerBatch": 2, "MaxInputBytesPerBatch": 15000},
            {
                "ItemReader": {**READER, "ReaderConfig": {"InputType": "JSON", "MaxItems": 2}},
                "ItemBatcher": {
                    "MaxItemsPerBatch": "{% $states.input.MaxItemsPerBatch %}",
                    "MaxInputBytesPerBatch": "{% $states.input.MaxInputBytesPerBatch %}",
                    "BatchInput": {"By": "{% $states.context.State.Name %}"},
                },
            },
            [{"BatchInput": {"By": "MapState"}, **BATCHED}],
            id="v2/scenarios: test_map_item_batching_base_json_max_per_batch_jsonata",
        ),
        pytest.param(
            "JSONata",
            {},
            {"ItemReader": {**READER, "ReaderConfig": {"InputType": "JSON", "MaxItems": "{% $maxItems := 2 %}"}}},
            ITEMS[:2],
            id="v2/scenarios: test_map_item_reader_base_json_max_items_jsonata",
        ),
        pytest.param(
            "JSONata",
            {"Items": ["1", "2"]},
            {
                "Items": "{% $states.input.Items %}",
                "ItemSelector": {"value": "{% $states.context.Map.Item.Value %}"},
                "Output": "{% {'all': $states.result} %}",
            },
            {"all": [{"value": "1"}, {"value": "2"}]},
            id="specified: Output and ItemSelector",
        ),
        pytest.param(
            "JSONPath",
            {"Items": [0], "ToleratedFailurePercentage": 1.1},
            {"ItemsPath": "$.Items", "ToleratedFailurePercentagePath": "$.ToleratedFailurePercentage"},
            [0],
            id="v2/scenarios: test_map_state_tolerated_failure_percentage_path[1.1]",
        ),
    ],
)
def test_a_map_answers_as_recorded(lab: Lab, query: str, given: dict[str, Any], state: Any, output: Any) -> None:
    given |= {"Bucket": lab.outputs[FILES_BUCKET], "Key": "incoming-not/file.json"}
    end, history = run_map(lab, given, query, state)
    assert (end["status"], json.loads(end["output"])) == ("SUCCEEDED", output)
    assert [each["type"] for each in history][2:-1] == [
        "MapStateStarted", "MapRunStarted", "MapRunSucceeded", "MapStateSucceeded", "MapStateExited",
    ]  # fmt: skip
    assert history[2]["mapStateStartedEventDetails"]["length"] == (0 if "ItemReader" in state else len(given["Items"]))


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("Percentage", -1.1, "ToleratedFailurePercentage must be between 0 and 100."),
        ("Percentage", 100.1, "ToleratedFailurePercentage must be between 0 and 100."),
        ("Percentage", {}, _NOT % ("Percentage", "{}", "float")),
        ("Count", -1, "ToleratedFailureCount cannot be negative."),
        ("Count", "NoNumber", _NOT % ("Count", "NoNumber", "integer")),
    ],
)
def test_limits_of_failures_are_refused_as_recorded(lab: Lab, name: str, value: Any, cause: str) -> None:
    end, history = run_map(
        lab, {"Items": [0], "V": value}, "JSONPath", {"ItemsPath": "$.Items", f"ToleratedFailure{name}Path": "$.V"}
    )
    assert (end["status"], end["error"], end["cause"]) == ("FAILED", "States.Runtime", FAILED + cause)
    assert [each["type"] for each in history][2:] == ["MapStateStarted", "ExecutionFailed"]


def test_an_item_reader_fails_as_recorded(lab: Lab) -> None:
    lab.client("s3").put_object(Bucket=lab.outputs[FILES_BUCKET], Key="object.json", Body=b'{"a":1}')
    given = {"Bucket": lab.outputs[FILES_BUCKET], "Key": "object.json"}
    end, history = run_map(lab, given, "JSONata", {"ItemReader": {**READER, "ReaderConfig": {"InputType": "JSON"}}})
    assert (end["error"], end["cause"]) == ("States.ItemReaderFailed", "Attempting to map over non-iterable node.")
    assert [each["type"] for each in history][2:] == [
        "MapStateStarted", "MapRunStarted", "MapRunFailed", "MapStateFailed", "ExecutionFailed",
    ]  # fmt: skip


def test_a_result_writer_answers_as_recorded(lab: Lab) -> None:
    bucket = lab.outputs[FILES_BUCKET]
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": bucket, "Prefix": "mapJobs"}}
    end, _history = run_map(lab, ["Hello", "World"], "JSONPath", {"ResultWriter": writer, "Label": "TestMap"})
    output = json.loads(end["output"])
    map_run = output["MapRunArn"]
    assert f"/TestMap:{map_run.rpartition(':')[2]}" in map_run
    place = {"Bucket": bucket, "Key": f"mapJobs/{map_run.rpartition(':')[2]}/manifest.json"}
    assert output == {"MapRunArn": map_run, "ResultWriterDetails": place}
    described = lab.client("stepfunctions").describe_map_run(mapRunArn=map_run)
    zero = dict.fromkeys(("aborted", "failed", "pending", "running", "timedOut"), 0)
    assert (
        described["itemCounts"]
        == described["executionCounts"]
        == zero | dict.fromkeys(("resultsWritten", "succeeded", "total"), 2)
    )


def test_an_execution_that_did_not_fail_is_not_redrivable(lab: Lab) -> None:
    client = lab.client("stepfunctions")
    execution = incoming(lab, "fine.jsonl", line("fine-1").encode())
    described = client.describe_execution(executionArn=execution["executionArn"])
    assert (described["redriveCount"], described["redriveStatus"]) == (0, "NOT_REDRIVABLE")
    assert described["redriveStatusReason"] == "Execution is SUCCEEDED and cannot be redriven"
    with pytest.raises(client.exceptions.ExecutionNotRedrivable):
        client.redrive_execution(executionArn=execution["executionArn"])
    with pytest.raises(client.exceptions.ExecutionDoesNotExist):
        client.redrive_execution(executionArn=execution["executionArn"] + "x")
