"""The inputs of a release of one environment, and its two wanted stacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, assert_never

from cfn.calls import interface_endpoints
from cfn.concurrency import loaded, reservation
from cfn.names import Names, image_parameter
from cfn.settings import FunctionDefinition, Settings
from pipeline.assembly.build import Build
from pipeline.assembly.model import CheckedImage, FunctionSource
from pipeline.core.errors import BaseImageError, NextStep, RegistryError
from pipeline.core.events import Note, Report, Step, step
from pipeline.environment.parameters import account_parameters
from pipeline.environment.synth import Templates, synthesise
from pipeline.oci.blobs import BlobStore
from pipeline.oci.values import Artifact, ImageReference
from pipeline.rehearsal.gate import RequiredRehearsal
from pipeline.release.exact_plan import ExactPlan, require_before
from pipeline.release.traffic import at_once, operation_seconds, shift_parameter
from pipeline.release.versions import abandoned, delete_superseded, deleting_in_cleanup, described, move_back
from pipeline.stacks import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    ExistingResource,
    NoChange,
    Refuse,
    ReplaceFailed,
    ResourceChange,
    StackFailed,
    StackOutputs,
    StackPlan,
    StackState,
    StackStatus,
    Update,
    Wait,
    WantedStack,
    apply_stack,
    describe_change,
    find_existing,
    missing_images,
    plan_stack,
    read_stack,
)
from pipeline.stacks.templates_bucket import upload_template
from pipeline.target import Target

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

# Called with a stack's name and the resources that would be lost; returns to approve, raises to refuse.
Approve = Callable[[str, Sequence[ResourceChange]], None]


def approve_all(_stack: str, _lost: Sequence[ResourceChange]) -> None:
    """Approves every change."""


class Supply(Protocol):
    """Images that a release takes from elsewhere instead of building them."""

    @property
    def revision(self) -> str:
        """The commit that the images were built from, or ""."""

    @property
    def origin(self) -> str:
        """Where the images come from, for the ledger."""

    def images(self, deployment: Deployment, report: Report) -> tuple[CheckedImage, ...]:
        """The checked images, one of each function."""

    def artifacts(self, image: CheckedImage, store: BlobStore) -> tuple[Artifact, ...]:
        """What refers to an image and is pushed with it."""

    def registry(self, host: str) -> Registry:
        """The registry that has the layers."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The inputs of a release of one environment.

    approve       called before a stack update that loses data
    exactly       the plan that the release has to keep to; None for none
    revert_drift  whether what was changed outside of the stacks is reverted
    rehearsal     that a release has to pass before it switches; None for none
    supply        where the images come from; None builds them from the sources
    """

    target: Target
    settings: Settings
    build: Build
    approve: Approve = approve_all
    exactly: ExactPlan | None = None
    revert_drift: bool = False
    rehearsal: RequiredRehearsal | None = None
    supply: Supply | None = None

    @property
    def sources(self) -> tuple[FunctionSource, ...]:
        return self.build.sources

    @property
    def names(self) -> Names:
        return self.settings.names

    @property
    def functions(self) -> dict[str, str]:
        """The names of the functions in Lambda, by folder name."""
        return {source.name: self.names.function(source.name) for source in self.sources}

    @property
    def templates(self) -> Templates:
        return synthesise(self.settings, self.definitions, self.build.store.root)

    @property
    def definitions(self) -> list[FunctionDefinition]:
        return [source.definition for source in self.sources]

    @property
    def tags(self) -> dict[str, str]:
        return {"transaction-pipeline:environment": self.settings.environment, **dict(self.settings.tags)}


def read_registry(deployment: Deployment) -> StackState:
    return read_stack(deployment.target.client("cloudformation"), deployment.names.registry_stack)


def read_pipeline(deployment: Deployment) -> StackState:
    return read_stack(deployment.target.client("cloudformation"), deployment.names.pipeline_stack)


def wanted_registry(deployment: Deployment, state: StackState) -> WantedStack:
    """The wanted stack 1, given its ``state``: the repositories and their placeholders."""
    template = deployment.templates.registry
    existing = left_behind(deployment, state, template)
    return WantedStack(
        deployment.names.registry_stack,
        template,
        tags=deployment.tags,
        existing=existing,
        revert_drift=deployment.revert_drift,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Facts about stack 2 that only the account has: its state, parameter values, and resources of an earlier stack."""

    before: StackState
    parameters: Mapping[str, str]
    existing: tuple[ExistingResource, ...]


def ask_account(deployment: Deployment, state: StackState, report: Report) -> Asked:
    """Read the account's facts about stack 2, given its ``state``."""
    parameters = account_parameters(
        deployment.target,
        len(loaded(deployment.settings, deployment.definitions)),
        reservation(deployment.settings, deployment.definitions),
        {} if state.status.gone else state.parameters,
        report,
        zones=deployment.settings.zones,
        services=interface_endpoints(deployment.settings, deployment.definitions),
        names=json.loads(deployment.templates.pipeline).get("Parameters", {}),
    )
    return Asked(state, parameters, left_behind(deployment, state, deployment.templates.pipeline))


def wanted_pipeline(deployment: Deployment, images: Mapping[str, str], asked: Asked) -> WantedStack:
    """The wanted stack 2 with ``images`` by parameter; functions without one run their placeholder. Pure."""
    template = deployment.templates.pipeline
    return WantedStack(
        deployment.names.pipeline_stack,
        template,
        parameters={**asked.parameters, **images, **shift_parameter(template, asked.before, images)},
        tags=deployment.tags,
        existing=asked.existing,
        revert_drift=deployment.revert_drift,
    )


def left_behind(deployment: Deployment, state: StackState, template: str) -> tuple[ExistingResource, ...]:
    """Resources of a template that an earlier stack left behind; () if the stack exists."""
    return find_existing(deployment.target.client, template) if state.status.gone else ()


def current_images(deployment: Deployment, state: StackState) -> dict[str, str]:
    """The current images of stack 2 by parameter, without placeholders."""
    own = [image_parameter(source.name) for source in deployment.sources]
    return {name: state.parameters[name] for name in own if state.parameters.get(name)}


def bring_registry(deployment: Deployment, report: Report) -> StackOutputs:
    """Create or update stack 1."""
    with step(report, "stack", deployment.names.registry_stack) as running:
        state = read_registry(deployment)
        plan = _plan(deployment, state, wanted_registry(deployment, state))
        return _apply(deployment, plan, report, running)


def bring_pipeline(
    deployment: Deployment, state: StackState, images: Mapping[str, str], report: Report
) -> tuple[StackOutputs, WantedStack]:
    """Create or update stack 2, given its ``state``; returns its outputs and the wanted stack."""
    with step(report, "stack", deployment.names.pipeline_stack) as running:
        wanted = wanted_pipeline(deployment, images, ask_account(deployment, state, report))
        return _apply(deployment, _plan(deployment, state, wanted), report, running), wanted


def _plan(deployment: Deployment, state: StackState, wanted: WantedStack) -> StackPlan:
    """The plan of a stack. Raises ReleaseError if the release keeps to a plan that was made for another state of it."""
    plan = plan_stack(state, wanted)
    if deployment.exactly is not None and not isinstance(plan, NoChange):
        require_before(deployment.exactly, state)
    return plan


def switch_images(
    deployment: Deployment, images: Mapping[str, str], report: Report, *, express: bool = False
) -> StackOutputs:
    """Update only the images of stack 2; template and other parameters stay unchanged.

    express  return before the functions are ready, for which the caller waits
    """
    state = read_pipeline(deployment)
    return switch_to(deployment, state, state.template, {**state.parameters, **images}, report, express=express)


def switch_to(
    deployment: Deployment, state: StackState, template: str, parameters: Mapping[str, str], report: Report, *,
    express: bool = False,
) -> StackOutputs:  # fmt: skip
    """Update stack 2, given its ``state``, to this template and these parameters; traffic moves at once."""
    with step(report, "switch", state.name) as running:
        parameters = {**parameters, **at_once(template)}
        wanted = WantedStack(state.name, template, parameters, tags=dict(state.tags), express=express)
        return _apply(deployment, plan_stack(state, wanted), report, running, back=True)


def go_back(deployment: Deployment, before: StackState, images: Mapping[str, str], report: Report) -> StackOutputs:
    """Return stack 2 to its state ``before``, with ``images``; only to the images if the template would lose data."""
    state = read_pipeline(deployment)
    parameters = {**before.parameters, **images, **at_once(before.template)}
    plan = plan_stack(state, WantedStack(state.name, before.template, parameters, tags=dict(before.tags)))
    if not before.template or losses(deployment, plan, report):
        return switch_images(deployment, images, report)
    with step(report, "switch", state.name) as running:
        return _apply(deployment, plan, report, running, back=True)


def losses(deployment: Deployment, plan: StackPlan, report: Report) -> tuple[ResourceChange, ...]:
    """The resources that a plan replaces or deletes with their data, from a change set.

    Skipped for updates that change only images, like most: they replace nothing.
    """
    if not isinstance(plan, Update):
        return ()
    images = {image_parameter(source.name) for source in deployment.sources}
    if not plan.template_changed and images.issuperset(plan.parameters) and not plan.only_cloudformation_knows:
        return ()
    upload = partial(upload_template, deployment.target.client, report=report)
    changes = describe_change(deployment.target.client("cloudformation"), plan, upload=upload)
    return tuple(each for each in changes if each.destructive)


def _apply(
    deployment: Deployment, plan: StackPlan, report: Report, running: Step, *, back: bool = False
) -> StackOutputs:
    """Apply a plan, with approval if data would be lost. Images that Lambda does not find are pushed again once.

    back  the update returns to an earlier version: traffic moves to a kept version before
    """
    cloudformation = deployment.target.client("cloudformation")
    upload = partial(upload_template, deployment.target.client, report=report)
    put_back: set[ImageReference] = set()
    functions = deployment.functions if plan.wanted.name == deployment.names.pipeline_stack else {}
    lambda_client = deployment.target.client("lambda") if functions else None

    def approve(update: Update) -> None:
        if lost := losses(deployment, update, report):
            deployment.approve(update.wanted.name, lost)
        if update.state.status is StackStatus.UPDATE_ROLLBACK_COMPLETE:
            delete_superseded(lambda_client, functions.values(), report, abandoned)
        if back:
            wanted = update.wanted
            move_back(lambda_client, described(wanted.template_body, wanted.parameters, functions), report)

    def existing(template: str) -> tuple[ExistingResource, ...]:
        return find_existing(deployment.target.client, template)

    while True:
        try:
            outputs = apply_stack(
                cloudformation,
                plan,
                deleting_in_cleanup(lambda_client, functions.values(), report),
                timeout=operation_seconds(plan.wanted.template_body),
                approve=approve,
                existing=existing,
                upload=upload,
            )
            break
        except StackFailed as failed:
            missing = set(missing_images(failed.failures)) - put_back
            if not missing:
                raise
            for image in sorted(missing, key=str):
                _put_back(deployment, image, failed, report)
            put_back |= missing
            plan = plan_stack(read_stack(cloudformation, plan.wanted.name), plan.wanted)
    running.detail = _past(plan) if outputs.changed else "unchanged"
    return outputs


def _put_back(deployment: Deployment, image: ImageReference, failed: StackFailed, report: Report) -> None:
    """Push an image again by its digest. Raises the stack's failure with a next step if that fails."""
    from pipeline.release.restore import restore_image

    report(Note(f"{image.repository} lacks {image.digest}; pushing it again"))
    try:
        restore_image(deployment.target.registry(image.registry), image, deployment.build, report)
    except (RegistryError, BaseImageError) as problem:
        failed.why = f"{failed.why}; it could not be pushed again: {problem.what}: {problem.why}"
        failed.next_step = NextStep(
            "Check out the commit that the image was built from, build it, which gives the same digest again, and"
            " repeat the command that failed",
            ("build",),
        )
        raise failed from problem


def _past(plan: StackPlan) -> str:
    """A description of the applied plan; "" if the stack is unchanged."""
    match plan:
        case Create() | CleanUpReview():
            return "created"
        case Update():
            return "updated"
        case Adopt():
            return "created, importing existing resources"
        case ReplaceFailed():
            return "recreated"
        case ContinueRollback():
            return "rolled back, then updated"
        case Wait() | NoChange() | Refuse():
            return "changed"
    assert_never(plan)
