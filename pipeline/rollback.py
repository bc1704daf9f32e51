"""Back to an earlier release: one stack update, nothing built and nothing pushed."""

from __future__ import annotations

from dataclasses import dataclass

from cfn.names import repository_output
from pipeline.deployment import Deployment, read_registry, switch_images
from pipeline.errors import ReleaseError
from pipeline.events import Report
from pipeline.ledger import (
    Release,
    ReleaseContent,
    RollbackRefused,
    list_releases,
    plan_rollback,
    read_release,
    record_release,
)
from pipeline.parameters import image_parameters
from pipeline.release import verify
from pipeline.repository import read_images


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The images of ``to`` run again, and ``record`` is the ledger's entry for that.

    unaffected   functions that ``to`` did not have; they run what they ran
    differences  what the stack has otherwise than ``to`` had, apart from images (``ReleaseContent.differences``)
    """

    to: Release
    record: Release
    changed: bool
    unaffected: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def roll_back(deployment: Deployment, number: int | None, report: Report, *, by: str) -> RolledBack:
    """Switch the functions to the images of release ``number``; None for the one before the last.

    Images only: the ledger keeps no templates, so what a release changed of the template or its parameters stays.

    Raises ReleaseError when there is no such release, or when an image of it is gone, naming every reason.
    """
    client = deployment.target.client
    environment = deployment.settings.environment
    releases = list_releases(client("ssm"), environment)
    to = read_release(client("ssm"), environment, number) if number is not None else _before_last(releases, environment)
    outputs = read_registry(deployment).outputs
    functions = [source.name for source in deployment.sources if repository_output(source.name) in outputs]
    plan = plan_rollback(
        to,
        functions,
        {name: outputs[repository_output(name)] for name in functions},
        {
            name: {image.digest for image in read_images(client("ecr"), deployment.names.repository(name))}
            for name in functions
        },
    )
    if isinstance(plan, RollbackRefused):
        raise ReleaseError(
            f"{environment} was not rolled back to release {to.number}",
            "; ".join(plan.reasons),
            "Choose another release with --to; `releases` lists them.",
        )
    switched = switch_images(deployment, image_parameters(plan.images), report)
    verify(deployment, plan.images, report)
    last = releases[-1].content
    stayed = {name: last.images[name] for name in plan.unaffected if name in last.images}
    content = ReleaseContent({**stayed, **to.images}, last.template, last.parameters)
    record, _ = record_release(
        client("ssm"),
        client("ecr"),
        environment,
        content,
        {name: deployment.names.repository(name) for name in content.images},
        by=by,
        # What runs now is of that revision only if all of it is.
        revision=to.revision if content == to.content else "",
    )
    return RolledBack(to, record, switched.changed, plan.unaffected, to.content.differences(content))


def _before_last(releases: tuple[Release, ...], environment: str) -> Release:
    if len(releases) < 2:
        raise ReleaseError(
            f"{environment} was not rolled back",
            f"it has {len(releases)} release{'s' if len(releases) != 1 else ''}, so there is none before the last",
            "`up` makes the next release.",
        )
    return releases[-2]
