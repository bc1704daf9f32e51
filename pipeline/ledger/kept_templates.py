"""The pipeline stack's templates, stored in ECR with the images of their release, for rollbacks.

A template is a referrer of the image of the release's first function by name, so ECR deletes it with that image,
without which no rollback is possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.assembly.model import Image
from pipeline.assembly.referrers import make_referrer
from pipeline.core.documents import parse_json
from pipeline.core.errors import NextStep, RegistryError, ReleaseError
from pipeline.ledger.releases import template_digest
from pipeline.ledger.stored_images import TEMPLATE_ANNOTATION, StoredImage
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Artifact, Digest

MEDIA_TYPE = "application/vnd.transaction-pipeline.template.v1+json"
# The largest template (CloudFormation quotas, "Template body size in an S3 object").
_TEMPLATE_MOST = 1_000_000


def keeper_of(functions: Iterable[str]) -> str:
    """The function whose image the template refers to."""
    return min(functions)


def template_referrer(image: Image, template_body: str, store: BlobStore) -> Artifact:
    """The template as a referrer of ``image``; its blobs are in ``store``."""
    annotations = {
        TEMPLATE_ANNOTATION: str(template_digest(template_body)),
        "org.opencontainers.image.title": "pipeline.json",
    }
    return make_referrer(image, MEDIA_TYPE, template_body.encode(), store, annotations)


def find_template(stored: Iterable[StoredImage], images: Mapping[str, Digest], template: Digest) -> StoredImage | None:
    """Find the stored template of a release; None if it is not stored.

    images    function → digest, of the release
    template  its digest (``template_digest``)

    A template stored with another release is equal; that of the release's own image stays the longest.
    """
    subject = images[keeper_of(images)]
    found = [each for each in stored if each.template == template]
    return next((each for each in found if each.subject == subject), found[0] if found else None)


def read_template(registry: Registry, kept: StoredImage, store: BlobStore) -> str:
    """The body of a stored template. Raises RegistryError, and ReleaseError if its content is wrong."""
    manifest = registry.fetch_manifest(kept.repository, kept.digest)
    try:
        (descriptor,) = (parse_descriptor(each) for each in parse_json(manifest.content)["layers"])
        if descriptor.size > _TEMPLATE_MOST:
            raise ValueError(f"it claims to have {descriptor.size:,} bytes")
        registry.fetch_blob(kept.repository, descriptor, store)
        body = store.read(descriptor.digest).decode()
        if template_digest(body) != kept.template:
            raise ValueError("its content is another template")
    except RegistryError:
        raise
    except (ValueError, LookupError, TypeError) as problem:
        raise ReleaseError(
            "the template of the release was not read",
            f"{kept.repository}@{kept.digest}: {problem}",
            NextStep("Roll back the images only", ("rollback", "--images-only")),
        ) from problem
    return body
