"""Rehearse a release before its images take over: the gate of ``up``, ``promote`` and ``rollback``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from cfn.names import RESERVED_CONCURRENCY, image_parameter, repository_output
from cfn.workflow.limits import CALLED_FUNCTIONS
from pipeline.core import interruption
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.core.events import Clock, Note, Report, step
from pipeline.environment.parameters import image_parameters
from pipeline.rehearsal.comparison import Rehearsal
from pipeline.rehearsal.gate import Recorded
from pipeline.rehearsal.recordings import read_recordings
from pipeline.rehearsal.rehearse import Judge, Rehearser, rehearse
from pipeline.rehearsal.replay import Replay, definition_of
from pipeline.rehearsal.responses import ResponseRehearser, functions_of, read_responses
from pipeline.rehearsal.stage import Cast, open_stage
from pipeline.rehearsal.stored_answers import Table
from pipeline.release.deployment import Deployment, current_images, read_pipeline, read_registry
from pipeline.release.images import build_images, push_all
from pipeline.release.recompressed import keep_deployed
from pipeline.stacks import StackState
from pipeline.stacks.state import canonical_template

# Concurrent transactions where no concurrency is reserved: small accounts have ten executions in all.
FEW_WORKERS = 2
MOST_WORKERS = 32
_WHAT = "the release was not rehearsed"


def rehearse_release(
    deployment: Deployment, template: str, images: Mapping[str, str], recorded: Recorded, report: Report
) -> Rehearsal:
    """Judge what was recorded with these images, which are in their repositories, and this template.

    images  URIs by parameter, as for the stack

    The environment's lock is held by the caller. Raises ReleaseError where the functions run no image yet.
    """
    return interruption.run(partial(_rehearse, deployment, template, images, recorded, Clock(report)))


def _rehearse(
    deployment: Deployment, template: str, images: Mapping[str, str], recorded: Recorded, report: Report
) -> Rehearsal:
    state, path = read_pipeline(deployment), recorded.path
    running = _by_function(current_images(deployment, state), deployment.functions)
    transactions = deployment.settings.has_transactions
    needed = set(CALLED_FUNCTIONS) if transactions else functions_of(path, deployment.functions)
    if missing := sorted(needed - running.keys()):
        raise ReleaseError(
            _WHAT,
            f"{deployment.settings.environment} runs no image of {', '.join(missing)}, so nothing was recorded",
            NextStep("Deploy it first", ("up",)),
        )
    by_function = _by_function(images, needed)
    if missing := sorted(needed - by_function.keys()):
        raise ReleaseError(
            _WHAT,
            f"it has no image of {', '.join(missing)}",
            "Rehearse a release that has one, or leave its events out of the file.",
        )
    table = state.outputs["StateTableName"] if transactions else ""
    replay = Replay(definition_of(template)) if transactions else None
    cast = Cast(template, by_function, running, _table_arn(state, table) if table else "", deployment.tags)
    with open_stage(deployment.target, deployment.names, cast, report) as stage:
        rehearser: Judge = ResponseRehearser(stage)
        if replay is not None:
            rehearser = Rehearser(replay, stage, Table(stage.target.client("dynamodb"), table))
        with step(report, "rehearse") as ran:
            found = rehearse(
                read_recordings(path) if transactions else read_responses(path, needed),
                rehearser,
                workers=recorded.workers or _reserved(state),
                images={name: uri.rpartition("@")[2] for name, uri in by_function.items()},
                report=report,
                limit=recorded.limit,
            )
            ran.detail = found.summary
    return found


def push_candidates(deployment: Deployment, report: Report) -> dict[str, str]:
    """Build the images and push them to their repositories, where nothing runs them; gives their URIs by parameter.

    Raises ReleaseError for an environment without repositories.
    """
    registry = read_registry(deployment)
    if missing := [name for name in deployment.functions if repository_output(name) not in registry.outputs]:
        raise ReleaseError(
            _WHAT,
            f"{deployment.settings.environment} has no repository for {', '.join(missing)}",
            NextStep("Deploy it first", ("up",)),
        )
    built = build_images(deployment.build, report)
    built = keep_deployed(
        built, current_images(deployment, read_pipeline(deployment)), deployment.target.registry, report
    )
    repositories = {name: registry.outputs[repository_output(name)] for name in deployment.functions}
    return image_parameters(push_all(deployment, repositories, built, report))


def require_rehearsed(deployment: Deployment, template: str, images: Mapping[str, str], report: Report) -> None:
    """Rehearse what is about to be switched to, and raise ReleaseError if it changes more than the settings allow.

    Call it before the stack is updated, when the images are in their repositories. Without a gate, for what runs
    already, and for an environment that has not judged anything yet, it does nothing.

    template  of the pipeline stack; images: URIs by parameter, as for ``rehearse_release``
    """
    required = deployment.rehearsal
    if required is None:
        return
    state = read_pipeline(deployment)
    running = current_images(deployment, state)
    if not running:
        report(Note("there is nothing to rehearse on: no release has answered anything"))
        return
    same = all(running.get(name) == images.get(name, running[name]) for name in running)
    if same and canonical_template(template) == state.template:
        return
    found = _rehearse(deployment, template, images, required.recorded, report)
    if refusals := required.gate.refusals(found):
        raise ReleaseError(
            f"{deployment.settings.environment} was not released: the rehearsal shows changes that its settings forbid",
            f"{'; '.join(refusals)} ({found.summary})",
            NextStep(
                "See every difference; --skip-rehearsal releases without the gate",
                ("rehearse", str(required.recorded.path)),
            ),
        )


def _by_function(images: Mapping[str, str], functions: Iterable[str]) -> dict[str, str]:
    return {name: images[image_parameter(name)] for name in functions if images.get(image_parameter(name))}


def _table_arn(state: StackState, table: str) -> str:
    # arn:aws:cloudformation:<region>:<account>:stack/…
    _, partition, _, region, account, _ = state.stack_id.split(":", 5)
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"


def _reserved(state: StackState) -> int:
    """As many workers as executions are reserved for each function, which live traffic has for itself."""
    reserved = int(state.parameters.get(RESERVED_CONCURRENCY) or 0)
    return min(reserved, MOST_WORKERS) or FEW_WORKERS
