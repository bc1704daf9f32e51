"""What a release would do, read and decided without changing anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from cfn.names import image_parameter, repository_output
from pipeline.core.events import Report
from pipeline.oci.values import ImageReference
from pipeline.release.deployment import (
    Deployment,
    ask_account,
    current_images,
    read_pipeline,
    read_registry,
    wanted_pipeline,
    wanted_registry,
)
from pipeline.release.graph import Task, run_tasks
from pipeline.release.release import build_images
from pipeline.stacks import NoChange, Refuse, ResourceChange, StackPlan, StackState, Update, describe_change, plan_stack
from pipeline.stacks.templates_bucket import upload_template

DECISIONS = {
    "Create": "create",
    "Adopt": "create around what is there",
    "CleanUpReview": "drop an abandoned review, then create",
    "Update": "update",
    "ReplaceFailed": "delete the failed stack, then create",
    "Wait": "wait until CloudFormation is done",
    "ContinueRollback": "continue the rollback",
    "NoChange": "nothing",
    "Refuse": "refuse",
}


@dataclass(frozen=True, slots=True)
class StackDecision:
    """What would be done with one stack; ``parameters`` are those that change, as (old, new)."""

    name: str
    decision: str
    reason: str = ""
    parameters: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    resources: tuple[ResourceChange, ...] = ()

    @property
    def changes(self) -> bool:
        return self.decision != DECISIONS["NoChange"]


@dataclass(frozen=True, slots=True)
class FunctionDecision:
    """Which image a function has and would get, as URIs; None for its placeholder."""

    name: str
    before: str | None
    after: str

    @property
    def changes(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class CostDecision:
    """What the environment costs in USD; ``before`` is None where there is no pipeline stack yet.

    per_month    whatever the load
    per_million  transactions, on top
    """

    per_month: float
    per_million: float
    before: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """The decisions for both stacks and all functions. cost: None where it cannot be computed."""

    stacks: tuple[StackDecision, ...]
    functions: tuple[FunctionDecision, ...]
    cost: CostDecision | None = None

    @property
    def changes(self) -> bool:
        return any(each.changes for each in self.stacks) or any(each.changes for each in self.functions)


def plan_release(deployment: Deployment, report: Report) -> ReleasePlan:
    """Builds the images (into the cache only), reads both stacks, and decides as a release would.

    CloudFormation is asked for the resources of an update by a change set, which is deleted again.
    """
    cloudformation = deployment.target.client("cloudformation")
    results = run_tasks(
        [
            Task("images", lambda: build_images(deployment.build, report)),
            Task("registry", lambda: read_registry(deployment)),
            Task("pipeline", lambda: read_pipeline(deployment)),
        ]
    )
    registry, pipeline = results["registry"], results["pipeline"]
    after = {
        image.function: f"{_repository(deployment, registry, image.function)}@{image.image.digest}"
        for image in results["images"]
    }
    before = current_images(deployment, pipeline)
    images = {image_parameter(name): uri for name, uri in after.items()}
    asked = ask_account(deployment, pipeline, report)
    plans = {
        wanted.name: plan_stack(state, wanted)
        for state, wanted in (
            (registry, wanted_registry(deployment, registry)),
            (pipeline, wanted_pipeline(deployment, images, asked)),
        )
    }
    upload = partial(upload_template, deployment.target.client, report=report)
    described = run_tasks(
        [
            Task(name, lambda plan=plan: describe_change(cloudformation, plan, upload=upload))
            for name, plan in plans.items()
        ]
    )
    return ReleasePlan(
        tuple(_decision(name, plan, described[name]) for name, plan in plans.items()),
        tuple(
            FunctionDecision(deployment.names.function(name), before.get(image_parameter(name)), uri)
            for name, uri in sorted(after.items())
        ),
        _cost(pipeline, deployment.templates.pipeline),
    )


def _repository(deployment: Deployment, registry: StackState, function: str) -> str:
    """The URI of a function's repository; of one that stack 1 has yet to make, the URI that it will have.

    Before stack 1 is there at all, its repositories have no address that is known, only names.
    """
    if standing := registry.outputs.get(repository_output(function)):
        return standing
    name = deployment.names.repository(function)
    others = [repository_output(source.name) for source in deployment.sources]
    hosts = {ImageReference.parse(registry.outputs[each]).registry for each in others if each in registry.outputs}
    return f"{hosts.pop()}/{name}" if hosts else name


def _cost(state: StackState, template: str) -> CostDecision | None:
    """From the templates alone; None for a pipeline of other functions than those whose traffic is known."""
    from pipeline.core.errors import SettingsError
    from pipeline.transactions.cost import compute_cost
    from pipeline.transactions.prices import Prices

    try:
        prices = Prices.load()
        after = compute_cost(json.loads(template), prices)
        before = compute_cost(json.loads(state.template), prices) if state.template else None
    except SettingsError:
        return None
    return CostDecision(
        after.per_month, after.per_million, (before.per_month, before.per_million) if before is not None else None
    )


def _decision(name: str, plan: StackPlan, resources: tuple[ResourceChange, ...]) -> StackDecision:
    decision = DECISIONS[type(plan).__name__]
    match plan:
        case Refuse(reason=reason, next_step=next_step):
            return StackDecision(name, decision, f"{reason}. {next_step}")
        case Update(parameters=parameters):
            return StackDecision(name, decision, "", parameters, resources)
        case NoChange():
            return StackDecision(name, decision)
        case _:
            return StackDecision(name, decision, resources=resources)
