"""The order of a release: sources → stack 1 → images → stack 2 → running functions. Nothing here prints.

Phase 1 makes the repositories and their placeholders; phase 2 stands on them, so no deployment meets a missing image.
Every step is safe to repeat: a run that was killed anywhere is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from cfn.names import Names, image_parameter, repository_output
from cfn.settings import Settings
from pipeline.base import choose_base
from pipeline.blobs import BlobStore
from pipeline.build import build_image
from pipeline.check import check_image
from pipeline.events import Event, Report, StepFinished, step
from pipeline.graph import Task, run_tasks
from pipeline.model import Base, CheckedImage, FunctionSource, ImageReference, Platform, PushedImage
from pipeline.parameters import image_parameters
from pipeline.push import push_image
from pipeline.stacks import NoChange, StackOutputs, WantedStack, apply_stack, plan_stack, read_stack
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
    builds = tuple(f"image {source.name}" for source in deployment.sources)

    def push_all(registry: StackOutputs, *images: CheckedImage) -> tuple[PushedImage, ...]:
        return push_images(deployment, registry, images, clock)

    def switch(pushed: tuple[PushedImage, ...]) -> StackOutputs:
        return bring_stack(deployment, pipeline_stack(deployment, image_parameters(pushed)), clock)

    def verify(pushed: tuple[PushedImage, ...], _stack: StackOutputs) -> None:
        with step(clock, "verify", "") as running:
            for image in pushed:
                verify_function(deployment.target.client("lambda"), names.function(image.function), image)
            running.detail = f"{len(pushed)} functions run what was pushed"

    results = run_tasks(
        [
            Task("registry stack", lambda: bring_stack(deployment, registry_stack(deployment), clock)),
            Task("base", lambda: choose_base(deployment.base, deployment.platform, deployment.store, report=clock)),
            *(
                Task(name, partial(build, source, deployment.platform, deployment.store, clock), ("base",))
                for name, source in zip(builds, deployment.sources, strict=True)
            ),
            Task("push", push_all, ("registry stack", *builds)),
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
    registry = bring_stack(deployment, registry_stack(deployment), clock)
    current = read_stack(deployment.target.client("cloudformation"), deployment.names.pipeline_stack).parameters
    kept = {
        name: current[name]
        for name in (image_parameter(source.name) for source in deployment.sources)
        if current.get(name)
    }
    pipeline = bring_stack(deployment, pipeline_stack(deployment, kept), clock)
    return Released(registry.changed or pipeline.changed, (registry, pipeline), (), clock.seconds)


def build(source: FunctionSource, platform: Platform, store: BlobStore, report: Report, base: Base) -> CheckedImage:
    """One function's image, held against Lambda's rules."""
    with step(report, "build", source.name) as running:
        image = build_image(source, platform, base, store)
        checked = check_image(image, source, store)
        running.detail = f"sha256:{image.digest.short}"
    return checked


def push_images(
    deployment: Deployment, registry: StackOutputs, images: Sequence[CheckedImage], report: Report
) -> tuple[PushedImage, ...]:
    """Each image in its function's repository, tagged so that no clean-up takes it for a leftover, and read back."""
    pushed = []
    for image in images:
        with step(report, "push", image.function) as running:
            repository = ImageReference.parse(registry[repository_output(image.function)])
            result = push_image(
                deployment.target.registry(repository.registry),
                registry[repository_output(image.function)],
                image,
                deployment.store,
                tag=f"image-{image.image.digest.hex[:16]}",
                report=report,
            )
            running.detail = f"{result.uploaded:,} bytes sent" if result.uploaded else "already there"
        pushed.append(result)
    return tuple(pushed)


def registry_stack(deployment: Deployment) -> WantedStack:
    """Stack 1 as it should be."""
    return WantedStack(deployment.names.registry_stack, deployment.templates.registry, tags=_tags(deployment))


def pipeline_stack(deployment: Deployment, images: Mapping[str, str]) -> WantedStack:
    """Stack 2 as it should be, with ``images`` by parameter; a function without one stands on its placeholder."""
    return WantedStack(
        deployment.names.pipeline_stack,
        deployment.templates.pipeline,
        parameters={**account_parameters(deployment), **images},
        tags=_tags(deployment),
    )


def bring_stack(deployment: Deployment, wanted: WantedStack, report: Report) -> StackOutputs:
    """Decide what a stack needs, and do it."""
    cloudformation = deployment.target.client("cloudformation")
    with step(report, "stack", wanted.name) as running:
        plan = plan_stack(read_stack(cloudformation, wanted.name), wanted)
        outputs = apply_stack(cloudformation, plan, report)
        running.detail = "unchanged" if isinstance(plan, NoChange) else type(plan).__name__.lower()
    return outputs


def account_parameters(deployment: Deployment) -> dict[str, str]:
    """Parameters whose values only the account or the region knows."""
    return {}


def _tags(deployment: Deployment) -> dict[str, str]:
    return {"transaction-pipeline:environment": deployment.settings.environment, **dict(deployment.settings.tags)}
