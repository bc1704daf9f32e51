"""Return to an earlier release in one stack update, without building or pushing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cfn.names import image_parameter, repository_output
from pipeline.assembly.model import PushedImage
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.core.events import Report
from pipeline.environment.parameters import image_parameters
from pipeline.ledger.kept_templates import find_template, read_template
from pipeline.ledger.releases import (
    Release,
    ReleaseContent,
    RollbackRefused,
    list_releases,
    plan_rollback,
    read_release,
    record_release,
    template_digest,
)
from pipeline.ledger.stored_images import StoredImage, read_archived, read_images
from pipeline.oci.values import Digest, ImageReference
from pipeline.release.artifacts import require_proof
from pipeline.release.deployment import Deployment, read_pipeline, read_registry, switch_to
from pipeline.release.verify import verify_functions
from pipeline.stacks import StackState


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The result of a rollback to release ``to``; ``record`` is its entry in the ledger.

    later        functions that ``to`` did not have: deleted with its template, else unchanged
    differences  how the stack differs from ``to``, apart from images (``ReleaseContent.differences``); () unless only
                 images were rolled back
    """

    to: Release
    record: Release
    changed: bool
    later: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Way:
    """What a return to a release needs.

    template  of the release; None if only images are returned, or it was not kept
    later     functions of the stack that the release did not have
    """

    to: Release
    releases: tuple[Release, ...]
    images: tuple[PushedImage, ...]
    state: StackState
    template: str | None
    later: tuple[str, ...]


def _find_way(
    deployment: Deployment, number: int | None, report: Report, *, by: str, images_only: bool = False
) -> _Way:
    """Raises ReleaseError if the release does not exist or its images are gone, with every reason."""
    client, place = deployment.target.client, deployment.target.place(by)
    environment = deployment.settings.environment
    releases = list_releases(client("ssm"), deployment.names.ledger)
    to = (
        read_release(client("ssm"), deployment.names.ledger, number)
        if number is not None
        else _before_last(releases, environment)
    )
    outputs = read_registry(deployment).outputs
    functions = [source.name for source in deployment.sources if repository_output(source.name) in outputs]
    repositories = {name: outputs[repository_output(name)] for name in functions}
    stored = {name: read_images(client("ecr"), deployment.names.repository(name)) for name in functions}
    digests = {name: {image.digest for image in images} for name, images in stored.items()}
    archived = {
        name: read_archived(client("ecr"), deployment.names.repository(name), [digest])
        for name, digest in to.images.items()
        if name in functions and digest not in digests[name]
    }
    plan = plan_rollback(to, functions, repositories, digests, place, archived)
    if isinstance(plan, RollbackRefused):
        raise ReleaseError(
            f"{environment} was not rolled back to release {to.number}",
            "; ".join(plan.reasons),
            NextStep("Choose another release with --to. List them", ("releases",)),
        )
    require_proof(deployment, [image.uri for image in plan.images], report)
    state = read_pipeline(deployment)
    later = tuple(name for name in plan.unaffected if image_parameter(name) in state.parameters)
    template = None if images_only else _template_of(deployment, to, state, stored, repositories)
    return _Way(to, releases, plan.images, state, template, later)


def recorded_release(deployment: Deployment, number: int, report: Report, *, by: str) -> tuple[str, Mapping[str, str]]:
    """The template that a return to release ``number`` would deploy, and its images by parameter.

    Raises as ``roll_back``.
    """
    way = _find_way(deployment, number, report, by=by)
    return way.template or way.state.template, image_parameters(way.images)


def roll_back(
    deployment: Deployment, number: int | None, report: Report, *, by: str, images_only: bool = False
) -> RolledBack:
    """Switch the stack to release ``number``; None for the one before the last.

    Template and parameters are rolled back too, unless ``images_only`` or the template was not kept.

    Raises ReleaseError if the release does not exist or its images are gone, with every reason.
    """
    client, place = deployment.target.client, deployment.target.place(by)
    environment = deployment.settings.environment
    way = _find_way(deployment, number, report, by=by, images_only=images_only)
    to, state, template, later = way.to, way.state, way.template, way.later
    images = image_parameters(way.images)
    # Loaded here, as in ``release``: it evaluates expressions and makes a template.
    from pipeline.release.rehearsed import require_rehearsed

    if template is None:
        if lacking := sorted(name for name in to.images if image_parameter(name) not in state.parameters):
            raise ReleaseError(
                f"{environment} was not rolled back to release {to.number}",
                f"the stack no longer has {', '.join(lacking)}, so images alone do not restore the release",
                NextStep(
                    "Roll back the template too, or deploy from the release's commit",
                    ("rollback", "--to", str(to.number)),
                ),
            )
        require_rehearsed(deployment, state.template, images, report)
        switched = switch_to(deployment, state, state.template, {**state.parameters, **images}, report)
        content = _content_of(state, to.images, later, way.releases[-1].content.parameters)
    else:
        require_rehearsed(deployment, template, images, report)
        switched = switch_to(deployment, state, template, {**to.content.parameters, **images}, report)
        content = to.content
    verify_functions(deployment, way.images, report)
    record, _ = record_release(
        client("ssm"),
        client("ecr"),
        deployment.names.ledger,
        content,
        {name: deployment.names.repository(name) for name in content.images},
        by=by,
        # The result is of that commit only if everything is rolled back.
        revision=to.revision if content == to.content else "",
        place=place,
    )
    return RolledBack(to, record, switched.changed, later, to.content.differences(content))


def _content_of(
    state: StackState, images: Mapping[str, Digest], later: Sequence[str], parameters: Collection[str]
) -> ReleaseContent:
    """The content after switching only ``images`` in the stack.

    later       functions that stay unchanged
    parameters  the names of the parameters that a release records
    """
    stayed: dict[str, Digest] = {}
    for name in later:
        uri = state.parameters[image_parameter(name)]
        if uri and (digest := ImageReference.parse(uri).digest) is not None:
            stayed[name] = digest
    kept = {name: state.parameters[name] for name in parameters if name in state.parameters}
    return ReleaseContent({**stayed, **images}, template_digest(state.template), kept)


def _template_of(
    deployment: Deployment,
    to: Release,
    state: StackState,
    stored: Mapping[str, tuple[StoredImage, ...]],
    repositories: Mapping[str, str],
) -> str | None:
    """The template of a release, from the stack if it has it; None if it was not kept."""
    if state.template and template_digest(state.template) == to.content.template:
        return state.template
    kept = find_template([image for images in stored.values() for image in images], to.images, to.content.template)
    if kept is None:
        return None
    registry = deployment.target.registry(ImageReference.parse(next(iter(repositories.values()))).registry)
    return read_template(registry, kept, deployment.build.store)


def _before_last(releases: tuple[Release, ...], environment: str) -> Release:
    if len(releases) < 2:
        raise ReleaseError(
            f"{environment} was not rolled back",
            f"it has {len(releases)} release{'s' if len(releases) != 1 else ''}, so there is none before the last",
            NextStep("Make the next release", ("up",)),
        )
    return releases[-2]
