"""The registry's HTTP API lists what refers to an image, as ECR's does."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.local.emulator.patches.patch import Patch

_PATH = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>sha256:[0-9a-f]{64})")
_INDEX = "application/vnd.oci.image.index.v1+json"


def _route(is_registry_path: Any, _app: Any) -> Any:
    def _is_ecr_registry_path(path: str) -> bool:
        return _PATH.fullmatch(path) is not None or is_registry_path(path)

    return _is_ecr_registry_path


def _answer(handle: Any, ecr: Any) -> Any:
    async def handle_registry_request(method: str, path: str, headers: Any, body: Any, query_params: Any) -> Any:
        match = _PATH.fullmatch(path)
        if match is None or method.upper() != "GET":
            return await handle(method, path, headers, body, query_params)
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        ecr._select_registry_request_scope(match["name"], lowered, query_params)
        unknown = ecr._ensure_repo_exists(match["name"])
        if unknown is not None:
            return unknown
        manifests = [_entry(content) for content in ecr._manifest_blobs.get(match["name"], {}).values()]
        found = [entry for subject, entry in manifests if subject == match["digest"]]
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": sorted(found, key=lambda each: each["digest"])}
        return ecr._registry_ok(200, {"Content-Type": _INDEX}, json.dumps(index).encode())

    def _entry(content: bytes) -> tuple[str, dict[str, Any]]:
        document = json.loads(content)
        kind = document.get("artifactType") or document.get("config", {}).get("mediaType", "")
        entry = {
            "mediaType": document.get("mediaType", ""),
            "digest": ecr._content_digest(content),
            "size": len(content),
            "artifactType": kind,
            "annotations": document.get("annotations", {}),
        }
        return (document.get("subject") or {}).get("digest", ""), entry

    return handle_registry_request


REFERRERS = (
    Patch(
        "app:_is_ecr_registry_path",
        "4a808fbbe36c06dc",
        "takes the path of the referrers API for a bucket",
        "the registry has it",
        "D ECR user guide, Managing OCI referrers; OCI distribution specification 1.1, Listing Referrers",
        _route,
    ),
    Patch(
        "services.ecr:handle_registry_request",
        "8d092cb90854d039",
        "has no referrers API",
        "lists the manifests whose subject is the image",
        "D ECR user guide, Managing OCI referrers; OCI distribution specification 1.1, Listing Referrers",
        _answer,
    ),
)
