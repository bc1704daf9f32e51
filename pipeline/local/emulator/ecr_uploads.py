"""What is uploaded through the ECR API can be pulled through the registry's HTTP API, as on AWS.

ministack's upload calls of the ECR API keep nothing of what they get, so an image that the placeholder's custom
resource pushes could not be pulled. Here its handlers keep layers and manifests where its registry API finds them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import inspect
import json
from typing import Any

from pipeline.core.errors import LocalError

_HANDLERS = (
    "_upload_layer_part", "_complete_layer_upload", "_put_image", "_batch_check_layer_availability",
    "_delete_repository", "_batch_delete_image",
)  # fmt: skip
_STORES = ("_uploads", "_layer_blobs", "_manifest_blobs", "_repositories", "_images")


def join_uploads() -> None:
    """Replace ministack's upload handlers. Raises LocalError when ministack does not have what is replaced."""
    ecr = importlib.import_module("ministack.services.ecr")
    for name in _HANDLERS:
        if tuple(inspect.signature(getattr(ecr, name, int)).parameters) != ("data",):
            raise _unknown(name)
    for name in _STORES:
        if not hasattr(ecr, name):
            raise _unknown(name)
    upload_part, complete, put_image, _, delete_repository, delete_images = (getattr(ecr, name) for name in _HANDLERS)

    def _upload_layer_part(data: dict[str, Any]) -> Any:
        if data.get("repositoryName", "") not in ecr._repositories:
            return _no_repository(ecr, data)
        parts = ecr._uploads.setdefault(data["repositoryName"], {}).setdefault(data.get("uploadId", ""), bytearray())
        parts += base64.b64decode(data.get("layerPartBlob", ""))
        return upload_part(data)

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

    def _put_image(data: dict[str, Any]) -> Any:
        answer = put_image(data)
        if answer[0] == 200:
            manifest = data.get("imageManifest", "").encode()
            digest = json.loads(answer[2])["image"]["imageId"]["imageDigest"]
            ecr._manifest_blobs.setdefault(data["repositoryName"], {})[digest] = manifest
        return answer

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

    def _delete_repository(data: dict[str, Any]) -> Any:
        answer = delete_repository(data)
        if answer[0] == 200:  # or one that is made anew under its name would have what this one had
            for kept in (ecr._layer_blobs, ecr._manifest_blobs, ecr._uploads):
                kept.pop(data["repositoryName"], None)
        return answer

    def _batch_delete_image(data: dict[str, Any]) -> Any:
        answer = delete_images(data)
        if answer[0] == 200:
            name = data["repositoryName"]
            left = {image.get("imageDigest") for image in ecr._images.get(name, [])}
            for deleted in json.loads(answer[2])["imageIds"]:
                if deleted.get("imageDigest") not in left:
                    ecr._manifest_blobs.get(name, {}).pop(deleted.get("imageDigest"), None)
        return answer

    for function in (
        _upload_layer_part, _complete_layer_upload, _put_image, _batch_check_layer_availability, _delete_repository,
        _batch_delete_image,
    ):  # fmt: skip
        setattr(ecr, function.__name__, function)


def _no_repository(ecr: Any, data: dict[str, Any]) -> Any:
    name = data.get("repositoryName", "")
    return ecr.error_response_json(
        "RepositoryNotFoundException", f"The repository with name '{name}' does not exist", 400
    )


def _unknown(name: str) -> LocalError:
    return LocalError(
        "the embedded AWS was not started",
        f"ministack's ECR has no {name} of the shape that is expected",
        "Install the locked version: pip install '.[local]'",
    )
