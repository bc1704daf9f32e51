"""Images that are uploaded through the ECR API can be pulled through the registry's HTTP API.

The placeholder's custom resource uploads through the API (InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload,
PutImage), and the runtime pulls from the registry. ministack keeps what is pushed over HTTP only.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from pipeline.local.emulator.patches.patch import Patch


class Parts(bytearray):
    """The content of an upload so far. ``sizes``: the bytes of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []


def _keep_part(upload_part: Any, ecr: Any) -> Any:
    def _upload_layer_part(data: dict[str, Any]) -> Any:
        if data.get("repositoryName", "") not in ecr._repositories:
            return _no_repository(ecr, data)
        parts = ecr._uploads.setdefault(data["repositoryName"], {}).setdefault(data.get("uploadId", ""), Parts())
        part = base64.b64decode(data.get("layerPartBlob", ""))
        parts.extend(part)
        parts.sizes.append(len(part))
        return upload_part(data)

    return _upload_layer_part


def _keep_layer(complete: Any, ecr: Any) -> Any:
    def _complete_layer_upload(data: dict[str, Any]) -> Any:
        name, digests = data.get("repositoryName", ""), data.get("layerDigests") or []
        if name not in ecr._repositories:
            return _no_repository(ecr, data)
        content = bytes(ecr._uploads.get(name, {}).pop(data.get("uploadId", ""), b""))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not content:
            return ecr.error_response_json("EmptyUploadException", "The upload has no parts", 400)
        if digests and digest not in digests:
            return ecr.error_response_json(
                "InvalidLayerException", f"Layer digest mismatch: got {digest}, expected {digests[0]}", 400
            )
        if digest in ecr._layer_blobs.get(name, {}):
            return ecr.error_response_json(
                "LayerAlreadyExistsException", f"Layer with digest '{digest}' already exists", 400
            )
        ecr._layer_blobs.setdefault(name, {})[digest] = content
        return complete({**data, "layerDigests": [digest]})

    return _complete_layer_upload


def _keep_manifest(put_image: Any, ecr: Any) -> Any:
    def _put_image(data: dict[str, Any]) -> Any:
        answer = put_image(data)
        if answer[0] == 200:
            manifest = data.get("imageManifest", "").encode()
            digest = json.loads(answer[2])["image"]["imageId"]["imageDigest"]
            ecr._manifest_blobs.setdefault(data["repositoryName"], {})[digest] = manifest
        return answer

    return _put_image


def _look_for_layers(_original: Any, ecr: Any) -> Any:
    def _batch_check_layer_availability(data: dict[str, Any]) -> Any:
        name = data.get("repositoryName", "")
        if name not in ecr._repositories:
            return _no_repository(ecr, data)
        have = ecr._layer_blobs.get(name, {})
        layers, failures = [], []
        for digest in data.get("layerDigests", []):
            if digest in have:
                layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": len(have[digest])})
            else:
                failures.append({"layerDigest": digest, "failureCode": "MissingLayerDigest"})
        return ecr.json_response({"layers": layers, "failures": failures})

    return _batch_check_layer_availability


def _mount_referenced(start_upload: Any, ecr: Any) -> Any:
    def _v2_start_blob_upload(name: str, query_params: Any, body: bytes) -> Any:
        digest, source = (ecr._query_first(query_params, each) for each in ("mount", "from"))
        if digest and not any(digest.encode() in each for each in ecr._manifest_blobs.get(source, {}).values()):
            query_params = {key: value for key, value in query_params.items() if key not in ("mount", "from")}
        return start_upload(name, query_params, body)

    return _v2_start_blob_upload


def _drop_repository(delete_repository: Any, ecr: Any) -> Any:
    def _delete_repository(data: dict[str, Any]) -> Any:
        answer = delete_repository(data)
        if answer[0] == 200:
            for kept in (ecr._layer_blobs, ecr._manifest_blobs, ecr._uploads):
                kept.pop(data["repositoryName"], None)
        return answer

    return _delete_repository


def _drop_manifests(delete_images: Any, ecr: Any) -> Any:
    def _batch_delete_image(data: dict[str, Any]) -> Any:
        name = data.get("repositoryName", "")
        untagged = [each for each in data.get("imageIds", []) if _remove_tag(ecr, name, each)]
        rest = [each for each in data.get("imageIds", []) if each not in untagged]
        answer = delete_images({**data, "imageIds": rest})
        if answer[0] != 200:
            return answer
        document = json.loads(answer[2])
        left = {image.get("imageDigest") for image in ecr._images.get(name, [])}
        for deleted in document["imageIds"]:
            if deleted.get("imageDigest") not in left:
                ecr._manifest_blobs.get(name, {}).pop(deleted.get("imageDigest"), None)
        return ecr.json_response({**document, "imageIds": [*untagged, *document["imageIds"]]})

    return _batch_delete_image


def _named_as_asked(get_images: Any, ecr: Any) -> Any:
    def _batch_get_image(data: dict[str, Any]) -> Any:
        images: list[Any] = []
        failures: list[Any] = []
        for asked in data.get("imageIds", []):
            answer = get_images({**data, "imageIds": [asked]})
            if answer[0] != 200:
                return answer
            document = json.loads(answer[2])
            failures += document["failures"]
            for image in document["images"]:
                named = {"imageDigest": image["imageId"]["imageDigest"]}
                named |= {"imageTag": asked["imageTag"]} if "imageTag" in asked else {}
                images.append({**image, "imageId": named})
        return ecr.json_response({"images": images, "failures": failures})

    return _batch_get_image


def _remove_tag(ecr: Any, repository: str, image_id: dict[str, str]) -> bool:
    """Remove the tag that is named without a digest, unless it is the image's last; whether it was removed."""
    tag = image_id.get("imageTag")
    if "imageDigest" in image_id or tag is None:
        return False
    for image in ecr._images.get(repository, []):
        tags = image.get("imageTags", [])
        if tag in tags and len(tags) > 1:
            tags.remove(tag)
            image["imageId"] = {**image["imageId"], "imageTag": tags[0]}
            return True
    return False


def _no_repository(ecr: Any, data: dict[str, Any]) -> Any:
    name = data.get("repositoryName", "")
    return ecr.error_response_json(
        "RepositoryNotFoundException", f"The repository with name '{name}' does not exist", 400
    )


UPLOADS = (
    Patch(
        "services.ecr:_batch_get_image",
        "b9c1da9cdc90322b",
        "names each image by the tag that it got last, even if another image has that tag since",
        "names it by the tag that was asked for",
        "D AWS CLI reference, ecr batch-get-image, example",
        _named_as_asked,
    ),
    Patch(
        "services.ecr:_upload_layer_part",
        "4f0210073b881cd5",
        "discards the part",
        "keeps it until CompleteLayerUpload",
        "D ECR API_UploadLayerPart",
        _keep_part,
    ),
    Patch(
        "services.ecr:_complete_layer_upload",
        "372be6445fa6c7b5",
        "accepts any digest and keeps nothing",
        "compares the digest, refuses an empty upload, an unequal digest and a layer that exists, and keeps the layer",
        "D ECR API_CompleteLayerUpload",
        _keep_layer,
    ),
    Patch(
        "services.ecr:_put_image",
        "657a41f57e5e3fc1",
        "does not make the manifest available to the registry's HTTP API by digest",
        "an image is the same whichever way it was pushed",
        "D ECR API_PutImage",
        _keep_manifest,
    ),
    Patch(
        "services.ecr:_batch_check_layer_availability",
        "fa54e5eeff06d148",
        "calls every layer available",
        "distinguishes layers that exist from layers that do not",
        "D ECR API_BatchCheckLayerAvailability",
        _look_for_layers,
    ),
    Patch(
        "services.ecr:_v2_start_blob_upload",
        "06f3ddabc12cbe4a",
        "mounts every blob of the other repository",
        "mounts a blob that a manifest there refers to, and begins an upload (202) for any other",
        "D ECR user guide, Blob mounting",
        _mount_referenced,
    ),
    Patch(
        "services.ecr:_delete_repository",
        "b857eb9bcb4f8fce",
        "leaves layers and manifests to the next repository of that name",
        "a new repository is empty",
        "D ECR API_DeleteRepository",
        _drop_repository,
    ),
    Patch(
        "services.ecr:_batch_delete_image",
        "65fc8eea27383f76",
        "deletes an image with any of its tags, and leaves its manifest, which can still be pulled by digest",
        "a tag is removed alone unless it is the last, and a deleted image cannot be pulled",
        "D ECR API_BatchDeleteImage",
        _drop_manifests,
    ),
)
