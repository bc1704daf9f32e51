"""Find the release to promote, and decide whether its images are still those that the ledger recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import Names, repository_output
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.ledger.releases import Release, read_latest, read_release
from pipeline.ledger.stored_images import restore_command
from pipeline.oci.values import Digest, ImageReference
from pipeline.release.environments import require_environment
from pipeline.stacks import read_stack
from pipeline.target import Target


@dataclass(frozen=True, slots=True)
class Stored:
    """What ECR says of an image. status: ACTIVE, ARCHIVED or ACTIVATING (API_ImageDetail, ``imageStatus``)."""

    repository: str
    status: str
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A release whose images can be copied. images: function → reference by digest."""

    release: Release
    images: Mapping[str, ImageReference]


def read_recorded(source: Target, names: Names, number: int | None, functions: Collection[str], place: str) -> Recorded:
    """The release ``number`` of an environment; None for its last one.

    functions  the functions of the project, which the release must have
    place      of ``source``, as in ``Release``

    Raises ReleaseError with every reason why the release cannot be promoted, and StackError without the environment.
    """
    require_environment(source.client("cloudformation"), names, "nothing was promoted")
    release = _find(source.client("ssm"), names, number)
    outputs = read_stack(source.client("cloudformation"), names.registry_stack).outputs
    repositories = {
        name: ImageReference.parse(outputs[repository_output(name)])
        for name in release.images
        if repository_output(name) in outputs
    }
    stored = {
        name: found
        for name, repository in repositories.items()
        if (found := _describe(source.client("ecr"), repository.repository, release.images[name])) is not None
    }
    if reasons := tuple(reasons_against(release, functions, stored, place)):
        raise ReleaseError(
            f"release {release.number} of {names.environment} was not promoted",
            "; ".join(reasons),
            NextStep("Choose another release with --release. List them", ("releases",)),
        )
    images = {
        name: ImageReference(repository.registry, repository.repository, digest=release.images[name])
        for name, repository in repositories.items()
    }
    return Recorded(release, images)


def _find(ssm: Any, names: Names, number: int | None) -> Release:
    if number is not None:
        return read_release(ssm, names.ledger, number)
    latest = read_latest(ssm, names.ledger).release
    if latest is None:
        raise ReleaseError(
            "nothing was promoted", f"{names.environment} has no release yet", "Release it with `up` first."
        )
    return latest


def _describe(ecr: Any, repository: str, digest: Digest) -> Stored | None:
    """What ECR says of an image, archived ones included; None if it does not have it."""
    try:
        found = ecr.describe_images(
            repositoryName=repository,
            imageIds=[{"imageDigest": str(digest)}],
            # By default only active images are returned (API_DescribeImagesFilter).
            filter={"imageStatus": "ANY"},
        )["imageDetails"]
    except ClientError as problem:
        if error_code(problem) in ("ImageNotFoundException", "RepositoryNotFoundException"):
            return None
        raise
    return (
        Stored(repository, found[0].get("imageStatus", "ACTIVE"), frozenset(found[0].get("imageTags", ())))
        if found
        else None
    )


def reasons_against(
    release: Release, functions: Collection[str], stored: Mapping[str, Stored], place: str
) -> Iterator[str]:
    """Every reason why a release cannot be promoted; nothing if it can. Pure.

    The tag of a release contains a digest of its entry in the ledger, and a tag of an immutable repository cannot be
    moved. So an entry that was written or changed later has no tagged images.
    """
    if release.place and release.place != place:
        yield f"it was recorded in {release.place}, and this is {place}"
    for name in sorted({*functions} - release.images.keys()):
        yield f"it has no {name}, which the project has: check out the commit of the release"
    for name, digest in sorted(release.images.items()):
        found = stored.get(name)
        if name not in functions:
            yield f"the project has no function {name}: check out the commit of the release"
        elif found is None:
            yield f"the image of {name}, {digest}, is gone from its repository"
        elif found.status != "ACTIVE":
            restore = restore_command(found.repository, digest)
            yield f"the image of {name}, {digest}, is {found.status} in ECR; restore it with {restore}"
        elif release.tag not in found.tags:
            yield (
                f"the image of {name}, {digest}, has no tag {release.tag}: the ledger's entry was changed, or its"
                " release was interrupted before it tagged its images"
            )
