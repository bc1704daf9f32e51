"""Delete unneeded images. The decision is pure; a wrong one would delete a running image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.core.events import Report, ignore, step
from pipeline.core.shown import counted
from pipeline.ledger.releases import Release
from pipeline.ledger.stored_images import StoredImage, batches
from pipeline.oci.values import Digest, ImageReference
from pipeline.stacks import StackState, StackStatus, read_stack

# Tags that this tool sets; an image with any other tag is kept.
OWN_TAGS = ("image-", "release-")
# The placeholder images of the registry stack, which a new pipeline stack needs.
PLACEHOLDER_TAG = "placeholder-"
# A younger image may belong to a release in progress on another machine.
GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """delete: in an order that ECR accepts. kept: every other image with the reason."""

    delete: tuple[StoredImage, ...]
    kept: tuple[tuple[StoredImage, str], ...]

    @property
    def size(self) -> int:
        """Bytes to delete, as ECR counts them: shared layers count for each image."""
        return sum(image.size for image in self.delete)


@dataclass(frozen=True, slots=True)
class Pruned:
    """The deleted images, and those that ECR did not delete with its reason."""

    deleted: tuple[StoredImage, ...]
    failures: tuple[tuple[StoredImage, str], ...] = ()


def plan_prune(
    images: Iterable[StoredImage],
    in_use: Mapping[Digest, str],
    releases: Sequence[Release],
    keep: int,
    *,
    now: datetime,
    grace: timedelta = GRACE,
) -> PrunePlan:
    """Decide which images to delete. Pure.

    in_use    digest → user, from ``read_in_use``
    releases  the ledger, oldest first; the images of the last ``keep`` stay
    now       with a time zone; images younger than ``grace`` stay

    A needed digest stays in every repository. So do the images of a kept index, the SBOMs and signatures of a kept
    image, and the subject of a kept SBOM or signature, with which ECR would delete them. Raises ReleaseError for
    keep < 1.
    """
    if keep < 1:
        raise ReleaseError(
            "nothing was pruned", f"at least one release must be kept, not {keep}", "Pass --keep 1 or more."
        )
    images = tuple(images)
    needed = {digest: f"release {release.number}" for release in releases[-keep:] for digest in release.images.values()}
    needed |= in_use
    reasons: dict[Digest, str] = {}
    for image in images:
        if image.digest in needed:
            reasons[image.digest] = needed[image.digest]
        elif any(tag.startswith(PLACEHOLDER_TAG) for tag in image.tags):
            reasons[image.digest] = "a placeholder"
        elif foreign := [tag for tag in image.tags if not tag.startswith(OWN_TAGS) and not _names_subject(image, tag)]:
            reasons[image.digest] = f"tagged {', '.join(foreign)} by another tool"
    _follow_references(images, reasons)
    # Age is the weakest reason, so it is given only without another one.
    young = [image for image in images if image.digest not in reasons and now - image.pushed_at < grace]
    reasons |= {image.digest: "pushed just now" for image in young}
    _follow_references(images, reasons)
    delete = [image for image in images if image.digest not in reasons]
    return PrunePlan(
        # ECR does not delete an image that an index lists (ImageReferencedByManifestList), so indexes come first, and
        # referrers before their subject.
        delete=tuple(sorted(delete, key=lambda each: (not each.children, each.subject is None))),
        kept=tuple((image, reasons[image.digest]) for image in images if image.digest in reasons),
    )


def _names_subject(image: StoredImage, tag: str) -> bool:
    return image.subject is not None and tag.startswith(f"sha256-{image.subject.hex}")


def _follow_references(images: Sequence[StoredImage], reasons: dict[Digest, str]) -> None:
    """Keep the children, subjects and referrers of kept images, transitively."""
    while True:
        more: dict[Digest, str] = {}
        for image in images:
            if image.digest in reasons:
                for child in image.children:
                    more.setdefault(child, f"listed by {image.digest.short}")
                if image.subject is not None:
                    more.setdefault(image.subject, f"referred to by {image.digest.short}")
            elif image.subject is not None and image.subject in reasons:
                more[image.digest] = f"refers to {image.subject.short}"
        fresh = {digest: reason for digest, reason in more.items() if digest not in reasons}
        if not fresh:
            return
        reasons |= fresh


def prune_images(ecr: Any, plan: PrunePlan, report: Report = ignore) -> Pruned:
    """Delete the images of ``plan``, a hundred per call. A missing image counts as deleted."""
    deleted: list[StoredImage] = []
    failures: list[tuple[StoredImage, str]] = []
    for repository, images in _by_repository(plan.delete):
        by_digest = {str(image.digest): image for image in images}
        with step(report, "prune", repository) as running:
            gone: list[StoredImage] = []
            for batch in batches([image.digest for image in images]):
                answer = ecr.batch_delete_image(repositoryName=repository, imageIds=batch)
                refused = {
                    each["imageId"]["imageDigest"]: f"{each.get('failureCode')}: {each.get('failureReason', '')}"
                    for each in answer.get("failures", [])
                    if each.get("failureCode") != "ImageNotFound"
                }
                failures += [(by_digest[digest], why) for digest, why in refused.items() if digest in by_digest]
                names = [each["imageDigest"] for each in batch if each["imageDigest"] not in refused]
                gone += [by_digest[name] for name in names]
            running.detail = f"deleted {counted(len(gone), 'image')}"
            deleted += gone
    return Pruned(tuple(deleted), tuple(failures))


def _by_repository(images: Sequence[StoredImage]) -> Iterator[tuple[str, list[StoredImage]]]:
    """Images per repository, each in the given order."""
    for repository in dict.fromkeys(image.repository for image in images):
        yield repository, [image for image in images if image.repository == repository]


def read_in_use(clients: Callable[[str], Any], stacks: Iterable[str], repositories: Iterable[str]) -> dict[Digest, str]:
    """Digest → user, for every digest that a function of the region runs or a stack names.

    clients       returns the boto3 client of a service, such as ``Target.client``
    stacks        names; parameters and outputs are read, so placeholders count
    repositories  names; functions with images of other repositories are skipped

    Reads all versions of all functions of the region, because any function may use these images; an alias points to a
    version. Raises ReleaseError while a stack operation is in progress, which may roll back to unknown images.
    """
    used: dict[Digest, str] = {}
    for name in stacks:
        state = read_stack(clients("cloudformation"), name)
        _refuse_restless(state)
        for text in (*state.parameters.values(), *state.outputs.values()):
            if digest := _digest_in(text):
                used.setdefault(digest, f"stack {name}")
    lambda_client, known = clients("lambda"), frozenset(repositories)
    for name, version in _image_functions(lambda_client):
        for digest in _image_of(lambda_client, name, version, known):
            used[digest] = f"function {name}:{version}"
    return used


def _image_functions(lambda_client: Any) -> Iterator[tuple[str, str]]:
    """Every image function of the region in every version, as name and version."""
    for page in lambda_client.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            if function.get("PackageType") != "Image":
                continue
            name = function["FunctionName"]
            for versions in lambda_client.get_paginator("list_versions_by_function").paginate(FunctionName=name):
                yield from ((name, each["Version"]) for each in versions["Versions"])


def _refuse_restless(state: StackState) -> None:
    if state.status.in_progress or state.status in (StackStatus.UPDATE_ROLLBACK_FAILED, StackStatus.UPDATE_FAILED):
        raise ReleaseError(
            "nothing was pruned",
            f"the stack {state.name} is in {state.status}, so the images that it may roll back to are unknown",
            NextStep("Finish the update, then prune again", ("up",), ("prune",)),
        )


def _image_of(lambda_client: Any, name: str, version: str, repositories: frozenset[str]) -> Iterator[Digest]:
    """The digest of one version; nothing if the function was deleted or its image is in another repository."""
    try:
        code = lambda_client.get_function(FunctionName=name, Qualifier=version).get("Code", {})
    except ClientError as problem:
        if error_code(problem) == "ResourceNotFoundException":
            return
        raise
    for uri in (code.get("ResolvedImageUri"), code.get("ImageUri")):
        if uri and (reference := ImageReference.parse(uri)).digest and reference.repository in repositories:
            yield reference.digest


def _digest_in(text: str) -> Digest | None:
    if "@sha256:" not in text:
        return None
    try:
        return ImageReference.parse(text).digest
    except ValueError:
        return None
