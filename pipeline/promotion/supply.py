"""The images of a recorded release, as what another environment's release deploys instead of building.

Everything is copied through the local cache, which keeps only content with the promised digest. A copy that was
interrupted continues with the next blob.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cfn.problems import Command
from pipeline.assembly.model import CheckedImage, FunctionSource, Prebuilt
from pipeline.assembly.proof.attestations import signature_tag
from pipeline.bases.prebuilt_images import fetch_prebuilt
from pipeline.core.documents import parse_json
from pipeline.core.errors import NextStep, RegistryError
from pipeline.core.events import Report, step
from pipeline.ledger.kept_templates import MEDIA_TYPE as TEMPLATE
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Artifact, Digest, ImageReference, Manifest
from pipeline.promotion.recorded import Recorded
from pipeline.release.artifacts import require_proof
from pipeline.release.deployment import Deployment
from pipeline.release.images import check_and_keep
from pipeline.target import Target


@dataclass(frozen=True, slots=True)
class Promotion:
    """The images of a release and what refers to them, for a ``Deployment`` of another environment.

    source  the account and region that have them
    origin  the release, for the ledger: "dev release 3"
    repeat  the command that the user ran, for errors
    """

    source: Target
    recorded: Recorded
    origin: str
    repeat: Command

    @property
    def revision(self) -> str:
        return self.recorded.release.revision

    def images(self, deployment: Deployment, report: Report) -> tuple[CheckedImage, ...]:
        """Fetch the images into the cache, and check them as if they were built.

        Raises ReleaseError for images without a required signature, CheckFailed, and RegistryError for content that
        does not have its digest.
        """
        uris = [str(reference) for reference in self.recorded.images.values()]
        require_proof(replace(deployment, target=self.source), uris, report, repeat=self.repeat)
        return tuple(self._image(deployment, source, report) for source in deployment.sources)

    def artifacts(self, image: CheckedImage, store: BlobStore) -> tuple[Artifact, ...]:
        """What refers to the image, with its blobs in the cache: bill of materials, provenance, signatures.

        Without the template, which is of the source environment. Raises RegistryError for an artifact that is missing
        or names another image.
        """
        reference = self.recorded.images[image.function]
        registry = self.source.registry(reference.registry)
        found = {artifact.manifest.digest: artifact for artifact in _referrers(registry, reference, image.image.digest)}
        tag = signature_tag(image.image.digest)
        signature = registry.find_manifest(reference.repository, tag)
        if signature is not None:  # cosign names its subject by the tag alone
            found[signature.digest] = _artifact(signature, "", tag)
        for artifact in found.values():
            for blob in artifact.blobs:
                registry.fetch_blob(reference.repository, blob, store)
        return tuple(found.values())

    def registry(self, host: str) -> Registry:
        return self.source.registry(host)

    def _image(self, deployment: Deployment, source: FunctionSource, report: Report) -> CheckedImage:
        build, reference = deployment.build, self.recorded.images[source.name]
        with step(report, "fetch", source.name) as running:
            image = fetch_prebuilt(
                source.name,
                Prebuilt(str(reference), reference),
                build.platform,
                build.store,
                open_registry=self.registry,
                report=report,
            )
            running.detail = f"sha256:{image.digest.short}"
        # Never exchanged for an equivalent image: the same bytes are the point.
        return replace(check_and_keep(build, source, image, report), exact=True)


def _referrers(registry: Registry, reference: ImageReference, subject: Digest) -> Iterator[Artifact]:
    """The artifacts that refer to an image. Raises RegistryError if one is missing or refers to another image."""
    index = registry.find_referrers(reference.repository, subject)
    if index is None:
        return
    what = f"what refers to {reference} was not copied"
    try:
        entries = [
            (str(each.get("artifactType", "")), parse_descriptor(each))
            for each in parse_json(index.content)["manifests"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        raise RegistryError(what, f"the registry's list is not understood ({problem})", _PRUNE) from problem
    for kind, descriptor in entries:
        if kind == TEMPLATE:
            continue
        manifest = registry.find_manifest(reference.repository, descriptor.digest)
        if manifest is None:
            raise RegistryError(what, f"the registry lists {descriptor.digest} ({kind}) and does not have it", _PRUNE)
        if _subject(manifest) != str(subject):
            raise RegistryError(what, f"{descriptor.digest} ({kind}) refers to another image", _PRUNE)
        yield _artifact(manifest, kind, None)


_PRUNE = NextStep("Delete that artifact from the repository, or push the images again from the sources", ("up",))


def _subject(manifest: Manifest) -> str:
    try:
        return str(parse_json(manifest.content)["subject"]["digest"])
    except (ValueError, LookupError, TypeError):
        return ""


def _artifact(manifest: Manifest, kind: str, tag: str | None) -> Artifact:
    """A manifest as an artifact. Raises RegistryError for one without blobs."""
    try:
        document = parse_json(manifest.content)
        blobs = tuple(parse_descriptor(each) for each in (document["config"], *document["layers"]))
    except (ValueError, LookupError, TypeError) as problem:
        raise RegistryError(
            f"the artifact {manifest.digest} was not copied", f"it is no manifest of blobs ({problem})", _PRUNE
        ) from problem
    return Artifact(manifest, kind, blobs, tag)
