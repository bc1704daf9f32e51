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
    """``to`` is the release that runs again, ``record`` the ledger's entry for having gone back to it."""

    to: Release
    record: Release
    changed: bool
    unaffected: tuple[str, ...] = ()


def roll_back(deployment: Deployment, number: int | None, report: Report, *, by: str) -> RolledBack:
    """Switch the functions to the images of release ``number``; None for the one before the last.

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
            "Choose another release with --to; `./bootstrap.py releases` lists them.",
        )
    switched = switch_images(deployment, image_parameters(plan.images), report)
    verify(deployment, plan.images, report)
    record, _ = record_release(
        client("ssm"),
        client("ecr"),
        environment,
        ReleaseContent(to.images, releases[-1].content.template, releases[-1].content.parameters),
        {name: deployment.names.repository(name) for name in to.images},
        by=by,
        revision=to.revision,
    )
    return RolledBack(to, record, switched.changed, plan.unaffected)


def _before_last(releases: tuple[Release, ...], environment: str) -> Release:
    if len(releases) < 2:
        raise ReleaseError(
            f"{environment} was not rolled back",
            f"it has {len(releases)} release{'s' if len(releases) != 1 else ''}, so there is none before the last",
            "`./bootstrap.py up` makes the next release.",
        )
    return releases[-2]
