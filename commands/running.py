"""Commands that use or inspect a deployed environment: submit, redrive, explain, status."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.context import Context, Outcome
from commands.declared import Text, command, file, flag
from commands.next_steps import command_line, error_document, spelled
from commands.reading import read_text
from pipeline.core.aws_answers import image_uri
from pipeline.core.errors import NextStep, SettingsError

if TYPE_CHECKING:
    from pipeline.target import Target
    from pipeline.transactions.submissions import Summary


@command(
    "Submit a transaction, a file of them, or the input of an own workflow.",
    click.Argument(["transaction"], metavar="{JSON|--file FILE}", required=False),
    file("--file", "A .jsonl or .csv file of transactions.", exists=True),
    flag("--map", "With --file: through the entrance's bucket and Distributed Map; run it again to resume."),
    flag("--queue", "Put it into the entrance's queue, and do not wait for the answer."),
    file("--results", "With --file: where to record the result of each line."),
    click.Option(
        ["--workers"],
        type=click.IntRange(1, 256),
        default=16,
        show_default=True,
        help="With --file: concurrent submissions.",
    ),
)
def submit(
    context: Context, *, transaction: str | None, file: Path | None = None, map: bool = False, queue: bool = False,
    results: Path | None = None, workers: int = 16,
) -> Outcome:  # fmt: skip
    """Submit one transaction, as JSON text or - for standard input, or a whole file, and print the answers.

    With a workflow of its own, a project starts an execution with the JSON text as its input, and prints its output.
    Exit code 1 if a transaction got no answer, a line of the file was not submitted because it is malformed, or an
    execution failed.
    """
    if context.own_workflow is not None and context.described.workflow is None:
        return _execute(context, context.own_workflow.kind, transaction, file)
    context.require_transactions("nothing was submitted")
    if map and queue:
        raise click.UsageError("Give --map or --queue: they are two entrances.")
    if file is not None and transaction is None:
        return (_map_file if map else _queue_file if queue else _submit_file)(context, file, results, workers)
    if transaction is None or file is not None:
        raise click.UsageError("Give one transaction as JSON, or a file with --file.")
    if map:
        raise click.UsageError("--map is for a file: give one with --file.")
    text = read_text(sys.stdin.buffer, "standard input") if transaction == "-" else transaction
    return _queue_text(context, text) if queue else submit_text(context, text)


def submit_text(context: Context, text: str) -> Outcome:
    """Submit one transaction, given as JSON."""
    from pipeline.target import explained
    from pipeline.transactions.submit import submit as submit_transaction

    with explained(context.target_name, "the transaction was not submitted"):
        target = context.running_target()
        answer = submit_transaction(target.client("stepfunctions"), _output(context, target, "StateMachineArn"), text)
    lines = [f"{answer.transaction_id or '(no id)'}  {answer.outcome}{'  (given before)' if answer.repeat else ''}"]
    for reason in answer.reasons:
        field = f" {reason['field']}" if reason.get("field") else ""
        lines.append(f"  {reason['source']}/{reason['rule']}{field}: {reason['message']}")
    return Outcome(answer.to_json(), "\n".join(lines))


def _execute(context: Context, kind: str, given: str | None, file: Path | None) -> Outcome:
    """Start an execution of the project's own workflow."""
    from pipeline.core.documents import parse_unambiguous_json
    from pipeline.operations.execute import execute
    from pipeline.target import explained

    if given is None or file is not None:
        raise click.UsageError("Give the input of one execution as JSON; files are of transactions.")
    text = read_text(sys.stdin.buffer, "standard input") if given == "-" else given
    try:
        parse_unambiguous_json(text)
    except ValueError as error:
        raise click.UsageError(f"The input is not JSON: {error}.") from error
    with explained(context.target_name, "no execution was started"):
        target = context.running_target()
        arn = _output(context, target, "StateMachineArn", "no execution was started")
        executed = execute(target.client("stepfunctions"), arn, text, kind=kind)
    lines = [f"{executed.status}  {executed.execution.rpartition('submit-')[2]}"]
    lines.append(f"  {executed.why}" if executed.failed else json.dumps(executed.output, indent=2, ensure_ascii=False))
    return Outcome(executed.to_json(), "\n".join(lines), 1 if executed.failed else 0)


def _map_file(context: Context, path: Path, results: Path | None, workers: int) -> Outcome:
    """Submit a file through the entrance ``files``, then on its own what the map left without a result."""
    from cfn.entrances.outputs import FILES_BUCKET, FILES_STATE_MACHINE
    from pipeline.target import explained
    from pipeline.transactions.files.mapped import Entrance, map_file, put_report
    from pipeline.transactions.results_file import Origin, default_results

    what, started = f"{path} was not submitted to its end", time.monotonic()
    if "files" not in context.settings.entrances:
        raise _without_entrance(context, what, "files")
    results = results or default_results(path)
    with explained(context.target_name, what):
        target = context.running_target()
        arn = _output(context, target, "StateMachineArn", what)
        entrance = Entrance(
            _output(context, target, FILES_BUCKET, what), _output(context, target, FILES_STATE_MACHINE, what)
        )
        origin = Origin(target.place(arn), arn)
        s3 = target.client("s3")
        run = map_file(
            s3, target.client("stepfunctions"), entrance, path, results=results, origin=origin, report=context.report
        )
    summary = _submitted(context, path, results, workers)
    if run is None:
        return _file_outcome(context, summary)
    outcome = _file_outcome(
        context, replace(summary, before=summary.before - run.fetched, seconds=time.monotonic() - started)
    )
    with explained(context.target_name, f"the report of {path} was not stored"):
        report = put_report(s3, entrance, run, path, results=results, origin=origin)
    place = f"s3://{entrance.bucket}/{run.folder}/"
    result = {**outcome.result, "mapped": run.fetched, "execution": run.execution, "place": place, "report": report}
    lines = [f"{run.fetched:,} results came from the Map Run of {run.execution}", f"report and results in {place}"]
    return Outcome(result, "\n".join((outcome.text, *lines)), outcome.exit_code)


def _queue_text(context: Context, text: str) -> Outcome:
    """Put one transaction, given as JSON, into the queue of the entrance."""
    from pipeline.target import explained
    from pipeline.transactions.enqueue import enqueue

    output = _queue_output(context)
    with explained(context.target_name, "the transaction was not queued"):
        target = context.running_target()
        queued = enqueue(target.client("sqs"), _output(context, target, output, "the transaction was not queued"), text)
    line = f"{queued.transaction_id}  queued as message {queued.message_id}"
    return Outcome(queued.to_json(), f"{line}\nNext: {command_line(context, 'explain', queued.transaction_id)}")


def _queue_file(context: Context, path: Path, results: Path | None, workers: int) -> Outcome:
    from pipeline.target import explained
    from pipeline.transactions.enqueue import enqueue_file

    what, output = f"{path} was not queued to its end", _queue_output(context)
    with explained(context.target_name, what):
        target = context.running_target()
        url = _output(context, target, output, what)
        summary = enqueue_file(
            target.client("sqs"),
            url,
            path,
            results=results,
            place=target.place(_output(context, target, "StateMachineArn", what)),
            workers=workers,
            report=context.report,
        )
    return _file_outcome(context, summary)


def _queue_output(context: Context) -> str:
    """The output of the stack with the URL of the entrance's queue. Raises SettingsError without the entrance."""
    from cfn.names import pascal_case
    from cfn.settings import Entrance

    for source in context.sources:
        if source.definition.entrance is Entrance.QUEUE:
            return f"{pascal_case(source.name)}QueueUrl"
    raise _without_entrance(context, "nothing was queued", "queue")


def _without_entrance(context: Context, what: str, entrance: str) -> SettingsError:
    return SettingsError(
        what,
        f"{context.environment} has no entrance {entrance}",
        NextStep(f'Write entrances = ["{entrance}"] into environments.toml, and deploy it', ("up",)),
    )


def _submit_file(context: Context, path: Path, results: Path | None, workers: int) -> Outcome:
    return _file_outcome(context, _submitted(context, path, results, workers))


def _submitted(context: Context, path: Path, results: Path | None, workers: int) -> Summary:
    from pipeline.target import explained
    from pipeline.transactions.claims import read_claim
    from pipeline.transactions.submissions import submit_file

    with explained(context.target_name, f"{path} was not submitted to its end"):
        target = context.running_target()
        arn = _output(context, target, "StateMachineArn")
        table = _output(context, target, "StateTableName")
        return submit_file(
            target.client("stepfunctions"),
            arn,
            path,
            results=results,
            place=target.place(arn),
            workers=workers,
            decided=lambda identifier: read_claim(target.client("dynamodb"), table, identifier).decided,
            report=context.report,
        )


def _file_outcome(context: Context, summary: Summary) -> Outcome:
    lines = [f"{name:<12} {count:>9,}" for name, count in sorted(summary.counts.items())]
    lines += [f"line {number}: malformed, {why}" for number, why in summary.malformed[:20]]
    lines += [f"line {number}: unanswered, {why}" for number, why in summary.unanswered[:20]]
    done = f"{summary.lines:,} lines, {summary.before:,} of them done before"
    lines.append(f"{done}, {summary.per_second:.0f} a second; results in {summary.results}")
    if summary.counts.get("parked"):
        lines.append(f"Next: {command_line(context, 'redrive')}")
    elif summary.unanswered:
        lines.append("Next: run the same command again; answered lines are skipped")
    return Outcome(summary.to_json(), "\n".join(lines), 1 if summary.without_answer else 0)


@command(
    "Submit parked transactions again.",
    flag("--dry-run", "Only list parked transactions and their errors."),
    flag("--lost", "First search the whole table for claims that a lost execution left, and park them."),
    click.Option(["--id", "transaction_id"], metavar="ID", type=Text(), help="Only this transaction."),
    click.Option(["--limit"], type=click.IntRange(min=1), metavar="N", help="At most N transactions."),
)
def redrive(
    context: Context, *, dry_run: bool, transaction_id: str | None, limit: int | None, lost: bool = False
) -> Outcome:
    """Submit parked transactions again. A message is deleted once its answer is recorded.

    Exit code 1 if a transaction stays parked.
    """
    from pipeline.core.shown import shown
    from pipeline.target import explained
    from pipeline.transactions.lost import park_lost
    from pipeline.transactions.parked import HOLD_SECONDS
    from pipeline.transactions.redrive import Redriver, Result
    from pipeline.transactions.redrive import redrive as redrive_parked

    context.require_transactions("nothing was redriven")
    with explained(context.target_name, f"nothing of {context.environment} was redriven"):
        target = context.running_target()
        redriver = Redriver(
            target.client("sqs"),
            target.client("dynamodb"),
            target.client("stepfunctions"),
            _output(context, target, "DeadLetterQueueUrl"),
            _output(context, target, "StateTableName"),
            _output(context, target, "StateMachineArn"),
        )
        found = park_lost(redriver.dynamodb, redriver.table, dry_run=dry_run, report=context.report) if lost else []
        done = redrive_parked(
            redriver, dry_run=dry_run, transaction_id=transaction_id, limit=limit, report=context.report
        )
    result, lines = done.to_json(), []
    if lost:
        result["lost"] = found
        lines.append(f"{len(found) or 'no'} lost {'claim' if len(found) == 1 else 'claims'} found")
    for each in done.messages:
        outcome = each.answer.outcome if each.answer else str(each.result)
        message = each.message
        # The content of a message is untrusted.
        lines.append(f"{shown(message.transaction_id or '(no id)')}  {outcome}")
        lines.append(f"  parked by {shown(message.state)} at {shown(message.parked_at)}: {shown(message.error)}")
        if each.why:
            lines.append(f"  {shown(each.why)}")
    if done.messages and dry_run:
        lines.append(f"{len(done.messages)} parked; nothing was submitted")
    elif done.messages:
        lines.append(f"{done.counts[Result.ANSWERED]} redriven, {done.remaining} still parked")
    elif not done.held:
        lines.append(f"nothing of {transaction_id} is parked" if transaction_id is not None else "nothing is parked")
    if done.limited:
        lines.append("the limit ended it, so there may be more")
    if done.held:
        minutes = HOLD_SECONDS // 60
        lines.append(
            f"about {done.held} are held by another or a killed redrive; they are available again within"
            f" {minutes} minutes"
        )
    if done.stopped is not None:
        lines.append(f"{done.stopped.what}: {done.stopped.why}. {spelled(context, done.stopped.next_step)}")
        result["stopped"] = error_document(context, done.stopped)
    failed = (done.remaining and not dry_run) or done.stopped is not None
    return Outcome(result, "\n".join(lines), 1 if failed else 0)


@command(
    "Show what happened to a transaction.",
    click.Argument(["transaction_id"], metavar="ID", type=Text()),
    file("--svg", "Draw its path through the state machine.", names=("picture",)),
)
def explain(context: Context, *, transaction_id: str, picture: Path | None) -> Outcome:
    """Show a transaction's path through the state machine: states, times, images, rules and reasons."""
    from pipeline.core.files import storing, write_atomically
    from pipeline.stacks import read_stack
    from pipeline.target import explained
    from pipeline.transactions.explain import explain as explain_transaction
    from pipeline.transactions.ways import read_definition

    context.require_transactions(f"{transaction_id} was not explained")
    with explained(context.target_name, f"{transaction_id} was not explained"):
        target = context.running_target()
        table = _output(context, target, "StateTableName", f"{transaction_id} was not explained")
        stack = read_stack(target.client("cloudformation"), context.names.pipeline_stack)
        groups = {source.name: context.names.log_group(source.name) for source in context.sources}
        story = explain_transaction(
            target.client("dynamodb"),
            target.client("logs"),
            table=table,
            transaction_id=transaction_id,
            definition=read_definition(json.loads(stack.template)),
            log_groups=groups | {"state machine": context.names.state_machine_log_group},
        )
    result, text = story.to_json(), story.text()
    if picture is not None:
        with storing(picture, "name another file"):
            write_atomically(picture, story.svg().encode())
        result["picture"] = str(picture)
        text += f"\n\nIts path is drawn in {picture}"
    return Outcome(result, text)


@command("Show stacks and functions.")
def status(context: Context) -> Outcome:
    """Show both stacks, the state and image of each function, and what was changed outside of the stack."""
    from cfn.names import image_parameter
    from cfn.placeholder import placeholder_digest
    from commands.expiring import when
    from pipeline.drift.function_drift import deployed_functions, drift_of, read_drift
    from pipeline.release.expiry import judge_expiry
    from pipeline.stacks import read_stack
    from pipeline.target import explained

    with explained(context.target_name, f"the status of {context.environment} was not read"):
        target = context.running_target()
        cloudformation = target.client("cloudformation")
        names = context.names
        stacks = [read_stack(cloudformation, name) for name in (names.registry_stack, names.pipeline_stack)]
        placeholder = placeholder_digest(context.settings.architecture)
        functions = []
        parameters = {} if stacks[1].status.gone else stacks[1].parameters
        known = {image_parameter(source.name): names.function(source.name) for source in context.sources}
        current = [name for parameter, name in known.items() if parameter in parameters]
        for name in (*current, *_orphans({name: parameters[name] for name in parameters.keys() - known.keys()})):
            found = _function(target.client("lambda"), name, str(placeholder))
            functions.append(found | {"has_folder": name in current})
        drifted = drift_of(read_drift(target.client("lambda"), deployed_functions(stacks[1])))
        ages = [each.age for each in stacks if each.age is not None]
        expiry = judge_expiry(context.environment, ages)
        expiring = expiry.at if expiry is not None else None
    result = {
        "environment": context.environment,
        "target": context.target_name,
        "stacks": [{"name": stack.name, "status": str(stack.status)} for stack in stacks],
        "functions": functions,
        "drift": [each.to_json() for each in drifted],
        **({"expires_at": expiring.isoformat(timespec="seconds")} if expiring is not None else {}),
    }
    lines = [f"{stack.name:<40} {stack.status}" for stack in stacks]
    lines += [
        f"{each['name']:<40} {each['state']:<10} {each['digest'][:19]}{'  placeholder' if each['placeholder'] else ''}"
        + ("" if each["has_folder"] else f"  its folder is gone, so it is deleted by {command_line(context, 'up')}")
        for each in functions
    ]
    if expiring is not None:
        lines.append(f"expires {when(expiring)}, unless it is changed before")
    lines += [f"changed outside of the stack: {each.text}" for each in drifted]
    if drifted:
        lines += ["", f"Next: {command_line(context, 'up', '--revert-drift')} puts it back"]
    return Outcome(result, "\n".join(lines))


def _orphans(parameters: Mapping[str, str]) -> list[str]:
    """Deployed functions without a folder, from the stack's image parameters."""
    from cfn.names import image_parameter
    from pipeline.oci.values import ImageReference

    images = [value for name, value in parameters.items() if name.endswith(image_parameter("")) and "@sha256:" in value]
    return sorted(ImageReference.parse(image).repository for image in images)


def _function(client: Any, name: str, placeholder: str) -> dict[str, Any]:
    try:
        found = client.get_function(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        gone = {"state": "gone", "image": None, "digest": "", "placeholder": False, "config_sha256": None}
        return {"name": name, **gone}
    image = image_uri(found)
    digest = image.partition("@")[2]
    return {
        "name": name,
        "state": found["Configuration"].get("State", "Active"),
        "image": image,
        "digest": digest,
        "placeholder": digest == placeholder,
        # Equal hashes of two moments mean that nothing in the configuration was changed between them.
        "config_sha256": found["Configuration"].get("ConfigSha256"),
    }


def _output(context: Context, target: Target, key: str, what: str = "nothing was submitted") -> str:
    """An output of the pipeline stack. Raises StackError with ``what`` if it has none."""
    from pipeline.core.errors import NextStep, StackError
    from pipeline.stacks import read_stack

    stack = read_stack(target.client("cloudformation"), context.names.pipeline_stack)
    value = stack.outputs.get(key)
    if value is None:
        lacks = "state machine" if key == "StateMachineArn" else key
        raise StackError(
            what,
            f"the stack {stack.name} is {stack.status} and has no {lacks}",
            NextStep("Deploy it", ("up",)),
        )
    return value
