"""Read the images of ECR repositories, with tags and references."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline.core.aws_answers import error_code
from pipeline.oci.values import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Digest

# API_BatchGetImage and API_BatchDeleteImage take at most this many.
BATCH = 100
# Of a manifest that keeps a template: its digest.
TEMPLATE_ANNOTATION = "transaction-pipeline.template"
# Signatures that are stored as cosign stores them name their subject in their tag.
_SUBJECT_TAG = re.compile(r"sha256-([0-9a-f]{64})(?:\..*)?")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A manifest in a repository.

    size      bytes, as ECR counts it
    subject   the image that an SBOM, template or signature refers to
    children  the images of an index
    template  the digest of the template that it stores (``pipeline.ledger.kept_templates``)
    pulled_at when it was last pulled, up to a day late (LastRecordedPullTime, B ecr); None for never or unknown
    """

    repository: str
    digest: Digest
    tags: tuple[str, ...]
    size: int
    pushed_at: datetime
    subject: Digest | None = None
    children: tuple[Digest, ...] = ()
    template: Digest | None = None
    pulled_at: datetime | None = None


def read_images(ecr: Any, repository: str) -> tuple[StoredImage, ...]:
    """Every image of a repository, () if it does not exist. Makes a few calls per hundred images."""
    try:
        pages = list(ecr.get_paginator("describe_images").paginate(repositoryName=repository))
    except ClientError as problem:
        if error_code(problem) == "RepositoryNotFoundException":
            return ()
        raise
    images = [_stored(repository, detail) for page in pages for detail in page["imageDetails"]]
    manifests = dict(_read_manifests(ecr, repository, [image.digest for image in images]))
    return tuple(_with_references(image, manifests.get(image.digest, {})) for image in images)


def read_archived(ecr: Any, repository: str, digests: Collection[Digest]) -> frozenset[Digest]:
    """Which of the images are archived: kept for less, and neither listed nor pulled until they are restored.

    Source: B ecr, ImageStatus and DescribeImagesFilter: without a filter only images that are ACTIVE are listed.
    """
    try:
        pages = ecr.get_paginator("describe_images").paginate(
            repositoryName=repository, filter={"imageStatus": "ARCHIVED"}
        )
        archived = {
            Digest.parse(each["imageDigest"])
            for page in pages
            for each in page["imageDetails"]
            if each.get("imageStatus") == "ARCHIVED"
        }
    except ClientError as problem:
        if error_code(problem) == "RepositoryNotFoundException":
            return frozenset()
        raise
    return frozenset(archived.intersection(digests))


def restore_command(repository: str, digest: Digest | str) -> str:
    """The AWS CLI's command that makes an archived image usable again."""
    return (
        f"aws ecr update-image-storage-class --repository-name {repository} --image-id imageDigest={digest}"
        " --target-storage-class STANDARD"
    )


def batches(digests: Sequence[Digest]) -> Iterator[list[dict[str, str]]]:
    """Digests as ECR's ``imageIds``, in lists of the size of a call."""
    for start in range(0, len(digests), BATCH):
        yield [{"imageDigest": str(digest)} for digest in digests[start : start + BATCH]]


def _stored(repository: str, detail: Any) -> StoredImage:
    tags = tuple(sorted(detail.get("imageTags", [])))
    subjects = [match[1] for tag in tags if (match := _SUBJECT_TAG.fullmatch(tag))]
    subject = detail.get("subjectManifestDigest") or (f"sha256:{subjects[0]}" if subjects else None)
    return StoredImage(
        repository=repository,
        digest=Digest.parse(detail["imageDigest"]),
        tags=tags,
        size=detail.get("imageSizeInBytes", 0),
        pushed_at=detail["imagePushedAt"],
        subject=Digest.parse(subject) if subject else None,
        pulled_at=detail.get("lastRecordedPullTime"),
    )


def _read_manifests(ecr: Any, repository: str, digests: Sequence[Digest]) -> Iterator[tuple[Digest, Any]]:
    for batch in batches(digests):
        answer = ecr.batch_get_image(
            repositoryName=repository,
            imageIds=batch,
            acceptedMediaTypes=[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX],
        )
        for image in answer["images"]:
            yield Digest.parse(image["imageId"]["imageDigest"]), json.loads(image["imageManifest"])


def _template_of(manifest: Any) -> Digest | None:
    annotations = manifest.get("annotations")
    try:
        return Digest.parse(annotations[TEMPLATE_ANNOTATION])
    except (KeyError, TypeError, ValueError):
        return None


def _with_references(image: StoredImage, manifest: Any) -> StoredImage:
    subject = manifest.get("subject")
    return replace(
        image,
        subject=Digest.parse(subject["digest"]) if subject else image.subject,
        children=tuple(Digest.parse(each["digest"]) for each in manifest.get("manifests", [])),
        template=_template_of(manifest),
    )
