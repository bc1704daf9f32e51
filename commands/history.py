"""Commands about releases, past and next: plan, releases, rollback, prune."""

from __future__ import annotations

import os
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.asking import approval
from commands.context import Context, Outcome
from commands.declared import SKIP_REHEARSAL, YES, command, file, flag
from commands.deploying import alone, build_of, deployment_of, events_of_aws, exclusive, judge_project, releaser
from commands.next_steps import command_line
from pipeline.core.shown import counted

if TYPE_CHECKING:
    from pipeline.ledger.releases import Release
    from pipeline.release.planning import FunctionDecision, ReleasePlan, StackDecision


@command(
    "Show what `up` would change.",
    file("--out", "Also write the plan to this file, for `up FILE`."),
    flag("--drift", "Let CloudFormation find everything that was changed outside of the stacks."),
)
def plan(context: Context, *, out: Path | None = None, drift: bool = False) -> Outcome:
    """Show what `up` would change in both stacks and every function. Changes nothing; exit code 2 for a difference.

    With --out the plan is written as digests: of images, templates, parameters, and of both stacks as they are. `up
    FILE` then does exactly that, or is refused.

    Functions that were changed outside of their stack are always named. With --drift CloudFormation compares all other
    resources, too, which takes up to some minutes; the exit code is 2 for any difference, which `up --revert-drift`
    puts back.
    """
    from commands.forecasts import forecast, past_of
    from commands.plan_files import place_of, require_replaceable, write_plan
    from pipeline.forecast.release_times import read_past
    from pipeline.release.planning import plan_release
    from pipeline.target import explained

    if out is not None:
        if drift:
            raise click.UsageError("--drift cannot be combined with --out: a plan in a file reverts no drift.")
        require_replaceable(out)
    build = build_of(context)
    judge_project(context)
    with explained(context.target_name, f"{context.environment} was not planned"):
        target = context.running_target()
        place = place_of(target, releaser(context, target)) if out is not None else ""
        planned = plan_release(deployment_of(context, target, build), context.report, place=place, drift=drift)
    result, lines = plan_document(context, planned)
    document, said = forecast(planned, read_past(past_of(context)))
    result |= document
    lines += ["", *said]
    apply = ["up", "--revert-drift"] if drift and planned.drift.all else ["up"]
    if out is not None:
        write_plan(planned, out)
        result["out"] = str(out)
        apply.append(str(out))
    lines += ["", f"Next: {command_line(context, *apply)}" if planned.changes else "nothing would change"]
    return Outcome(result, "\n".join(lines), 2 if planned.changes else 0)


def plan_document(context: Context, planned: ReleasePlan) -> tuple[dict[str, Any], list[str]]:
    """The decisions of a plan as JSON, and as lines."""
    from commands.drift_lines import drift_document, drift_lines

    result: dict[str, Any] = {
        "environment": context.environment,
        "changes": planned.changes,
        "stacks": [_stack(decision) for decision in planned.stacks],
        "functions": [
            {
                "name": each.name,
                "from": each.before,
                "to": each.after,
                "changes": each.changes,
                "missing": each.missing,
                "why": each.why,
            }
            for each in planned.functions
        ],
    }
    known = planned.vulnerabilities
    if known is not None:
        result["vulnerabilities"] = known.document()
    if context.settings.entrances:
        result["entrances"] = [str(each) for each in context.settings.entrances]
    undelivered = events_of_aws(context)
    if undelivered:
        result["aws_only"] = {name: list(kinds) for name, kinds in undelivered.items()}
    lines = [line for decision in planned.stacks for line in _stack_lines(decision)]
    lines += [_function_line(each) for each in planned.functions]
    lines += [f"{name}: {', '.join(kinds)} events come on AWS only" for name, kinds in undelivered.items()]
    lines += known.lines() if known is not None else []
    if context.settings.entrances:
        lines.append(f"entrances: {', '.join(context.settings.entrances)}")
    result["drift"] = drift_document(planned.drift)
    lines += drift_lines(planned.drift)
    return result, lines


@command("List releases, newest first.")
def releases(context: Context) -> Outcome:
    """List the releases of the environment, newest first."""
    from pipeline.ledger.releases import list_releases
    from pipeline.target import explained

    with explained(context.target_name, f"the releases of {context.environment} were not read"):
        found = list_releases(context.running_target().client("ssm"), context.names.ledger)
    # Compared with the one before: two releases may have equal images.
    differences = [(), *(each.content.differences(before.content) for before, each in pairwise(found))]
    newest = [*zip(found, differences, strict=True)][::-1] if found else []
    lines = [
        f"{each.number:>4}  {each.at.astimezone():%Y-%m-%d %H:%M}  {each.by:<28} {each.revision[:12] or '-':<12}  "
        + "  ".join(f"{name} {digest.short}" for name, digest in sorted(each.images.items()))
        + (f"  changed: {', '.join(changed)}" if changed else "")
        + (f"  promoted from {each.origin}" if each.origin else "")
        for each, changed in newest
    ]
    return Outcome(
        {"releases": [{**_release(each), "changed": list(changed)} for each, changed in newest]},
        "\n".join(lines) or "there is no release yet",
    )


@command(
    "Return to an earlier release.",
    click.Option(
        ["--to"], type=click.IntRange(min=1), metavar="N", help="The release to return to; default: the one before."
    ),
    flag("--images-only", "Keep the template and its parameters."),
    SKIP_REHEARSAL,
    YES,
)
def rollback(context: Context, *, to: int | None, images_only: bool, yes: bool, rehearsed: bool = True) -> Outcome:
    """Return to an earlier release in one stack update. Builds and pushes nothing."""
    from pipeline.release.rollback import roll_back
    from pipeline.target import explained

    build = build_of(context)
    with explained(context.target_name, f"{context.environment} was not rolled back"), exclusive(context, "rollback"):
        target = context.running_target()
        chosen = (*(("--to", str(to)) if to is not None else ()), *(("--images-only",) if images_only else ()))
        approve = approval(context, ("rollback", *chosen), yes=yes)
        deployment = deployment_of(context, target, build, approve, rehearse=rehearsed)
        with alone(context, target, "rollback") as by:
            done = roll_back(deployment, to, context.report, by=by, images_only=images_only)
    stay = bool(done.differences)
    later = [context.names.function(name) for name in done.later]
    result = {
        "environment": context.environment,
        "to": done.to.number,
        "release": done.record.number,
        "changed": done.changed,
        "functions": [
            {"name": context.names.function(name), "digest": str(digest)}
            for name, digest in sorted(done.to.images.items())
        ],
        "removed": [] if stay else later,
        "unaffected": later if stay else [],
        "not_taken_back": list(done.differences),
    }
    what = f"{'the images of ' if stay else ''}release {done.to.number}"
    lines = [
        f"{context.environment} runs {what} again, recorded as release {done.record.number}"
        if done.changed
        else f"{context.environment} runs {what} already"
    ]
    lines += [f"  {context.names.function(name):<40} {digest.short}" for name, digest in sorted(done.to.images.items())]
    fate = "stays as it is" if stay else "is gone"
    lines += [f"  {name:<40} {fate}: release {done.to.number} did not have it" for name in later]
    if stay:
        revision = f"revision {done.to.revision[:12]}" if done.to.revision else "what it was made from"
        again = command_line(context, "rollback", "--to", str(done.to.number))
        cure = (
            again
            if images_only
            else f"its template was not kept; check out {revision}, then {command_line(context, 'up')}"
        )
        lines += ["", f"Not rolled back: {', '.join(done.differences)}", f"Next: {cure}"]
    return Outcome(result, "\n".join(lines))


@command(
    "Delete unneeded images.",
    click.Option(
        ["--keep"], type=click.IntRange(min=1), default=5, show_default=True, help="Releases whose images stay."
    ),
    flag("--dry-run", "Only list what would be deleted."),
)
def prune(context: Context, *, keep: int, dry_run: bool) -> Outcome:
    """Delete images that no function, stack, placeholder or kept release uses."""
    from pipeline.ledger.prune import plan_prune, prune_images, read_in_use
    from pipeline.ledger.releases import list_releases
    from pipeline.ledger.stored_images import read_images
    from pipeline.release.environments import require_environment
    from pipeline.target import explained

    what = f"{context.environment} was not pruned"
    with explained(context.target_name, what), exclusive(context, "prune"):
        target = context.running_target()
        names = context.names
        # A dry run needs no permission to write.
        with nullcontext() if dry_run else alone(context, target, "prune"):
            repositories = [names.repository(source.name) for source in context.sources]
            ecr = target.client("ecr")
            images = [image for repository in repositories for image in read_images(ecr, repository)]
            releases = list_releases(target.client("ssm"), context.names.ledger)
            if not (images or releases):
                require_environment(target.client("cloudformation"), names, what)
            planned = plan_prune(
                images,
                read_in_use(target.client, [names.registry_stack, names.pipeline_stack], repositories),
                releases,
                keep,
                now=datetime.now(UTC),
            )
            failures: tuple[Any, ...] = ()
            if not dry_run and planned.delete:
                failures = prune_images(ecr, planned, context.report).failures
    deleted = [image for image in planned.delete if image not in [failed for failed, _ in failures]]
    result = {
        "dry_run": dry_run,
        "delete": [
            {
                "repository": image.repository,
                "digest": str(image.digest),
                "pulled_at": image.pulled_at and image.pulled_at.isoformat(),
            }
            for image in deleted
        ],
        "kept": [
            {"repository": image.repository, "digest": str(image.digest), "reason": reason}
            for image, reason in planned.kept
        ],
        "failed": [
            {"repository": image.repository, "digest": str(image.digest), "reason": reason}
            for image, reason in failures
        ],
        "bytes": sum(image.size for image in deleted),
    }
    verb = "would delete" if dry_run else "deleted"
    lines = [f"{verb} {image.repository}  {image.digest.short}  {' '.join(image.tags)}" for image in deleted]
    lines += [f"kept {image.repository}  {image.digest.short}  {reason}" for image, reason in planned.kept]
    lines += [f"not deleted: {image.repository}  {image.digest.short}  {reason}" for image, reason in failures]
    lines.append(f"{verb} {counted(len(deleted), 'image')}, kept {len(planned.kept)}")
    return Outcome(result, "\n".join(lines), 1 if failures else 0)


def _release(release: Release) -> dict[str, Any]:
    return {
        "number": release.number,
        "at": release.at.isoformat(),
        "by": release.by,
        "aws": release.place,
        "revision": release.revision,
        "origin": release.origin,
        "template": str(release.content.template),
        "parameters": dict(release.content.parameters),
        "functions": [{"name": name, "digest": str(digest)} for name, digest in sorted(release.images.items())],
    }


def _stack(decision: StackDecision) -> dict[str, Any]:
    return {
        "name": decision.name,
        "decision": decision.decision,
        "reason": decision.reason,
        "parameters": {name: {"from": old, "to": new} for name, (old, new) in decision.parameters.items()},
        "resources": [
            {
                "logical_id": each.logical_id,
                "type": each.resource_type,
                "action": each.action,
                "replacement": each.replacement,
                "destructive": each.destructive,
                "properties": [{"path": one.path, "before": one.before, "after": one.after} for one in each.properties],
            }
            for each in decision.resources
        ],
    }


def _function_line(each: FunctionDecision) -> str:
    if each.missing:
        return f"{each.name:<40} {_short(each.after)}  is missing from its repository and is pushed again"
    if each.changes:
        why = f"  {each.why}" if each.why else ""
        return f"{each.name:<40} {_short(each.before)} → {_short(each.after)}{why}"
    return f"{each.name:<40} {_short(each.after)}  unchanged"


_MARKS = {"Add": "+", "Remove": "-", "Modify": "~", "Import": "<"}


def _stack_lines(decision: StackDecision) -> list[str]:
    lines = [f"{decision.name:<40} {decision.decision}{f': {decision.reason}' if decision.reason else ''}"]
    if decision.decision == "create":
        return [*lines, f"  adds {counted(len(decision.resources), 'resource')}"]
    for each in decision.resources:
        replaced = each.replacement in ("True", "Conditional")
        mark = ("REPLACE" if each.certain else "REPLACE?") if replaced else _MARKS.get(each.action, "~")
        line = f"  {mark} {each.logical_id}  ({each.resource_type})"
        if each.destructive:
            line = red(f"{line}  its data is lost; `up` asks first")
        lines.append(line)
        for one in each.properties:
            cause = red("  replaces it") if replaced and one.recreates != "Never" else ""
            known = one.before is not None or one.after is not None
            values = f"{_value(one.before)} → {_value(one.after)}" if known else "changes with what it refers to"
            lines.append(f"      {one.path}: {values}{cause}")
    return lines


def red(text: str) -> str:
    """For terminals; click drops the colour elsewhere, and NO_COLOR everywhere."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg="red", bold=True)


def _value(text: str | None) -> str:
    if text is None:
        return "(none)"
    return text if len(text) <= 120 else f"{text[:117]}…"


def _short(image: str | None) -> str:
    """The digest of an image URI, for people."""
    if not image:
        return "placeholder"
    return image.partition("@sha256:")[2][:12] or image
