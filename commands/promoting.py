"""``promote``: deploy a release of one environment in another, without building."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cfn.problems import Command as Words
from commands.asking import approval
from commands.context import Context, Outcome
from commands.declared import ENVIRONMENT, REGION, RUNTIME, SKIP_REHEARSAL, YES, command, flag, omit
from commands.deploying import alone, build_of, deployment_of, exclusive, judge_project
from commands.next_steps import command_line
from pipeline.core.events import Note
from pipeline.core.shown import counted

if TYPE_CHECKING:
    from pipeline.promotion.supply import Promotion
    from pipeline.release.deployment import Deployment
    from pipeline.target import Target


@command(
    "Deploy a release of another environment.",
    click.Argument(["source"], metavar="FROM", type=ENVIRONMENT),
    click.Argument(["environment"], metavar="TO", type=ENVIRONMENT),
    click.Option(
        ["--release", "number"], type=click.IntRange(min=1), metavar="N", help="The release of FROM; default: its last."
    ),
    click.Option(["--from-region"], metavar="REGION", type=REGION, help="The region of FROM; default: its settings'."),
    flag("--plan", "Only show what would be copied and changed; exit code 2 for a difference."),
    RUNTIME,
    omit("--no-smoke", "smoke", "Do not test the release at the end."),
    flag("--skip-doctor", "On AWS, do not check the account first."),
    SKIP_REHEARSAL, YES,
)  # fmt: skip
def promote(
    context: Context, *, source: str, number: int | None, from_region: str | None, plan: bool, smoke: bool,
    skip_doctor: bool, yes: bool, rehearsed: bool = True,
) -> Outcome:  # fmt: skip
    """Deploy a recorded release of the environment FROM in the environment TO: the same images, without building.

    Images and what refers to them (bill of materials, provenance, signatures) are copied from registry to registry with
    their digests. Only images move: sizes, names and the workflow come from the settings of TO and the sources at hand.
    Profile, role, account and region of each environment are those in environments.toml; --region is that of TO.
    """
    from pipeline.release.release import release
    from pipeline.target import explained

    started = time.monotonic()
    build = build_of(context)
    judge_project(context)
    words = _words(context, source, number, from_region)
    with (
        explained(context.target_name, f"{context.environment} was not released"),
        nullcontext() if plan else exclusive(context, "promote"),
    ):
        target = context.running_target()
        deployment = deployment_of(context, target, build, approval(context, words, yes=yes), rehearse=rehearsed)
        promotion = _promotion(
            replace(context, environment=source, region=from_region), target, deployment, number, words
        )
        deployment = replace(deployment, supply=promotion)
        configuration = _configuration(deployment, promotion)
        if configuration:
            context.report(Note(configuration))
        if plan:
            return _planned(context, deployment, promotion, words)
        if not target.is_local and not skip_doctor:
            from commands.doctor import require_healthy

            require_healthy(context, target)
        with alone(context, target, "promote") as by:
            released = release(deployment, context.report, by=by, smoke=smoke)
    from commands.releasing import released_outcome

    outcome = released_outcome(context, released, time.monotonic() - started)
    result = {**outcome.result, "promoted": _promoted(promotion, deployment)}
    head, _, rest = outcome.text.partition("\n")
    return replace(outcome, result=result, text=f"{head}\n  promoted from {promotion.origin}\n{rest}")


def _words(context: Context, source: str, number: int | None, from_region: str | None) -> Words:
    """The command that the user ran, for errors."""
    options: list[str] = []
    if number is not None:
        options += ["--release", str(number)]
    if from_region is not None:
        options += ["--from-region", from_region]
    return ("promote", source, context.environment, *options)


def _promotion(source: Context, target: Target, deployment: Deployment, number: int | None, words: Words) -> Promotion:
    """The release to promote. Raises ReleaseError, and StackError without the environment."""
    from pipeline.core.errors import NextStep, ReleaseError
    from pipeline.promotion.recorded import read_recorded
    from pipeline.promotion.supply import Promotion

    origin = source.running_target()
    caller, own = (each.client("sts").get_caller_identity() for each in (origin, target))
    if source.environment == deployment.settings.environment and (caller["Account"], origin.region) == (
        own["Account"], target.region
    ):  # fmt: skip
        raise ReleaseError(
            "nothing was promoted",
            f"FROM and TO are both {source.environment} in {caller['Account']}/{origin.region}",
            NextStep("Return to an earlier release of one environment instead", ("rollback", "--to", str(number or 1))),
        )
    functions = [each.name for each in deployment.sources]
    recorded = read_recorded(origin, source.names, number, functions, origin.place(caller["Arn"]))
    name = f"{source.environment} release {recorded.release.number} in {caller['Account']}/{origin.region}"
    return Promotion(origin, recorded, name, words)


def _configuration(deployment: Deployment, promotion: Promotion) -> str:
    """What to say if the sources, which give the configuration, are not those of the release; "" if they are."""
    commit = deployment.build.commit()
    if promotion.revision and promotion.revision == commit:
        return ""
    sources = f"of commit {commit[:12]}" if commit else "of sources that are no commit"
    images = f"of commit {promotion.revision[:12]}" if promotion.revision else "of a release without a commit"
    return f"the configuration is {sources}, and the images are {images}"


def _promoted(promotion: Promotion, deployment: Deployment) -> dict[str, Any]:
    release = promotion.recorded.release
    return {
        "from": promotion.origin,
        "release": release.number,
        "revision": release.revision,
        "configuration": deployment.build.commit(),
    }


def _planned(context: Context, deployment: Deployment, promotion: Promotion, words: Sequence[str]) -> Outcome:
    from commands.history import plan_document
    from pipeline.oci.values import ImageReference
    from pipeline.promotion.copies import find_copies
    from pipeline.release.planning import plan_release

    planned = plan_release(deployment, context.report)
    result, lines = plan_document(context, planned)
    copied = []
    for each in planned.functions:
        copies = find_copies(deployment.target, ImageReference.parse(each.after), deployment.build.store)
        copied.append({"name": each.name, "blobs": copies.blobs, "bytes": copies.size})
        if copies.blobs:
            lines.append(f"{each.name:<40} {counted(copies.blobs, 'blob')} of {copies.size:,} bytes to copy")
    result |= {"promoted": _promoted(promotion, deployment), "copies": copied}
    changes = planned.changes or any(each["blobs"] for each in copied)
    result["changes"] = changes
    lines = [f"promotes {promotion.origin}", *lines]
    lines += ["", f"Next: {command_line(context, *words)}" if changes else "nothing would change"]
    return Outcome(result, "\n".join(lines), 2 if changes else 0)
