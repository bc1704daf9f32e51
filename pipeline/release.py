"""The order of a release: sources → stack 1 → images → stack 2 → running functions. Nothing here prints.

Phase 1 makes the repositories and their placeholders; phase 2 stands on them, so no deployment meets a missing image.
Every step is safe to repeat: a run that was killed anywhere is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cfn.names import Names, image_parameter, repository_output
from cfn.settings import Settings
from pipeline.account import account_parameters
from pipeline.base import choose_base
from pipeline.blobs import BlobStore
from pipeline.build import build_image
from pipeline.check import check_image
from pipeline.events import Event, Report, Step, StepFinished, step
from pipeline.graph import Task, run_tasks
from pipeline.model import Base, CheckedImage, Digest, FunctionSource, ImageReference, Platform, PushedImage
from pipeline.parameters import image_parameters
from pipeline.push import Push, push_images
from pipeline.slim import Slim
from pipeline.stacks import NoChange, StackOutputs, StackPlan, WantedStack, apply_stack, plan_stack, read_stack
from pipeline.synth import Templates, synthesise
from pipeline.target import Target
from pipeline.verify import verify_function


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that a release of one environment is made from; read once, never changed.

    base  a registry reference, the path of an OCI layout, or "empty"
    """

    target: Target
    settings: Settings
    sources: tuple[FunctionSource, ...]
    platform: Platform
    base: str
    store: BlobStore
    slim: Slim

    @property
    def names(self) -> Names:
        return Names(self.settings.environment)

    @property
    def templates(self) -> Templates:
        return synthesise(self.settings, [source.definition for source in self.sources], self.store.root)


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did: ``changed`` is False when everything was already as wanted."""

    changed: bool
    stacks: tuple[StackOutputs, ...]
    functions: tuple[PushedImage, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


class Clock:
    """A report that passes events on and keeps how long each step took: seconds by step and subject."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.seconds[f"{event.step} {event.subject}".strip()] = round(event.seconds, 3)
        self._report(event)


def release(deployment: Deployment, report: Report) -> Released:
    """Both phases. Stack 1 and the builds run side by side; the functions are switched when their images are in."""
    clock = Clock(report)
    names = deployment.names

    def build() -> tuple[CheckedImage, ...]:
        base = choose_base(deployment.base, deployment.platform, deployment.store, report=clock)
        return build_images(deployment.sources, deployment.platform, base, deployment.store, clock, deployment.slim)

    def push(registry: StackOutputs, images: tuple[CheckedImage, ...]) -> tuple[PushedImage, ...]:
        return push_all(deployment, registry, images, clock)

    def switch(pushed: tuple[PushedImage, ...]) -> StackOutputs:
        return bring_pipeline(deployment, image_parameters(pushed), clock)

    def verify(pushed: tuple[PushedImage, ...], _stack: StackOutputs) -> None:
        with step(clock, "verify", "") as running:
            for image in pushed:
                verify_function(deployment.target.client("lambda"), names.function(image.function), image)
            running.detail = f"{len(pushed)} functions run what was pushed"

    results = run_tasks(
        [
            Task("registry stack", lambda: bring_registry(deployment, clock)),
            Task("images", build),
            Task("push", push, ("registry stack", "images")),
            Task("pipeline stack", switch, ("push",)),
            Task("verify", verify, ("push", "pipeline stack")),
        ]
    )
    stacks = (results["registry stack"], results["pipeline stack"])
    pushed: tuple[PushedImage, ...] = results["push"]
    changed = any(stack.changed for stack in stacks) or any(image.uploaded for image in pushed)
    return Released(changed, stacks, pushed, clock.seconds)


def prepare(deployment: Deployment, report: Report) -> Released:
    """Both stacks without building: every function keeps the image that it has, or stands on its placeholder."""
    clock = Clock(report)
    registry = bring_registry(deployment, clock)
    pipeline = bring_pipeline(deployment, None, clock)
    return Released(registry.changed or pipeline.changed, (registry, pipeline), (), clock.seconds)


def build_images(
    sources: Sequence[FunctionSource], platform: Platform, base: Base, store: BlobStore, report: Report, slim: Slim
) -> tuple[CheckedImage, ...]:
    """Every function's image, held against Lambda's rules; functions with the same dependencies share a layer."""
    images = []
    for source in sources:
        with step(report, "build", source.name) as running:
            image = build_image(source, platform, base, store, slim=slim, report=report)
            images.append(check_image(image, source, store))
            running.detail = f"sha256:{image.digest.short}"
    return tuple(images)


def push_all(
    deployment: Deployment, registry: StackOutputs, images: Sequence[CheckedImage], report: Report
) -> tuple[PushedImage, ...]:
    """Each image in its function's repository, tagged so that no clean-up takes it for a leftover, and read back."""
    pushes = [
        Push(registry[repository_output(image.function)], image, tag=image_tag(image.image.digest)) for image in images
    ]
    hosts = {ImageReference.parse(push.repository_uri).registry for push in pushes}
    with step(report, "push") as running:
        # One account and region has one registry; an empty project has none.
        pushed = tuple(
            image
            for host in hosts
            for image in push_images(deployment.target.registry(host), pushes, deployment.store, report=report)
        )
        uploaded = sum(image.uploaded for image in pushed)
        running.detail = f"{uploaded:,} bytes sent" if uploaded else "everything was there"
    return pushed


def image_tag(digest: Digest) -> str:
    """The immutable tag that keeps a pushed image from being taken for a leftover."""
    return f"image-{digest.hex[:16]}"


def bring_pipeline(deployment: Deployment, images: Mapping[str, str] | None, report: Report) -> StackOutputs:
    """Stack 2 with ``images`` by parameter, None for those it has; a function without one is on its placeholder."""
    name = deployment.names.pipeline_stack
    with step(report, "stack", name) as running:
        cloudformation = deployment.target.client("cloudformation")
        state = read_stack(cloudformation, name)
        parameters = account_parameters(
            deployment.target,
            len(deployment.sources),
            deployment.settings.reserved_concurrency,
            state.parameters,
            report,
        )
        if images is None:
            own = [image_parameter(source.name) for source in deployment.sources]
            images = {parameter: state.parameters[parameter] for parameter in own if state.parameters.get(parameter)}
        wanted = WantedStack(
            name, deployment.templates.pipeline, parameters={**parameters, **images}, tags=_tags(deployment)
        )
        return _apply(deployment, plan_stack(state, wanted), report, running)


def bring_registry(deployment: Deployment, report: Report) -> StackOutputs:
    """Stack 1: the repositories and their placeholders."""
    name = deployment.names.registry_stack
    with step(report, "stack", name) as running:
        state = read_stack(deployment.target.client("cloudformation"), name)
        wanted = WantedStack(name, deployment.templates.registry, tags=_tags(deployment))
        return _apply(deployment, plan_stack(state, wanted), report, running)


def _apply(deployment: Deployment, plan: StackPlan, report: Report, running: Step) -> StackOutputs:
    outputs = apply_stack(deployment.target.client("cloudformation"), plan, report)
    running.detail = "unchanged" if isinstance(plan, NoChange) else f"{type(plan).__name__.lower()}d"
    return outputs


def _tags(deployment: Deployment) -> dict[str, str]:
    return {"transaction-pipeline:environment": deployment.settings.environment, **dict(deployment.settings.tags)}
