"""ECR's refusals: repositories, images and tags."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.local.emulator.strict import control_plane
from pipeline.local.emulator.strict.refusal import Fields, Refusal

TAGS_MAX = 1000
BATCH_MAX = 100
PART_MIN, PART_MAX = 5_242_880, 20_971_520
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_PUT = "D ECR API_PutImage"


def immutable(repository: Mapping[str, Any], tag: str) -> bool:
    """Whether a tag of the repository cannot be moved (ECR user guide, Image tag mutability and exclusion filters)."""
    mutability = repository.get("imageTagMutability", "MUTABLE")
    excluded = any(
        fnmatch.fnmatchcase(tag, each.get("filter", ""))
        for each in repository.get("imageTagMutabilityExclusionFilters") or ()
    )
    if mutability.endswith("_WITH_EXCLUSION"):
        return bool(mutability.startswith("IMMUTABLE")) != excluded
    return bool(mutability == "IMMUTABLE")


def _digest(parameters: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(str(parameters.get('imageManifest', '')).encode()).hexdigest()}"


def _repository(parameters: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    name = str(parameters.get("repositoryName", ""))
    return name, control_plane.repository(name)


def _named(name: str, **more: object) -> Fields:
    return {"repository": name, "account": control_plane.account_id(), **more}


def _immutable_tag(parameters: Mapping[str, Any]) -> Fields:
    name, repository = _repository(parameters)
    tag = parameters.get("imageTag")
    if repository is None or not tag or not immutable(repository, tag):
        return None
    taken = any(tag in image.get("imageTags", ()) for image in control_plane.images(name))
    return _named(name, tag=tag) if taken else None


def _same_image(parameters: Mapping[str, Any]) -> Fields:
    name, repository = _repository(parameters)
    tag, digest = parameters.get("imageTag"), _digest(parameters)
    if repository is None:
        return None
    for image in control_plane.images(name):
        if image.get("imageDigest") == digest and (tag is None or tag in image.get("imageTags", ())):
            return _named(name, digest=digest, tag=tag or "null")
    return None


def _another_digest(parameters: Mapping[str, Any]) -> Fields:
    given = parameters.get("imageDigest")
    return {"given": given, "actual": _digest(parameters)} if given and given != _digest(parameters) else None


def _parsed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        parsed = json.loads(parameters.get("imageManifest") or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _layers_missing(parameters: Mapping[str, Any]) -> Fields:
    name, repository = _repository(parameters)
    parsed = _parsed(parameters)
    wanted = [each.get("digest") for each in (parsed.get("config"), *(parsed.get("layers") or ())) if each]
    missing = [each for each in wanted if each not in control_plane.layers(name)] if repository is not None else []
    return _named(name, digests=", ".join(map(str, missing))) if missing else None


def _images_missing(parameters: Mapping[str, Any]) -> Fields:
    name, repository = _repository(parameters)
    have = {image.get("imageDigest") for image in control_plane.images(name)} if repository is not None else set()
    wanted = [each.get("digest") for each in _parsed(parameters).get("manifests") or ()]
    missing = [each for each in wanted if each not in have]
    return _named(name, digests=", ".join(map(str, missing))) if missing and repository is not None else None


def _unreadable(parameters: Mapping[str, Any]) -> Fields:
    parsed = _parsed(parameters)
    return None if parsed.get("schemaVersion") == 2 else {}


def _too_many_tags(parameters: Mapping[str, Any]) -> Fields:
    name, tag, digest = parameters.get("repositoryName", ""), parameters.get("imageTag"), _digest(parameters)
    for image in control_plane.images(name):
        if image.get("imageDigest") == digest and tag and len(image.get("imageTags", ())) >= TAGS_MAX:
            return {"limit": TAGS_MAX, "repository": name, "digest": digest}
    return None


def _not_empty(parameters: Mapping[str, Any]) -> Fields:
    name, repository = _repository(parameters)
    if repository is None or parameters.get("force") or not control_plane.images(name):
        return None
    return _named(name)


def _batch(member: str) -> Any:
    def applies(parameters: Mapping[str, Any]) -> Fields:
        return {"member": member, "limit": BATCH_MAX} if len(parameters.get(member) or ()) > BATCH_MAX else None

    return applies


def _large_part(parameters: Mapping[str, Any]) -> Fields:
    size = len(parameters.get("layerPartBlob", "")) * 3 // 4
    return {"limit": PART_MAX} if size > PART_MAX + 2 else None


def _small_part(parameters: Mapping[str, Any]) -> Fields:
    name, upload = str(parameters.get("repositoryName", "")), str(parameters.get("uploadId", ""))
    *parts, _last = control_plane.upload_parts(name, upload) or [0]
    small = [size for size in parts if size < PART_MIN]
    return {"limit": PART_MIN, "size": small[0]} if small else None


_BATCH_TEXT = (
    "Invalid parameter at '{member}' failed to satisfy constraint:"
    " 'Member must have length less than or equal to {limit}'"
)

IMAGE_REFUSALS = (
    Refusal(
        "ecr", "PutImage", "the manifest is not a manifest of schema version 2", "InvalidParameterException",
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'",
        _PUT, _unreadable,
    ),
    Refusal(
        "ecr", "PutImage", "imageDigest is not the digest of the manifest", "ImageDigestDoesNotMatchException",
        "The specified image digest '{given}' does not match the digest '{actual}' of the manifest",
        _PUT, _another_digest,
    ),
    Refusal(
        "ecr", "PutImage", "the tag exists and is immutable, also for the same digest",
        "ImageTagAlreadyExistsException",
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the"
        " repository is immutable.",
        f"{_PUT}; 3P aws/containers-roadmap 2179, moby/buildkit 3776", _immutable_tag,
    ),
    Refusal(
        "ecr", "PUT manifest", "over HTTP: the tag exists and is immutable, also for the same digest",
        "TAG_INVALID",
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the"
        " repository is immutable.",
        "3P moby/buildkit 3776", _immutable_tag,
    ),
    Refusal(
        "ecr", "PutImage", "the same digest exists under the same tag, or without a tag in the request",
        "ImageAlreadyExistsException",
        "Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{repository}' in"
        " registry with id '{account}'",
        f"{_PUT}; 3P buildkite-plugins/ecr-buildkite-plugin 111", _same_image,
    ),
    Refusal(
        "ecr", "PutImage", "a layer or the config was not uploaded to this repository", "LayersNotFoundException",
        "Layers with digests '[{digests}]' required for pushing image into repository with name '{repository}' in the"
        " registry with id '{account}' do not exist",
        _PUT, _layers_missing,
    ),
    Refusal(
        "ecr", "PutImage", "an index refers to an image that this repository does not have",
        "ReferencedImagesNotFoundException",
        "Images with digests '[{digests}]' required for pushing image into repository with name '{repository}' in the"
        " registry with id '{account}' do not exist",
        _PUT, _images_missing,
    ),
    Refusal(
        "ecr", "PutImage", f"the image has {TAGS_MAX} tags", "LimitExceededException",
        "The image with digest '{digest}' in the repository with name '{repository}' has reached the limit of {limit}"
        " tags",
        "D ECR service quotas, Tags per image", _too_many_tags,
    ),
    Refusal(
        "ecr", "DeleteRepository", "it contains images, and force is not set", "RepositoryNotEmptyException",
        "The repository with name '{repository}' in registry with id '{account}' cannot be deleted because it still"
        " contains images",
        "D ECR API_DeleteRepository", _not_empty,
    ),
    Refusal(
        "ecr", "BatchGetImage", f"more than {BATCH_MAX} images", "InvalidParameterException", _BATCH_TEXT,
        "D ECR API_BatchGetImage; B", _batch("imageIds"),
    ),
    Refusal(
        "ecr", "BatchDeleteImage", f"more than {BATCH_MAX} images", "InvalidParameterException", _BATCH_TEXT,
        "D ECR API_BatchDeleteImage; B", _batch("imageIds"),
    ),
    Refusal(
        "ecr", "BatchCheckLayerAvailability", f"more than {BATCH_MAX} layers", "InvalidParameterException",
        _BATCH_TEXT, "D ECR API_BatchCheckLayerAvailability; B", _batch("layerDigests"),
    ),
    Refusal(
        "ecr", "UploadLayerPart", f"the part has more than {PART_MAX} bytes", "InvalidParameterException",
        "Invalid parameter at 'layerPartBlob' failed to satisfy constraint: 'Member must have length less than or equal"
        " to {limit}'",
        "D ECR API_UploadLayerPart; B", _large_part,
    ),
    Refusal(
        "ecr", "CompleteLayerUpload", f"a part before the last has less than {PART_MIN} bytes",
        "LayerPartTooSmallException",
        "Layer parts must be at least {limit} bytes in size, except the last: {size}",
        "D ECR API_CompleteLayerUpload; B", _small_part,
    ),
)  # fmt: skip
