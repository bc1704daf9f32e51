"""What a release of one environment is made from, and its two stacks as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cfn.names import Names, image_parameter
from cfn.settings import Settings
from pipeline.account import account_parameters
from pipeline.blobs import BlobStore
from pipeline.events import Report, Step, step
from pipeline.model import FunctionSource, Platform
from pipeline.revision import LABEL as REVISION_LABEL
from pipeline.slim import Slim
from pipeline.stacks import (
    NoChange,
    StackOutputs,
    StackPlan,
    StackState,
    WantedStack,
    apply_stack,
    plan_stack,
    read_stack,
)
from pipeline.synth import Templates, synthesise
from pipeline.target import Target


@dataclass(frozen=True, slots=True)
class Build:
    """What images are built from; needs no account and no credentials.

    base    a registry reference, the path of an OCI layout, or "empty"
    sbom    whether each image gets a bill of materials that refers to it
    labels  function → labels of its image, such as the commit that it comes from
    """

    sources: tuple[FunctionSource, ...]
    platform: Platform
    base: str
    store: BlobStore
    slim: Slim
    sbom: bool = True
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """The one commit that all functions come from, or ""."""
        commits = {each.get(REVISION_LABEL, "") for each in self.labels.values()}
        return commits.pop() if len(commits) == 1 else ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that a release of one environment is made from; read once, never changed."""

    target: Target
    settings: Settings
    build: Build

    @property
    def sources(self) -> tuple[FunctionSource, ...]:
        return self.build.sources

    @property
    def names(self) -> Names:
        return Names(self.settings.environment)

    @property
    def templates(self) -> Templates:
        return synthesise(self.settings, [source.definition for source in self.sources], self.build.store.root)

    @property
    def tags(self) -> dict[str, str]:
        return {"transaction-pipeline:environment": self.settings.environment, **dict(self.settings.tags)}


def read_registry(deployment: Deployment) -> StackState:
    return read_stack(deployment.target.client("cloudformation"), deployment.names.registry_stack)


def read_pipeline(deployment: Deployment) -> StackState:
    return read_stack(deployment.target.client("cloudformation"), deployment.names.pipeline_stack)


def wanted_registry(deployment: Deployment) -> WantedStack:
    """Stack 1: the repositories and their placeholders."""
    return WantedStack(deployment.names.registry_stack, deployment.templates.registry, tags=deployment.tags)


def wanted_pipeline(
    deployment: Deployment, state: StackState, images: Mapping[str, str], report: Report
) -> WantedStack:
    """Stack 2 with ``images`` by parameter; a function without one stands on its placeholder."""
    parameters = account_parameters(
        deployment.target, len(deployment.sources), deployment.settings.reserved_concurrency, state.parameters, report
    )
    return WantedStack(
        deployment.names.pipeline_stack,
        deployment.templates.pipeline,
        parameters={**parameters, **images},
        tags=deployment.tags,
    )


def current_images(deployment: Deployment, state: StackState) -> dict[str, str]:
    """The images that stack 2 has now, by parameter; functions on their placeholder are not in it."""
    own = [image_parameter(source.name) for source in deployment.sources]
    return {name: state.parameters[name] for name in own if state.parameters.get(name)}


def bring_registry(deployment: Deployment, report: Report) -> StackOutputs:
    """Decide what stack 1 needs, and do it."""
    with step(report, "stack", deployment.names.registry_stack) as running:
        plan = plan_stack(read_registry(deployment), wanted_registry(deployment))
        return _apply(deployment, plan, report, running)


def bring_pipeline(
    deployment: Deployment, state: StackState, images: Mapping[str, str], report: Report
) -> tuple[StackOutputs, WantedStack]:
    """Decide what stack 2 needs, coming from ``state``, and do it; what stands, and what was asked for."""
    with step(report, "stack", deployment.names.pipeline_stack) as running:
        wanted = wanted_pipeline(deployment, state, images, report)
        return _apply(deployment, plan_stack(state, wanted), report, running), wanted


def switch_images(deployment: Deployment, images: Mapping[str, str], report: Report) -> StackOutputs:
    """Only the images of stack 2, in one update: its template and every other parameter stay as they are."""
    with step(report, "switch", deployment.names.pipeline_stack) as running:
        state = read_pipeline(deployment)
        wanted = WantedStack(
            state.name, state.template, parameters={**state.parameters, **images}, tags=dict(state.tags)
        )
        return _apply(deployment, plan_stack(state, wanted), report, running)


def _apply(deployment: Deployment, plan: StackPlan, report: Report, running: Step) -> StackOutputs:
    outputs = apply_stack(deployment.target.client("cloudformation"), plan, report)
    running.detail = "unchanged" if isinstance(plan, NoChange) else _PAST.get(type(plan).__name__, "changed")
    return outputs


_PAST = {
    "Create": "created",
    "Update": "updated",
    "Adopt": "created around what was there",
    "ReplaceFailed": "recreated",
}
