"""``rehearse``: what a release would answer to recorded transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.context import Context, Outcome
from commands.declared import BASE, BUILDER, FilePath, Text, command, file
from commands.deploying import (
    alone,
    build_of,
    deployment_of,
    exclusive,
    judge_project,
    require_recorded,
    required_rehearsal,
)
from commands.next_steps import command_line
from pipeline.core.files import storing, write_atomically
from pipeline.core.shown import shown
from pipeline.rehearsal.gate import Gate, Recorded, require_kind

if TYPE_CHECKING:
    from pipeline.core.events import Report
    from pipeline.rehearsal.comparison import Difference, Rehearsal
    from pipeline.release.deployment import Deployment

# Transactions of each kind that are printed; --json and --out have all.
_PRINTED = 10


@command(
    "Replay recorded transactions on a release that is not live.",
    click.Argument(["recorded"], metavar="FILE", type=FilePath(exists=True, path_type=Path)),
    BASE, BUILDER,
    click.Option(
        ["--release", "number"], metavar="N", type=click.IntRange(min=1),
        help="Rehearse release N; default: what the sources give.",
    ),
    click.Option(["--limit"], metavar="N", type=click.IntRange(min=1), help="At most N transactions."),
    click.Option(
        ["--workers"], metavar="N", type=click.IntRange(1, 256),
        help="Concurrent transactions; default: as many as executions are reserved.",
    ),
    file("--out", "Also write the differences to this file, as a web page.", names=("page",)),
    click.Option(
        ["--max-changed"], metavar="N", type=click.IntRange(min=0), help="Fail if more than N outcomes change."
    ),
    click.Option(
        ["--forbid", "forbidden"], metavar="KIND", type=Text(), multiple=True,
        help="Fail if one outcome changes so, such as 'REJECTED to APPROVED'.",
    ),
)  # fmt: skip
def rehearse(
    context: Context, *, recorded: Path, number: int | None = None, limit: int | None = None,
    workers: int | None = None, page: Path | None = None, max_changed: int | None = None,
    forbidden: Sequence[str] = (),
) -> Outcome:  # fmt: skip
    """Judge recorded transactions with images that are not live, and compare outcome, score and reasons with the
    recorded answers. Nothing is written but the images, and a stack that is deleted at the end.

    FILE is as for submit --file, and the answers are those of the table; a line {"transaction": …, "answer": …} has its
    own. Without the transaction pipeline each line is {"function": …, "event": …, "response": …}, or FILE is a folder
    with FUNCTION/events/NAME.json and NAME.response.json.

    Exit code 1 if something is not answered, or if more changes than --max-changed and --forbid, or the environment's
    settings, allow.
    """
    from pipeline.bases.prebuilt_images import require_digests
    from pipeline.rehearsal.page import render_page
    from pipeline.release.rehearsed import rehearse_release
    from pipeline.target import explained

    what = f"{context.environment} was not rehearsed"
    gate = _gate(context, max_changed, forbidden)
    if page is not None:
        with storing(page, "name another file"):  # before anything is made, such as for a name that is too long
            if page.exists() and page.samefile(recorded):
                raise click.UsageError("--out is the file of transactions itself.")
    require_recorded(context, recorded)
    build = build_of(context)
    require_digests(build.sources)
    judge_project(context)
    with explained(context.target_name, what), exclusive(context, "rehearse"):
        target = context.running_target()
        with alone(context, target, "rehearse") as by:
            deployment = deployment_of(context, target, build)
            template, images = _candidates(deployment, number, context.report, by)
            found = rehearse_release(deployment, template, images, Recorded(recorded, limit, workers), context.report)
    refusals = gate.refusals(found)
    if page is not None:
        title = f"Rehearsal of {'the sources' if number is None else f'release {number}'} in {context.environment}"
        with storing(page, "name another file"):
            write_atomically(page, render_page(title, found, refusals).encode("utf-8", "backslashreplace"))
    lines = [found.summary, *_lines(found)]
    lines += [f"refused: {shown(each)}" for each in refusals]
    if page is not None:
        lines.append(f"every difference is in {page}")
    if not refusals and number is None:
        lines += ["", f"Next: {command_line(context, 'up')}"]
    result = {"environment": context.environment, **found.to_json(), "refused": list(refusals)}
    return Outcome(result | ({"out": str(page)} if page else {}), "\n".join(lines), 1 if refusals else 0)


def _gate(context: Context, max_changed: int | None, forbidden: Sequence[str]) -> Gate:
    """The gate of the options, or else of the environment's settings; without both only errors are refused."""
    if max_changed is None and not forbidden:
        required = required_rehearsal(context)
        return required.gate if required is not None else Gate()
    try:
        return Gate(max_changed, tuple(map(require_kind, forbidden)))
    except ValueError as problem:
        raise click.UsageError(f"--forbid: {problem}") from problem


def _candidates(deployment: Deployment, number: int | None, report: Report, by: str) -> tuple[str, Mapping[str, str]]:
    """The pipeline template and the images to rehearse, which are in their repositories."""
    from pipeline.release.rehearsed import push_candidates
    from pipeline.release.rollback import recorded_release

    if number is not None:
        return recorded_release(deployment, number, report, by=by)
    return deployment.templates.pipeline, push_candidates(deployment, report)


def _lines(found: Rehearsal) -> list[str]:
    from pipeline.rehearsal.comparison import grouped

    lines = []
    for kind, differences in grouped(found.differences):
        lines.append(f"{kind:<24} {len(differences):>9,}")
        lines += [_line(each) for each in differences[:_PRINTED]]
        lines += _more(differences)
    if found.uncertain:
        lines.append(
            f"{'uncertain':<24} {len(found.uncertain):>9,}  decided at the same moment as others of the customer"
        )
        lines += [_line(each) for each in found.uncertain[:_PRINTED]]
        lines += _more(found.uncertain)
    lines += [f"{why:<24} {count:>9,}  not compared" for why, count in sorted(found.skipped.items())]
    lines += [f"line {number}: malformed, {shown(why)}" for number, why in found.malformed[:_PRINTED]]
    lines += [
        f"line {each.line}: {shown(each.transaction_id)}, {shown(each.why)}" for each in found.failures[:_PRINTED]
    ]
    return lines


def _line(difference: Difference) -> str:
    scores = [difference.before.get("score"), difference.after.get("score")]
    score = f"  score {shown(str(scores[0]))} to {shown(str(scores[1]))}" if scores[0] != scores[1] else ""
    return f"  {shown(difference.transaction_id)}{score}  {', '.join(map(shown, difference.rules))}"


def _more(differences: Sequence[Difference]) -> list[str]:
    more = len(differences) - _PRINTED
    return [f"  and {more:,} more: see them with --json or --out"] if more > 0 else []
