"""The order of a release: sources → stack 1 → images → stack 2 → running functions. Nothing here prints.

Phase 1 makes the repositories and their placeholders; phase 2 stands on them, so no deployment meets a missing image.
Every step is safe to repeat: a run that was killed anywhere is finished by the next one.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from cfn.names import LIVE_ALIAS, image_parameter, repository_output
from pipeline.assembly.build import Build, build_image
from pipeline.assembly.check import check_image
from pipeline.assembly.layers import SharedPackages
from pipeline.assembly.model import Base, CheckedImage, FunctionSource, Image, PushedImage
from pipeline.bases.choose import choose_base
from pipeline.core import interruption
from pipeline.core.errors import PipelineError, ReleaseError, SubmissionError
from pipeline.core.events import Event, Note, Report, StepFinished, step
from pipeline.environment.parameters import image_parameters
from pipeline.ledger.kept_templates import keeper_of, template_referrer
from pipeline.ledger.releases import Latest, Release, ReleaseContent, read_latest, record_release, template_digest
from pipeline.oci.values import Artifact, ImageReference
from pipeline.release.deployment import (
    Asked,
    Deployment,
    ask_account,
    bring_pipeline,
    bring_registry,
    current_images,
    go_back,
    read_pipeline,
)
from pipeline.release.graph import Task, run_tasks
from pipeline.release.push import Push, push_images
from pipeline.release.repositories import NewRepositories
from pipeline.release.restore import image_tag
from pipeline.release.verify import restore_function
from pipeline.stacks import StackOutputs, StackState, WantedStack
from pipeline.transactions.submit import Answer, submit

# How long a finished stack 1 waits for images that are nearly built before stack 2 is begun on placeholders (seconds).
IMAGES_NEARLY = 2.0
SAMPLE = {"amount": 100, "currency": "USD", "merchant_id": "merchant-001", "customer_id": "customer-001"}


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did: ``changed`` is False when everything was already as wanted.

    record  the release's entry in the ledger; None when only the infrastructure was made
    sample  the answer of the sample transaction; None when none was submitted
    """

    changed: bool
    stacks: tuple[StackOutputs, ...]
    functions: tuple[PushedImage, ...]
    record: Release | None = None
    sample: Answer | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


class Clock:
    """A report that passes events on and keeps how long each step took: seconds by step and subject.

    After Ctrl-C it raises KeyboardInterrupt, so that the threads that report end too.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        interruption.check()
        if isinstance(event, StepFinished):
            self.seconds[f"{event.step} {event.subject}".strip()] = round(event.seconds, 3)
        self._report(event)


def release(deployment: Deployment, report: Report, *, by: str, smoke: bool = True) -> Released:
    """Both phases, as a graph of steps; at the end every function runs what was built here.

    Stack 1 and the builds run side by side, and images go into its repositories as soon as those stand. Where stack 2
    is not there yet and the images take longer than stack 1, it is begun on placeholders, and the functions are
    switched when their images are in.

    by     who releases, for the ledger
    smoke  submit a sample transaction after a change; when it is not answered, the functions go back to what they ran
    """
    clock = Clock(report)
    built = threading.Event()
    repositories = NewRepositories(deployment.names, [source.name for source in deployment.sources], clock)

    def build() -> tuple[CheckedImage, ...]:
        try:
            return build_images(deployment.build, clock)
        finally:
            built.set()

    def bring() -> StackOutputs:
        try:
            return bring_registry(deployment, repositories)
        finally:
            repositories.end()

    def refer(image: CheckedImage) -> tuple[Artifact, ...]:
        referrers = artifacts(deployment.build, image)
        if image.function == keeper_of(source.name for source in deployment.sources):
            kept = template_referrer(image.image, deployment.templates.pipeline, deployment.build.store)
            return (*referrers, kept)
        return referrers

    def push_early(images: tuple[CheckedImage, ...]) -> tuple[PushedImage, ...] | None:
        if not repositories.wait() or (uris := repositories.uris(deployment.target.client("ecr"))) is None:
            return None
        try:
            return push_all(deployment, uris, images, clock, refer=refer)
        except PipelineError as problem:
            clock(Note(f"the images are pushed again when {deployment.names.registry_stack} stands: {problem.why}"))
            return None

    def push(
        registry: StackOutputs, images: tuple[CheckedImage, ...], early: tuple[PushedImage, ...] | None
    ) -> tuple[PushedImage, ...]:
        if early is not None and repositories.stand:
            return early
        return push_all(deployment, repository_uris(registry, images), images, clock, refer=refer)

    def begin(state: StackState, _registry: StackOutputs) -> StackState:
        if not state.status.gone or built.wait(IMAGES_NEARLY):
            return state
        bring_pipeline(deployment, state, {}, clock)
        return read_pipeline(deployment)

    def switch(
        state: StackState, pushed: tuple[PushedImage, ...], before: StackState, asked: Asked
    ) -> tuple[StackOutputs, WantedStack]:
        known = asked if state is before else None
        return bring_pipeline(deployment, state, image_parameters(pushed), clock, known)

    results = run_tasks(
        [
            Task("registry stack", bring),
            Task("images", build),
            Task("before", lambda: read_pipeline(deployment)),
            Task("latest", lambda: read_latest(deployment.target.client("ssm"), deployment.settings.environment)),
            Task("early push", push_early, ("images",)),
            Task("push", push, ("registry stack", "images", "early push")),
            Task("begun", begin, ("before", "registry stack")),
            # While stack 1 is waited for; after the images, whose building needs the processor.
            Task("account", lambda state, _: ask_account(deployment, state, clock), ("before", "images")),
            Task("pipeline stack", switch, ("begun", "push", "before", "account")),
            Task("functions", lambda pushed, _: verify(deployment, pushed, clock), ("push", "pipeline stack")),
        ]
    )
    pipeline, wanted = results["pipeline stack"]
    stacks: tuple[StackOutputs, StackOutputs] = (results["registry stack"], pipeline)
    pushed: tuple[PushedImage, ...] = results["push"]
    latest: Latest = results["latest"]
    content = release_content(pushed, wanted)
    changed = any(stack.changed for stack in stacks) or any(image.uploaded for image in pushed) or results["functions"]
    sample = None
    # Also for a release that a killed run switched to and never tried.
    if smoke and pushed and (changed or not latest.has(content)):
        sample = _smoke(deployment, stacks, results["before"], latest, clock)
    recorded = latest.release if latest.complete and latest.has(content) else None
    if recorded is None:
        recorded = record(deployment, content, clock, by=by)
    return Released(changed, stacks, pushed, recorded, sample, clock.seconds)


def prepare(deployment: Deployment, report: Report) -> Released:
    """Both stacks without building: every function keeps the image that it has, or stands on its placeholder."""
    clock = Clock(report)
    registry = bring_registry(deployment, clock)
    state = read_pipeline(deployment)
    pipeline, _ = bring_pipeline(deployment, state, current_images(deployment, state), clock)
    return Released(registry.changed or pipeline.changed, (registry, pipeline), (), seconds=clock.seconds)


def build_images(build: Build, report: Report) -> tuple[CheckedImage, ...]:
    """Every function's image, held against Lambda's rules; functions with the same dependencies share a layer."""
    base = choose_base(build.base, build.platform, build.store, report=report)
    images, shared = [], SharedPackages()
    for source in build.sources:
        with step(report, "build", source.name) as running:
            image = _build_one(build, source, base, shared, report)
            images.append(check_image(image, source, build.store))
            # Kept, so that an image that somebody deletes from its repository can be put back by its digest.
            build.store.add(image.manifest)
            build.store.add(image.config)
            running.detail = f"sha256:{image.digest.short}"
    return tuple(images)


def _build_one(build: Build, source: FunctionSource, base: Base, shared: SharedPackages, report: Report) -> Image:
    labels = build.labels.get(source.name)
    if build.builder == "docker":
        from pipeline.engine.builder import build_with_docker

        return build_with_docker(
            source, build.platform, "", build.store, report, base=base, slim=build.slim, labels=labels
        )
    return build_image(
        source, build.platform, base, build.store, slim=build.slim, labels=labels, shared=shared, report=report
    )


def push_all(
    deployment: Deployment,
    repositories: Mapping[str, str],
    images: Sequence[CheckedImage],
    report: Report,
    *,
    refer: Callable[[CheckedImage], tuple[Artifact, ...]],
) -> tuple[PushedImage, ...]:
    """Each image in its function's repository, tagged so that no clean-up takes it for a leftover, and read back.

    repositories  URIs by function
    refer         gives what is pushed after an image and refers to it
    """
    with step(report, "push") as running:
        pushes = [
            Push(
                repositories[image.function],
                image,
                tag=image_tag(image.image.digest),
                artifacts=partial(refer, image),
            )
            for image in images
        ]
        hosts = {ImageReference.parse(push.repository_uri).registry for push in pushes}
        # One account and region has one registry; a project without functions has none.
        pushed = tuple(
            image
            for host in hosts
            for image in push_images(deployment.target.registry(host), pushes, deployment.build.store, report=report)
        )
        uploaded = sum(image.uploaded for image in pushed)
        running.detail = f"{uploaded:,} bytes sent" if uploaded else "everything was there"
    return pushed


def repository_uris(registry: StackOutputs, images: Sequence[CheckedImage]) -> dict[str, str]:
    """The repositories of stack 1 by function."""
    return {image.function: registry[repository_output(image.function)] for image in images}


def verify(deployment: Deployment, pushed: Sequence[PushedImage], report: Report) -> bool:
    """Every function runs what was pushed, and so does the alias that the workflow calls.

    A function that was pointed elsewhere by hand is put back; whether that was needed. Raises FunctionError.
    """
    client = deployment.target.client("lambda")

    def restore(image: PushedImage) -> bool:
        name = deployment.names.function(image.function)
        mended = restore_function(client, name, image, alias=LIVE_ALIAS)
        if mended:
            report(Note(f"{name} had been pointed elsewhere by hand; it runs {image.digest.short} again"))
        return mended

    with step(report, "verify") as running, ThreadPoolExecutor(8) as pool:
        mended = sum(pool.map(restore, pushed))
        running.detail = f"{len(pushed)} functions run what was pushed"
    return mended > 0


def submit_sample(deployment: Deployment, pipeline: StackOutputs, report: Report) -> Answer:
    """A harmless transaction under an id and a customer of its own, through the whole workflow."""
    mark = uuid.uuid4().hex[:12]
    transaction = {"transaction_id": f"sample-{mark}", **SAMPLE, "customer_id": f"sample-{mark}"}
    with step(report, "sample transaction") as running:
        client = deployment.target.client("stepfunctions")
        answer = submit(client, pipeline["StateMachineArn"], json.dumps(transaction))
        running.detail = answer.outcome
    return answer


def _smoke(
    deployment: Deployment, stacks: tuple[StackOutputs, StackOutputs], before: StackState, latest: Latest,
    report: Report,
) -> Answer:  # fmt: skip
    """A sample transaction, or back to the last release, or to what ran before where there is none."""
    registry, pipeline = stacks
    try:
        return submit_sample(deployment, pipeline, report)
    except SubmissionError as problem:
        environment = deployment.settings.environment
        images = current_images(deployment, before)
        if latest.release is not None:
            images |= {
                image_parameter(name): f"{registry[repository_output(name)]}@{digest}"
                for name, digest in latest.release.images.items()
                if repository_output(name) in registry.values and image_parameter(name) in before.parameters
            }
        if not images:
            raise ReleaseError(
                f"{environment} was released, but a sample transaction was not answered",
                f"{problem.what}: {problem.why}",
                "There is no earlier release to go back to. Mend the cause and run `up` again.",
            ) from problem
        go_back(deployment, before, images, report)
        raise ReleaseError(
            f"the release of {environment} was taken back: its functions run what they ran before",
            f"the sample transaction {problem.what}: {problem.why}",
            "Mend the cause and run `up` again; --no-smoke releases without the sample.",
        ) from problem


def release_content(pushed: Sequence[PushedImage], wanted: WantedStack) -> ReleaseContent:
    """What the ledger keeps of a release."""
    images = image_parameters(pushed)
    return ReleaseContent(
        images={image.function: image.digest for image in pushed},
        template=template_digest(wanted.template_body),
        parameters={name: value for name, value in wanted.parameters.items() if name not in images},
    )


def record(deployment: Deployment, content: ReleaseContent, report: Report, *, by: str) -> Release:
    """The release's entry in the ledger, and its images tagged with its number."""
    client = deployment.target.client
    with step(report, "record") as running:
        release, _new = record_release(
            client("ssm"),
            client("ecr"),
            deployment.settings.environment,
            content,
            {name: deployment.names.repository(name) for name in content.images},
            by=by,
            revision=deployment.build.commit(),
        )
        running.detail = f"release {release.number}"
    return release


def artifacts(build: Build, image: CheckedImage) -> tuple[Artifact, ...]:
    """What refers to an image and is pushed with it: its bill of materials."""
    if not build.sbom:
        return ()
    from pipeline.assembly.sbom import sbom_referrer

    (source,) = (source for source in build.sources if source.name == image.function)
    return (sbom_referrer(image.image, source, build.store),)
