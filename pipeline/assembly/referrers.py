"""What speaks about an image and lies beside it in its repository: an OCI 1.1 referrer, never part of an index."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.assembly.image import canonical_json, document
from pipeline.assembly.model import Image
from pipeline.oci.blobs import BlobStore
from pipeline.oci.tarball import CREATED
from pipeline.oci.values import OCI_EMPTY, OCI_MANIFEST, Artifact, Descriptor, Manifest


def make_referrer(
    image: Image, kind: str, content: bytes, store: BlobStore, annotations: Mapping[str, str] | None = None
) -> Artifact:
    """``content`` of the media type ``kind`` as a referrer of an image; its blobs are in ``store``."""
    empty = Descriptor(OCI_EMPTY, store.add(b"{}"), 2)
    blob = Descriptor(kind, store.add(content), len(content))
    subject = Descriptor(image.manifest_media_type, image.digest, len(image.manifest))
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": document(empty),
            "layers": [document(blob)],
            "subject": document(subject),
            "annotations": {"org.opencontainers.image.created": CREATED, **(annotations or {})},
        }
    )
    return Artifact(Manifest(manifest, OCI_MANIFEST), kind, (empty, blob))
