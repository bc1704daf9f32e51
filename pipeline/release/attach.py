"""Push artifacts that refer to an image, such as its bill of materials, as OCI 1.1 referrers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.core.documents import parse_json
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.refusals import is_ecr
from pipeline.oci.values import OCI_INDEX, Artifact, Digest, Manifest


def attach(
    registry: Registry,
    repository: str,
    subject: Digest,
    artifact: Artifact,
    store: BlobStore,
    *,
    known: Mapping[str, Manifest] | None = None,
) -> int:
    """Push an artifact that refers to the image ``subject``; the bytes that were sent, 0 if the registry has it.

    known  manifests that the repository was seen to have, by digest and tag; others are looked for
    """
    known = known or {}
    if artifact.tag is not None:
        seen = known.get(artifact.tag)
        if seen is not None and join_layers(artifact.manifest, seen) is None:
            return 0
        found = registry.find_manifest(repository, artifact.tag, push=True)
        merged = artifact.manifest if found is None else join_layers(artifact.manifest, found)
        if merged is None:
            return 0
        artifact = replace(artifact, manifest=merged)
    manifest = artifact.manifest
    if (
        str(manifest.digest) in known
        or registry.head_manifest(repository, manifest.digest, push=True) == manifest.digest
    ):
        return 0
    sent = len(manifest.content)
    for descriptor in {blob.digest: blob for blob in artifact.blobs}.values():
        sent += registry.upload_blob(repository, descriptor, partial(store.open, descriptor.digest))
    listed = registry.put_manifest(repository, manifest, tag=artifact.tag)
    # ECR has the referrers API. In a registry without it a tag lists them, as the distribution specification says.
    if not listed and not is_ecr(registry.host):
        _list_by_tag(registry, repository, subject, artifact)
    return sent


def join_layers(manifest: Manifest, found: Manifest) -> Manifest | None:
    """``manifest`` with the layers of the one that its tag names before its own; None if these are there already.

    Several signers keep their signatures of an image under one tag (cosign, SIGNATURE_SPEC.md), each as a layer.
    """
    own = json.loads(manifest.content)
    try:
        others = [each for each in parse_json(found.content)["layers"] if parse_descriptor(each)]
    except (ValueError, LookupError, TypeError):
        others = []  # nothing that could be kept
    if all(layer in others for layer in own["layers"]):
        return None
    own["layers"] = [*(each for each in others if each not in own["layers"]), *own["layers"]]
    return Manifest(json.dumps(own, sort_keys=True, separators=(",", ":")).encode(), manifest.media_type)


def _list_by_tag(registry: Registry, repository: str, subject: Digest, artifact: Artifact) -> None:
    """The referrers tag schema: an index under the tag ``sha256-<hex>`` that lists what refers to an image."""
    tag = f"sha256-{subject.hex}"
    existing = registry.find_manifest(repository, tag, push=True)
    entries: list[dict[str, Any]] = json.loads(existing.content)["manifests"] if existing and existing.is_index else []
    entry = {
        "mediaType": artifact.manifest.media_type,
        "digest": str(artifact.manifest.digest),
        "size": len(artifact.manifest.content),
        "artifactType": artifact.artifact_type,
    }
    if any(other.get("digest") == entry["digest"] for other in entries):
        return
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, entry]}
    content = json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
    registry.put_manifest(repository, Manifest(content, OCI_INDEX), tag=tag)
