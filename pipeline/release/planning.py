"""Decide what a release would do, without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, assert_never

from cfn.names import image_parameter, repository_output
from pipeline.assembly.difference import compared_image
from pipeline.assembly.model import CheckedImage
from pipeline.core import interruption
from pipeline.core.events import Clock, Note, Report, step
from pipeline.drift.detection import StackDrift, detect_drift
from pipeline.drift.drifted import Drifted
from pipeline.drift.function_drift import PUT_BACK, deployed_functions, drift_of, read_drift
from pipeline.forecast.carried_load import Load, read_load
from pipeline.forecast.money import CostChange, cost_change
from pipeline.forecast.release_times import Work, work_of
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
from pipeline.release.exact_plan import ExactPlan, exact_plan, require_own, require_same
from pipeline.release.image_changes import explain_change
from pipeline.release.images import make_images
from pipeline.release.recompressed import keep_deployed
from pipeline.stacks import (
    Adopt,
    CleanUpReview,
    ContinueRollback,
    Create,
    NoChange,
    Refuse,
    ReplaceFailed,
    ResourceChange,
    StackPlan,
    StackState,
    Update,
    Wait,
    WantedStack,
    describe_change,
    plan_stack,
)
from pipeline.stacks.templates_bucket import upload_template

if TYPE_CHECKING:
    from pipeline.assembly.vulnerabilities.vulnerability_gate import Known

_NOTHING = "nothing"
# Bytes of a layer that is fetched only to say what changed in it.
_READ_MOST = 20_000_000


@dataclass(frozen=True, slots=True)
class StackDecision:
    """The decision for one stack; ``parameters`` are the changed ones, as (old, new)."""

    name: str
    decision: str
    reason: str = ""
    parameters: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    resources: tuple[ResourceChange, ...] = ()

    @property
    def changes(self) -> bool:
        return self.decision != _NOTHING


@dataclass(frozen=True, slots=True)
class FunctionDecision:
    """The current and next image of a function, as URIs; None for its placeholder.

    missing  the function keeps its image, which was deleted from its repository and is pushed again
    why      what changed in the image, in one line; "" for nothing, and where it cannot be read
    """

    name: str
    before: str | None
    after: str
    missing: bool = False
    why: str = ""

    @property
    def changes(self) -> bool:
        return self.before != self.after or self.missing


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """The decisions for both stacks and all functions.

    vulnerabilities  known ones in the built images; None if they were not looked up
    cost   None if unknown
    load   None without the transaction pipeline
    drift  what was changed outside of the stacks
    exact  as a file has it
    """

    stacks: tuple[StackDecision, ...]
    functions: tuple[FunctionDecision, ...]
    vulnerabilities: Known | None
    cost: CostChange | None
    load: Load | None
    work: Work
    drift: Drift
    exact: ExactPlan

    @property
    def changes(self) -> bool:
        planned = any(each.changes for each in self.stacks) or any(each.changes for each in self.functions)
        return planned or self.drift.changes


@dataclass(frozen=True, slots=True)
class Drift:
    """What was changed outside of the stacks.

    functions  functions and aliases, by calls to Lambda
    stacks     what CloudFormation found, by stack; {} if it was not asked
    """

    functions: tuple[Drifted, ...] = ()
    stacks: Mapping[str, StackDrift] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Drifted, ...]:
        """Each resource once, with what either side found."""
        found = {(each.resource_type, each.logical_id): each for each in self.functions}
        for each in (one for stack in self.stacks.values() for one in stack.drifted):
            known = found.get((each.resource_type, each.logical_id))
            found[each.resource_type, each.logical_id] = each if known is None else known.with_more(each)
        return tuple(sorted(found.values(), key=lambda each: each.name))

    @property
    def changes(self) -> bool:
        """Whether ``plan`` counts it: all if CloudFormation was asked, else only what every release puts back."""
        if self.stacks:
            return bool(self.all)
        return any(one.path in PUT_BACK for each in self.functions for one in each.differences)


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a release would do.

    built    the images
    before   the images that stack 2 has, by parameter
    after    the image of each function, as a URI
    stacks   both stacks: as they are, as they would be, and the plan
    """

    built: tuple[CheckedImage, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]
    stacks: tuple[tuple[StackState, WantedStack, StackPlan], ...]

    def work(self) -> Work:
        (_, _, registry), (_, _, pipeline) = self.stacks
        images = [image_parameter(image.function) for image in self.built]
        return work_of(pipeline, registry=not isinstance(registry, NoChange), images=images)

    def exact(self, place: str, environment: str) -> ExactPlan:
        return exact_plan(
            place,
            environment,
            {image.function: image for image in self.built},
            {state.name: (state, wanted) for state, wanted, _plan in self.stacks},
            frozenset(image_parameter(image.function) for image in self.built),
        )


def plan_release(deployment: Deployment, report: Report, *, place: str = "", drift: bool = False) -> ReleasePlan:
    """Build the images (into the cache only), read both stacks, and decide as a release would.

    The changed resources come from a change set, which is deleted again.

    place  of the target, for the exact plan
    drift  whether CloudFormation compares every resource, too; functions are always compared
    """
    return interruption.run(partial(_plan_release, deployment, place, Clock(report), drift=drift))


def require_planned(deployment: Deployment, planned: ExactPlan, report: Report, *, place: str) -> None:
    """Raise ReleaseError with all differences if a release would not do what was planned. Changes nothing."""

    def require() -> None:
        environment = deployment.names.ledger
        require_own(planned, place, environment)
        with ThreadPoolExecutor(thread_name_prefix="plan") as pool:
            decided = _decide(deployment, pool, report)
        settled = {state.name for state, _wanted, plan in decided.stacks if isinstance(plan, NoChange)}
        require_same(planned, decided.exact(place, environment), settled)

    interruption.run(require)


def _decide(deployment: Deployment, pool: ThreadPoolExecutor, report: Report) -> _Decided:
    making = pool.submit(make_images, deployment, report)
    registry, pipeline = pool.map(lambda read: read(deployment), (read_registry, read_pipeline))
    before = current_images(deployment, pipeline)
    built = keep_deployed(making.result(), before, deployment.target.registry, report)
    after = {
        image.function: f"{_repository(deployment, registry, image.function)}@{image.image.digest}" for image in built
    }
    images = {image_parameter(name): uri for name, uri in after.items()}
    wanted = (
        wanted_registry(deployment, registry),
        wanted_pipeline(deployment, images, ask_account(deployment, pipeline, report)),
    )
    stacks = zip((registry, pipeline), wanted, strict=True)
    return _Decided(built, before, after, tuple((state, each, plan_stack(state, each)) for state, each in stacks))


def _plan_release(deployment: Deployment, place: str, report: Report, *, drift: bool) -> ReleasePlan:
    with ThreadPoolExecutor(thread_name_prefix="plan") as pool:
        decided = _decide(deployment, pool, report)
        pipeline, wanted, _plan = decided.stacks[1]
        drifting = pool.submit(read_drift, deployment.target.client("lambda"), deployed_functions(pipeline))
        detecting = {
            state.name: pool.submit(_detect, deployment, plan, report) for state, _, plan in decided.stacks if drift
        }
        functions = pool.map(
            lambda each: _function(
                deployment, each, decided.before.get(image_parameter(each.function)), decided.after[each.function]
            ),
            sorted(decided.built, key=lambda each: each.function),
        )
        return ReleasePlan(
            tuple(pool.map(lambda stack: _describe(deployment, report, stack[2]), decided.stacks)),
            tuple(functions),
            _vulnerabilities(deployment, decided.built, report),
            cost_change(
                pipeline.template,
                deployment.templates.pipeline,
                deployment.definitions,
                deployment.names,
                transactions=deployment.settings.has_transactions,
            ),
            read_load(
                deployment.target.client("lambda"),
                deployment.settings,
                deployment.definitions,
                pipeline,
                wanted.parameters,
            ),
            decided.work(),
            Drift(drift_of(drifting.result()), {name: found.result() for name, found in detecting.items()}),
            decided.exact(place, deployment.names.ledger),
        )


def _detect(deployment: Deployment, plan: StackPlan, report: Report) -> StackDrift:
    upload = partial(upload_template, deployment.target.client, report=report)
    with step(report, "detect drift", plan.wanted.name) as running:
        found = detect_drift(deployment.target.client("cloudformation"), plan, upload)
        running.detail = f"{len(found.drifted)} resources" if found.by else "not offered here"
    return found


def _vulnerabilities(deployment: Deployment, images: tuple[CheckedImage, ...], report: Report) -> Known | None:
    build = deployment.build
    if build.gate is None or deployment.supply is not None:
        return None
    from pipeline.assembly.vulnerabilities.vulnerability_gate import DataUnavailable, Known, find_vulnerabilities

    try:
        return Known(build.gate, find_vulnerabilities(build.gate, images, build.sources, build.store, report))
    except DataUnavailable as problem:
        report(Note(f"{problem.what}: {problem.why}"))
        return None


def _function(deployment: Deployment, image: CheckedImage, before: str | None, after: str) -> FunctionDecision:
    name, missing, why = deployment.names.function(image.function), False, ""
    if before == after:
        kept = ImageReference.parse(after)
        assert kept.digest is not None  # noqa: S101  (stack 2 has images by digest)
        missing = deployment.target.registry(kept.registry).find_manifest(kept.repository, kept.digest) is None
    elif before is not None:
        deployed = ImageReference.parse(before)
        store = deployment.build.store
        now = compared_image(image.image, store)
        why = explain_change(deployment.target.registry(deployed.registry), deployed, now, store, _READ_MOST)
    return FunctionDecision(name, before, after, missing, why)


def _repository(deployment: Deployment, registry: StackState, function: str) -> str:
    """The URI of a function's repository, also of one that stack 1 will create.

    Without stack 1 the registry's address is unknown, and only the name is returned.
    """
    if standing := registry.outputs.get(repository_output(function)):
        return standing
    name = deployment.names.repository(function)
    others = [repository_output(source.name) for source in deployment.sources]
    hosts = {ImageReference.parse(registry.outputs[each]).registry for each in others if each in registry.outputs}
    return f"{hosts.pop()}/{name}" if hosts else name


def _describe(deployment: Deployment, report: Report, plan: StackPlan) -> StackDecision:
    name = plan.wanted.name
    resources = describe_change(
        deployment.target.client("cloudformation"),
        plan,
        upload=partial(upload_template, deployment.target.client, report=report),
    )
    match plan:
        case Create():
            return StackDecision(name, "create", resources=resources)
        case Adopt():
            return StackDecision(name, "create, importing existing resources", resources=resources)
        case CleanUpReview():
            return StackDecision(name, "drop an abandoned review, then create", resources=resources)
        case ReplaceFailed():
            return StackDecision(name, "delete the failed stack, then create", resources=resources)
        case Update(parameters=parameters):
            return StackDecision(name, "update", "", parameters, resources)
        case Wait():
            return StackDecision(name, "wait for CloudFormation", resources=resources)
        case ContinueRollback():
            return StackDecision(name, "continue the rollback", resources=resources)
        case NoChange():
            return StackDecision(name, _NOTHING)
        case Refuse(reason=reason, next_step=next_step):
            return StackDecision(name, "refuse", f"{reason}. {next_step}")
    assert_never(plan)
