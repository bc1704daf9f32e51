"""Rehearse a release before its images take over: the gate of ``up`` and ``rollback``."""

from __future__ import annotations

from collections.abc import Mapping
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
from pipeline.rehearsal.rehearse import Rehearser, rehearse
from pipeline.rehearsal.replay import Replay, definition_of
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
    """Judge recorded transactions with these images, which are in their repositories, and this pipeline template.

    images  URIs by parameter, as for the stack

    The environment's lock is held by the caller. Raises ReleaseError for an environment without decided transactions.
    """
    return interruption.run(partial(_rehearse, deployment, template, images, recorded, Clock(report)))


def _rehearse(
    deployment: Deployment, template: str, images: Mapping[str, str], recorded: Recorded, report: Report
) -> Rehearsal:
    state = read_pipeline(deployment)
    table = state.outputs.get("StateTableName", "")
    if not table:
        raise ReleaseError(
            _WHAT,
            f"{deployment.settings.environment} has no stack {state.name} with decided transactions",
            NextStep("Deploy it first", ("up",)),
        )
    replay = Replay(definition_of(template))
    by_function = _by_function(images)
    running = _by_function(current_images(deployment, state))
    if missing := [name for name in CALLED_FUNCTIONS if name not in by_function]:
        raise ReleaseError(
            _WHAT, f"there is no image of {', '.join(missing)}", NextStep("Build and push every image", ("up",))
        )
    cast = Cast(template, by_function, running, _table_arn(state, table), deployment.tags)
    with open_stage(deployment.target, deployment.names, cast, report) as stage:
        rehearser = Rehearser(replay, stage, Table(stage.target.client("dynamodb"), table))
        with step(report, "rehearse") as ran:
            found = rehearse(
                read_recordings(recorded.path),
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
    if not set(map(image_parameter, CALLED_FUNCTIONS)) <= running.keys():
        report(Note("there is nothing to rehearse on: no release has answered transactions"))
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


def _by_function(images: Mapping[str, str]) -> dict[str, str]:
    return {name: images[image_parameter(name)] for name in CALLED_FUNCTIONS if images.get(image_parameter(name))}


def _table_arn(state: StackState, table: str) -> str:
    # arn:aws:cloudformation:<region>:<account>:stack/…
    _, partition, _, region, account, _ = state.stack_id.split(":", 5)
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"


def _reserved(state: StackState) -> int:
    """As many workers as executions are reserved for each function, which live traffic has for itself."""
    reserved = int(state.parameters.get(RESERVED_CONCURRENCY) or 0)
    return min(reserved, MOST_WORKERS) or FEW_WORKERS
