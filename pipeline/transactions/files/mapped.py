"""Submit a file through the bucket and the Distributed Map of the entrance ``files``, resumably.

The execution is named after the content of the file, so that nothing but AWS has to remember it: the next run of the
same file finds the execution, whatever became of this process, and follows, redrives or reads it. The results go into
the results file of ``submit_file``, which then submits what has none.
"""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from cfn.workflow.limits import FILES_RESULTS, FILES_SUBMITTED
from pipeline.core import interruption
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import SubmissionError
from pipeline.core.events import Note, Report, Submitted, ignore, step
from pipeline.core.files import cache_folder, storing
from pipeline.core.temporary import sweep, temporary_folder
from pipeline.transactions.files.file_report import report_of
from pipeline.transactions.files.simulation import file_cost
from pipeline.transactions.prices import Prices
from pipeline.transactions.results_file import Done, Origin, Results, open_results, require_other
from pipeline.transactions.submit import Parked, Unanswered, read_result
from pipeline.transactions.transaction_lines import Line, read_lines

# A longer line is submitted on its own: with the rest of a batch's input it could pass what an execution takes, which
# would end the whole Map Run.
LINE_MAX_BYTES = 200_000
# The most that one PutObject takes (Amazon S3 guide, Uploading objects): about 15 million transactions.
UPLOAD_MAX_BYTES = 5 << 30
# Executions of one content, each after the one before could not be redriven any more.
EXECUTIONS_MAX = 100
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Entrance:
    """The bucket and the state machine, as the stack's outputs name them."""

    bucket: str
    state_machine: str


@dataclass(frozen=True, slots=True)
class MapRun:
    """The Map Run whose results were fetched.

    folder   of its results in the bucket
    lines    that went through it
    fetched  lines that this run added to the results file
    """

    execution: str
    folder: str
    lines: int
    fetched: int


@dataclass(frozen=True, slots=True)
class _Content:
    """The lines of a file that go through the map, in the order of the uploaded object.

    numbers, digests  of each line; 16 hexadecimal digits are kept as a number, since there may be millions
    """

    path: Path
    sha256: str
    numbers: array[int]
    digests: array[int]


def map_file(
    s3_client: Any,
    sfn_client: Any,
    entrance: Entrance,
    path: Path,
    *,
    results: Path,
    origin: Origin,
    report: Report = ignore,
) -> MapRun | None:
    """Run the well-formed lines of a file through the map, and add their results to the results file.

    Lines that the results file has are not added again; if it has all of them nothing is run, and the result is None.
    Lines that are malformed or too long, or were not answered, are left to ``submit_file``.

    Raises SubmissionError if the file or the results file cannot be used, or if the execution failed again after it was
    redriven; the next run redrives it once more.
    """
    require_other(path, results)
    with open_results(results, origin) as file, temporary_folder(_copies()) as folder:
        content = _write_content(path, file, folder / "lines.jsonl")
        if content is None:
            return None
        if file.done and _describe(sfn_client, _arn(entrance, _name(content, 1))) is None:
            # Lines that have a result by another way need not be submitted again.
            content = _write_content(path, file, folder / "rest.jsonl", only_new=True) or content
        execution = _finished(s3_client, sfn_client, entrance, content, report)
        run = _map_run(sfn_client, execution["executionArn"])
        if run is None:
            raise _failed(path, execution)
        prefix = f"{FILES_RESULTS}/{run.rpartition(':')[2]}"
        with step(report, "fetch", path.name) as running:
            fetched = 0
            for done in _results(s3_client, entrance.bucket, prefix, content):
                before = file.done.get(done.number)
                if before is None or before.digest != done.digest or not before.final:
                    file.add(done)
                    fetched += 1
            running.detail = f"{fetched:,} results"
        if execution["status"] != "SUCCEEDED" and execution.get("error") != "Incomplete":
            raise _failed(path, execution)
        return MapRun(execution["name"], prefix, len(content.numbers), fetched)


def _copies() -> Path:
    """The folder of the files that are uploaded; removes what a killed process left there. Raises StorageError."""
    folder = cache_folder() / "uploads"
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    return folder


def _write_content(path: Path, file: Results, copy: Path, *, only_new: bool = False) -> _Content | None:
    """Write what is uploaded, the same for the same file. None if the results file has a result for every line.

    only_new  leaves lines out that have a result
    """
    numbers, digests, hasher, is_new = array("Q"), array("Q"), hashlib.sha256(), False
    with storing(copy), copy.open("wb") as target:
        for line in read_lines(path):
            text, is_done = b"" if line.why else _as_item(line), file.find(line) is not None
            if not text or len(text) > LINE_MAX_BYTES or (only_new and is_done):
                continue
            target.write(text)
            hasher.update(text)
            numbers.append(line.number)
            digests.append(int(line.digest, 16))
            is_new = is_new or not is_done
    return _Content(copy, hasher.hexdigest(), numbers, digests) if is_new else None


def _as_item(line: Line) -> bytes:
    # One line whatever the text is: a line end inside of JSON is only between its tokens, where a space is the same.
    return line.text.replace("\r", " ").replace("\n", " ").encode() + b"\n"


def _finished(s3_client: Any, sfn_client: Any, entrance: Entrance, content: _Content, report: Report) -> dict[str, Any]:
    """The execution of a content after it has ended: started, followed or redriven as its state requires."""
    redriven = False
    for number in range(1, EXECUTIONS_MAX + 1):
        name = _name(content, number)
        arn = _arn(entrance, name)
        execution = _describe(sfn_client, arn)
        if execution is None:
            _start(s3_client, sfn_client, entrance, content, name, report)
            execution = _follow(sfn_client, arn, content, report)
        while True:
            match execution["status"]:
                case "RUNNING" | "PENDING_REDRIVE":
                    execution = _follow(sfn_client, arn, content, report)
                case "SUCCEEDED":
                    return execution
                case _ if execution.get("error") == "Incomplete" or redriven:
                    return execution
                case _ if execution.get("redriveStatus") != "REDRIVABLE":
                    break  # its successor has another name
                case _:
                    with step(report, "redrive", name):
                        sfn_client.redrive_execution(executionArn=arn)
                    redriven = True
                    execution = _follow(sfn_client, arn, content, report)
    raise SubmissionError(
        "the file was not submitted",
        f"{EXECUTIONS_MAX} executions of it have failed",
        "Look at the last of them in the Step Functions console, and fix its cause.",
    )


def _name(content: _Content, number: int) -> str:
    return f"{content.sha256[:40]}-{number}"


def _arn(entrance: Entrance, name: str) -> str:
    return f"{entrance.state_machine.replace(':stateMachine:', ':execution:', 1)}:{name}"


def _describe(sfn_client: Any, arn: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = sfn_client.describe_execution(executionArn=arn)
    except ClientError as error:
        if error_code(error) == "ExecutionDoesNotExist":
            return None
        raise
    return found


def _start(s3_client: Any, sfn_client: Any, entrance: Entrance, content: _Content, name: str, report: Report) -> None:
    key = f"{FILES_SUBMITTED}/{content.sha256}.jsonl"
    if content.path.stat().st_size > UPLOAD_MAX_BYTES:
        raise SubmissionError(
            "the file was not submitted",
            f"its lines have {content.path.stat().st_size:,} bytes, and an upload has at most {UPLOAD_MAX_BYTES:,}",
            "Split it.",
        )
    with step(report, "upload", key) as running, content.path.open("rb") as body:
        s3_client.put_object(Bucket=entrance.bucket, Key=key, Body=body)
        running.detail = f"{len(content.numbers):,} lines"
    # The event of S3, as far as the state machine reads it.
    event = {"detail": {"bucket": {"name": entrance.bucket}, "object": {"key": key}}}
    try:
        sfn_client.start_execution(stateMachineArn=entrance.state_machine, name=name, input=json.dumps(event))
    except sfn_client.exceptions.ExecutionAlreadyExists:
        report(Note(f"{name} was started by another run"))


def _follow(sfn_client: Any, arn: str, content: _Content, report: Report) -> dict[str, Any]:
    """Report progress until an execution has ended."""
    started, total = time.monotonic(), len(content.numbers)
    while True:
        execution: dict[str, Any] = sfn_client.describe_execution(executionArn=arn)
        if run := _map_run(sfn_client, arn):
            items = sfn_client.describe_map_run(mapRunArn=run)["itemCounts"]
            ended = {
                name: items[key]
                for name, key in (("succeeded", "succeeded"), ("failed", "failed"), ("timed out", "timedOut"))
                if items[key]
            }
            report(Submitted("map", sum(ended.values()), total, time.monotonic() - started, ended))
        if execution["status"] not in ("RUNNING", "PENDING_REDRIVE"):
            return execution
        interruption.sleep(_POLL_SECONDS)


def _map_run(sfn_client: Any, arn: str) -> str | None:
    runs = sfn_client.list_map_runs(executionArn=arn)["mapRuns"]
    return str(max(runs, key=lambda run: run["startDate"])["mapRunArn"]) if runs else None


def _results(s3_client: Any, bucket: str, prefix: str, content: _Content) -> Iterator[Done]:
    """The results that a Map Run has written. What it could not answer has none."""
    try:
        body = s3_client.get_object(Bucket=bucket, Key=f"{prefix}/manifest.json")["Body"]
    except s3_client.exceptions.NoSuchKey:
        return
    for each in json.loads(body.read())["ResultFiles"]["SUCCEEDED"]:
        for text in s3_client.get_object(Bucket=bucket, Key=each["Key"])["Body"].iter_lines(1 << 20):
            if text:
                record = json.loads(text)
                item = record["item"]
                yield _done(record, content.numbers[item], f"{content.digests[item]:016x}")


def _done(record: dict[str, Any], number: int, digest: str) -> Done:
    """The entry of a result (``file-result.jsonata``) in the results file."""
    document = {"transaction_id": record.get("transaction_id")}
    result = {**record, "output": json.dumps(record.get("answer"))}
    try:
        answer = read_result(result, document, record["execution"])
    except Parked as error:
        return Done(number, digest, "parked", why=error.why, transaction_id=error.transaction_id)
    except Unanswered as error:
        return Done(number, digest, "unanswered", why=error.why)
    return Done(
        number, digest, answer.outcome, answer.repeat, transaction_id=answer.transaction_id, document=answer.to_json()
    )


def _failed(path: Path, execution: dict[str, Any]) -> SubmissionError:
    cause = f": {execution['cause']}" if execution.get("cause") else ""
    return SubmissionError(
        f"{path} was not completely submitted",
        f"the execution {execution['name']} ended as {execution['status']} with"
        f" {execution.get('error') or 'no error'}{cause}"[:600],
        "Fix the cause, then run the same command again: it redrives what has no result.",
    )


def put_report(
    s3_client: Any, entrance: Entrance, run: MapRun, path: Path, *, results: Path, origin: Origin
) -> dict[str, Any]:
    """Store what came of a file beside the results of its Map Run, and return it."""
    with open_results(results, origin) as file:
        report = report_of(read_lines(path), file.find).to_json()
    report |= {
        "execution": run.execution,
        "map_run": run.folder.rpartition("/")[2],
        "entrance_usd": round(file_cost(run.lines, Prices.load()), 6),
    }
    body = json.dumps(report, indent=1, ensure_ascii=False).encode("utf-8", "replace")
    s3_client.put_object(
        Bucket=entrance.bucket, Key=f"{run.folder}/report.json", Body=body, ContentType="application/json"
    )
    return report
