"""Commands that build and deploy: up, infra, down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cfn.names import pascal_case
from cfn.problems import Command as Words
from commands.asking import approval, confirm_name
from commands.context import Context, Outcome
from commands.declared import (
    BASE,
    BUILDER,
    NO_SBOM,
    RUNTIME,
    SKIP_REHEARSAL,
    YES,
    FilePath,
    command,
    flag,
    omit,
)
from commands.deploying import (
    alone,
    build_of,
    deployment_of,
    ended_if_unused,
    events_of_aws,
    exclusive,
    judge_project,
    local_stacks,
    lock_of,
)
from commands.next_steps import command_line
from commands.progress import seconds_text

if TYPE_CHECKING:
    from pipeline.release.release import Released
    from pipeline.release.teardown import Kept
    from pipeline.target import Target


@command(
    "Deploy everything: both phases.",
    click.Argument(
        ["plan"],
        metavar="[PLAN]",
        required=False,
        type=FilePath(exists=True, dir_okay=False, path_type=Path),
    ),
    BASE, BUILDER, NO_SBOM, RUNTIME,
    omit("--no-smoke", "smoke", "Do not test the release at the end."),
    flag("--skip-doctor", "On AWS, do not check the account first."),
    flag("--revert-drift", "Put back what was changed outside of the stacks."),
    SKIP_REHEARSAL, YES,
)  # fmt: skip
def up(
    context: Context, *, smoke: bool, sbom: bool, yes: bool, skip_doctor: bool = False, revert_drift: bool = False,
    repeat: Words = ("up",), plan: Path | None = None, ready: Callable[[], None] = lambda: None,
    rehearsed: bool = True,
) -> Outcome:  # fmt: skip
    """Deploy both phases: create repositories with placeholder images, build and push the images, switch to them.

    Ends with a sample transaction; without the transaction pipeline, each function that has events/smoke.json is
    invoked with it, and an own workflow executed with the project's. On AWS the account is checked first (see doctor);
    an error stops the command before anything changes.

    With PLAN, a file of plan --out, the release does exactly that: it is refused if the sources, the settings or one of
    the stacks changed after the plan was made, or if the plan is of another account, region or environment.

    --revert-drift updates both stacks with drift-aware change sets, and puts functions and their aliases back that
    still differ. It asks before data is lost, like any update.
    \f
    repeat  the command that the user ran; an error suggests it with --yes if data would be lost
    ready   called while the environment's lock is held, before any change
    """
    from commands.forecasts import remember
    from pipeline.bases.prebuilt_images import require_digests
    from pipeline.release.release import release
    from pipeline.target import explained

    started = time.monotonic()
    exactly = None
    if plan is not None and revert_drift:
        raise click.UsageError("--revert-drift cannot be combined with a plan, which reverts no drift.")
    if revert_drift:
        repeat = (*repeat, "--revert-drift")
    if plan is not None:
        from commands.plan_files import read_plan

        exactly, repeat = read_plan(plan), (*repeat, str(plan))
    build = build_of(context, sbom=sbom)  # first, so that bad input starts nothing
    require_digests(build.sources)
    judge_project(context)
    with (
        explained(context.target_name, f"{context.environment} was not released"),
        exclusive(context, "up"),
        ended_if_unused(context),
    ):
        ready()
        target = context.started_target()
        if not target.is_local and not skip_doctor:
            from commands.doctor import require_healthy

            require_healthy(context, target)
        with alone(context, target, "up") as by:
            deployment = deployment_of(context, target, build, approval(context, repeat, yes=yes), rehearse=rehearsed)
            if exactly is not None:
                from commands.plan_files import place_of
                from pipeline.release.planning import require_planned

                require_planned(deployment, exactly, context.report, place=place_of(target, by))
                deployment = replace(deployment, exactly=exactly)
            deployment = replace(deployment, revert_drift=revert_drift)
            released = release(deployment, context.report, by=by, smoke=smoke)
    seconds = time.monotonic() - started
    remember(context, released, seconds)
    return released_outcome(context, released, seconds)


def released_outcome(context: Context, released: Released, seconds: float) -> Outcome:
    """What a release did, with the next commands."""
    result: dict[str, Any] = {
        "environment": context.environment,
        "target": context.target_name,
        "changed": released.changed,
        "release": released.record.number if released.record else None,
        "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in released.stacks],
        "functions": [
            {"name": context.names.function(image.function), "image": image.uri, "digest": str(image.digest)}
            for image in released.functions
        ],
        "reverted": list(released.reverted),
        "seconds": {**released.seconds, "total": round(seconds, 3)},
    }
    head = f"{context.environment} is up on {context.target_name}"
    if released.record:
        head += f", release {released.record.number}"
    lines = [f"{head}{'' if released.changed else '; nothing had changed'}, {seconds_text(seconds)}"]
    lines += [f"  {context.names.function(image.function):<40} {image.digest.short}" for image in released.functions]
    if released.sample is not None:
        result["sample"] = {"transaction_id": released.sample.transaction_id, "outcome": released.sample.outcome}
        lines.append(f"  a sample transaction was answered: {released.sample.outcome}")
    if released.smoked:
        result["smoked"] = list(released.smoked)
        lines.append(f"  a smoke event was answered by {', '.join(released.smoked)}")
    if addresses := _addresses(context, released):
        result["addresses"] = addresses
        lines += [f"  {name:<40} {address}" for name, address in addresses.items()]
    for name, kinds in events_of_aws(context).items():
        lines.append(f"  {name}: {', '.join(kinds)} events come on AWS only; try it with invoke --event {kinds[0]}")
    return Outcome(result, "\n".join([*lines, "", *_use(context)]))


def _addresses(context: Context, released: Released) -> dict[str, str]:
    """Where HTTP is answered, by output of the pipeline stack: the API, and function URLs."""
    outputs: Mapping[str, str] = released.stacks[-1].values if released.stacks else {}
    elsewhere = events_of_aws(context)
    urls = [f"{pascal_case(each.name)}Url" for each in context.sources if "url" not in elsewhere.get(each.name, ())]
    return {name: outputs[name] for name in ("ApiUrl", *urls) if name in outputs}


def _use(context: Context) -> list[str]:
    """Suggested commands for a deployed environment."""
    from pipeline.release.smoke import SAMPLE

    first: Words = ("submit", json.dumps({"transaction_id": "test-123", **SAMPLE}, separators=(",", ":")))
    if context.own_workflow is not None:
        first = ("submit", context.own_workflow.smoke if 0 < len(context.own_workflow.smoke) <= 200 else "INPUT")
    elif not context.settings.has_transactions:
        source = next((each for each in context.sources if each.smoke), context.sources[0])
        first = ("invoke", source.name, _from_here(source.smoke) if source.smoke else "EVENT.json")
        if source.smoke is None and source.definition.events:
            first = ("invoke", source.name, "--event", str(source.definition.events[0].__struct_config__.tag))
    commands = [first, ("status",), *([] if context.runs_elsewhere else [("down",)])]
    return ["Next:", *(f"  {command_line(context, *command)}" for command in commands)]


def _from_here(path: Path) -> str:
    """The path, relative to the current folder if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@command("Deploy both stacks without building.", YES)
def infra(context: Context, *, yes: bool) -> Outcome:
    """Deploy both stacks without building. Functions keep their image; new ones run their placeholder."""
    from pipeline.release.release import prepare
    from pipeline.target import explained

    build = build_of(context)
    judge_project(context)
    what = f"the infrastructure of {context.environment} was not deployed"
    with explained(context.target_name, what), exclusive(context, "infra"), ended_if_unused(context):
        target = context.started_target()
        with alone(context, target, "infra"):
            deployment = deployment_of(context, target, build, approval(context, ("infra",), yes=yes))
            prepared = prepare(deployment, context.report)
    return Outcome(
        {
            "environment": context.environment,
            "changed": prepared.changed,
            "stacks": [{"name": stack.stack, "changed": stack.changed} for stack in prepared.stacks],
            "seconds": prepared.seconds,
        },
        f"both stacks of {context.environment} are deployed{'' if prepared.changed else '; nothing had changed'}\n\n"
        # Under docker compose the functions run images that compose built.
        + ("\n".join(_use(context)) if context.runs_elsewhere else f"Next:\n  {command_line(context, 'up')}"),
    )


@command(
    "Delete the environment.",
    flag("--keep-data", "Keep the table, the repositories and the logs."),
    flag("--yes", "Do not ask for the environment's name."),
    flag("--expired", "Instead, delete every environment here whose expires_after is over."),
)
def down(context: Context, *, keep_data: bool, yes: bool, expired: bool = False) -> Outcome:
    """Delete both stacks of the environment. The embedded AWS stops with its last environment.

    Deleting twice succeeds; an environment that never existed is an error if there are others.
    """
    from pipeline.core.errors import StackError
    from pipeline.core.locks import call_off
    from pipeline.local.host.control import stop_local
    from pipeline.release.environments import find_environments, require_known
    from pipeline.release.teardown import take_down
    from pipeline.target import explained

    if expired:
        from commands.expiring import down_expired

        return down_expired(context, keep_data=keep_data, yes=yes)
    confirm_name(context, yes=yes)
    local = context.target_name == "local"
    if local and not context.local_exists:
        nothing = {"deleted": [], "kept": [], "ledger": False, "watches": [], "stopped": False}
        return Outcome(nothing, f"{context.environment} does not exist")
    runs, what = local and context.local_runs, f"{context.environment} was not deleted"
    with explained(context.target_name, what), exclusive(context, "down"):
        # Starts a stopped embedded AWS: the environment is in its saved state.
        target = context.started_target()
        # First, so that no file saved meanwhile creates the environment again.
        watches = call_off(lock_of(context), command_line(context, "down"))
        with alone(context, target, "down"):
            done = take_down(target, context.names, context.report, keep_data=keep_data)
        others = ["aws"] if not local else local_stacks(context)
        if not (done.deleted or done.kept or done.ledger):
            try:
                require_known(
                    find_environments(target.client("cloudformation"), context.names), context.environment, what
                )
            except StackError:
                if local and not runs and not context.runs_elsewhere:
                    stop_local(context.local_folder)
                raise
    stopped = False
    if not others:
        stopped = stop_local(context.local_folder)
    lines = [*(f"deleted {name}" for name in done.deleted)]
    lines += ["deleted the ledger of releases"] if done.ledger else []
    lines += ["the embedded AWS stopped"] if stopped else []
    again = f"{command_line(context, 'watch')} deploys {context.environment} again"
    lines += [f"ended `watch` (process {process}); {again}" for process in watches]
    if done.kept:
        lines += ["", *_kept(context, done.kept, target, stopped=stopped)]
    result = {
        "deleted": list(done.deleted),
        "kept": [
            {
                "type": each.resource.resource_type,
                "name": each.resource.name,
                "command": _on_target(each.command, target),
            }
            for each in done.kept
        ],
        "ledger": done.ledger,
        "watches": list(watches),
        "stopped": stopped,
    }
    return Outcome(result, "\n".join(lines) or f"{context.environment} did not exist")


def _kept(context: Context, kept: Sequence[Kept], target: Target, *, stopped: bool) -> Iterator[str]:
    """The retained resources, the command that deletes each, and the command that uses them again."""
    if stopped:  # no command could reach them
        yield "Kept on disk:"
        yield from (f"  {each.resource.resource_type} {each.resource.name}" for each in kept)
        yield ""
        again = command_line(context, "up")
        yield f"Next: {again} uses them again; to delete them, delete {context.local_folder}"
        return
    first = f' after eval "$({command_line(context, "credentials")})"' if target.is_local else ""
    yield f"Kept, and the command that deletes each{first}:"
    for each in kept:
        yield f"  {each.resource.resource_type} {each.resource.name}"
        yield f"    {_on_target(each.command, target)}"
    yield ""
    yield f"Next: {command_line(context, 'up')} uses them again"


def _on_target(command: str, target: Target) -> str:
    """An AWS CLI command for the same endpoint and region."""
    where = f"aws --endpoint-url {target.endpoint}" if target.endpoint else "aws"
    return command.replace("aws ", f"{where} --region {target.region} ")
