"""A release, in order: stack 1 concurrently with the images, push, stack 2, verify, sample, record.

Stack 1 creates repositories with placeholder images, which stack 2 uses, so no deployment fails for a missing image.
Every step is safe to repeat: the next run completes one that was killed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from cfn.names import SHIFT_TRAFFIC
from pipeline.assembly.model import CheckedImage, PushedImage
from pipeline.core import interruption
from pipeline.core.events import Clock, Report, step
from pipeline.environment.parameters import image_parameters
from pipeline.forecast.release_times import Work, work_of
from pipeline.ledger.releases import Release, ReleaseContent, read_latest, record_release, template_digest
from pipeline.release.artifacts import referrers
from pipeline.release.deployment import Deployment, bring_pipeline, bring_registry, current_images, read_pipeline
from pipeline.release.images import acceptable_images, push_all, repository_uris
from pipeline.release.outside_changes import settle_outside_changes
from pipeline.release.recompressed import keep_deployed
from pipeline.release.smoke import Trial, try_release
from pipeline.release.verify import verify_functions
from pipeline.release.versions import delete_superseded
from pipeline.stacks import StackOutputs, StackState, WantedStack, plan_stack
from pipeline.transactions.submit import Answer

# Seconds to wait for the images after stack 1, before stack 2 is created on placeholders.
IMAGES_NEARLY = 2.0


@dataclass(frozen=True, slots=True)
class Released:
    """The result of a release. ``changed`` is False if nothing had to be done.

    work    what it had to do, for the next forecast
    reverted  functions and aliases that were changed outside of the stack and put back, by name
    record  the release's entry in the ledger; None if only the infrastructure was deployed
    sample  the answer to the sample transaction; None if none was submitted
    smoked  what answered its smoke event, by deployed name: the functions, and the state machine of an own workflow
    """

    changed: bool
    stacks: tuple[StackOutputs, ...]
    functions: tuple[PushedImage, ...]
    work: Work = Work.NOTHING
    reverted: tuple[str, ...] = ()
    record: Release | None = None
    sample: Answer | None = None
    smoked: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def release(deployment: Deployment, report: Report, *, by: str, smoke: bool = True) -> Released:
    """Build, deploy both stacks, and return when every function runs its built image.

    by     the author, for the ledger
    smoke  test the release after a change (see ``try_release``); if that fails, the release is taken back

    After a failure no new step starts; running steps are waited for.
    """
    return interruption.run(partial(_release, deployment, Clock(report), by=by, smoke=smoke))


def _release(deployment: Deployment, clock: Clock, *, by: str, smoke: bool) -> Released:
    client = deployment.target.client
    with ThreadPoolExecutor(max_workers=5, thread_name_prefix="release") as pool:
        stack_1 = pool.submit(bring_registry, deployment, clock)
        images = pool.submit(acceptable_images, deployment, clock)
        before = pool.submit(read_pipeline, deployment)
        latest = pool.submit(lambda: read_latest(client("ssm"), deployment.names.ledger))

        registry = stack_1.result()
        push = pool.submit(_push_built, deployment, registry, images, before, clock)
        state = _begin_on_placeholders(deployment, before.result(), images, clock)
        pushed = push.result()

        if deployment.rehearsal is not None:
            # Evaluates expressions and makes a template: too much to load for releases without a gate.
            from pipeline.release.rehearsed import require_rehearsed

            require_rehearsed(deployment, deployment.templates.pipeline, image_parameters(pushed), clock)
        pipeline, wanted = bring_pipeline(deployment, state, image_parameters(pushed), clock)
        last, content = latest.result(), release_content(pushed, wanted)
        changed = registry.changed or pipeline.changed or any(image.uploaded for image in pushed)
        settled = not changed and last.complete and last.has(content)
        changed |= verify_functions(deployment, pushed, clock, settled=settled)
        reverted: tuple[str, ...] = ()
        if changed or deployment.revert_drift:  # three calls for each function
            reverted = settle_outside_changes(deployment, wanted, pipeline, clock)
            changed |= bool(reverted)

    trial = Trial()
    # A killed run may have switched to this release without the sample.
    if smoke and pushed and (changed or not last.has(content)):
        trial = try_release(deployment, (registry, pipeline), before.result(), last.release, clock)
    recorded = last.release if last.complete and last.has(content) else None
    if recorded is None:
        recorded = record(deployment, content, clock, by=by)
    smoked = tuple(each.function for each in trial.invoked)
    smoked += (deployment.names.state_machine,) if trial.executed else ()
    work = work_of(plan_stack(before.result(), wanted), registry=registry.changed, images=image_parameters(pushed))
    return Released(
        changed, (registry, pipeline), pushed, work, reverted, recorded, trial.sample, smoked, clock.seconds
    )


def _push_built(
    deployment: Deployment,
    registry: StackOutputs,
    images: Future[tuple[CheckedImage, ...]],
    before: Future[StackState],
    report: Report,
) -> tuple[PushedImage, ...]:
    deployed = current_images(deployment, before.result())
    built = keep_deployed(images.result(), deployed, deployment.target.registry, report)
    refer = partial(referrers, deployment)
    return push_all(deployment, repository_uris(registry, built), built, report, refer=refer)


def _begin_on_placeholders(
    deployment: Deployment, state: StackState, images: Future[tuple[CheckedImage, ...]], report: Report
) -> StackState:
    """Create a missing stack 2 on placeholders while images are still being built. Returns the state of stack 2.

    Creating the network, table and functions takes longer than switching functions to their images.
    """
    # An exact plan has no step between.
    if not state.status.gone or deployment.exactly is not None or wait([images], timeout=IMAGES_NEARLY).done:
        return state
    bring_pipeline(deployment, state, {}, report)
    return read_pipeline(deployment)


def prepare(deployment: Deployment, report: Report) -> Released:
    """Deploy both stacks without building: every function keeps its image, or its placeholder if it has none."""
    clock = Clock(report)
    registry = bring_registry(deployment, clock)
    state = read_pipeline(deployment)
    pipeline, _ = bring_pipeline(deployment, state, current_images(deployment, state), clock)
    delete_superseded(deployment.target.client("lambda"), deployment.functions.values(), clock)
    return Released(registry.changed or pipeline.changed, (registry, pipeline), (), seconds=clock.seconds)


def release_content(pushed: Sequence[PushedImage], wanted: WantedStack) -> ReleaseContent:
    """The content that the ledger records."""
    images = image_parameters(pushed)
    return ReleaseContent(
        images={image.function: image.digest for image in pushed},
        template=template_digest(wanted.template_body),
        parameters={name: value for name, value in wanted.parameters.items() if name not in {*images, SHIFT_TRAFFIC}},
    )


def record(deployment: Deployment, content: ReleaseContent, report: Report, *, by: str) -> Release:
    """Record the release in the ledger, and tag its images with its number."""
    client, supply = deployment.target.client, deployment.supply
    with step(report, "record") as running:
        release, _new = record_release(
            client("ssm"),
            client("ecr"),
            deployment.names.ledger,
            content,
            {name: deployment.names.repository(name) for name in content.images},
            by=by,
            revision=deployment.build.commit() if supply is None else supply.revision,
            place=deployment.target.place(by),
            origin="" if supply is None else supply.origin,
        )
        running.detail = f"release {release.number}"
    return release
