"""What a promotion would copy, for its plan."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.documents import parse_json
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.values import ImageReference
from pipeline.target import Target


@dataclass(frozen=True, slots=True)
class Copies:
    """The blobs of an image that a repository lacks, and their size in bytes; 0 if it has the image."""

    blobs: int = 0
    size: int = 0


def find_copies(target: Target, image: ImageReference, store: BlobStore) -> Copies:
    """What the repository of ``image`` lacks of it. Reads the manifest from the cache; raises RegistryError.

    image  by digest; without a registry if its repository does not exist yet
    """
    assert image.digest is not None  # noqa: S101  (images are promoted by digest)
    manifest = parse_json(store.read(image.digest))
    blobs = {each.digest: each for each in map(parse_descriptor, (manifest["config"], *manifest["layers"]))}
    if image.registry:
        registry = target.registry(image.registry)
        if registry.head_manifest(image.repository, image.digest) is not None:
            return Copies()
        blobs = {digest: each for digest, each in blobs.items() if registry.head_blob(image.repository, digest) is None}
    return Copies(len(blobs), sum(each.size for each in blobs.values()))
