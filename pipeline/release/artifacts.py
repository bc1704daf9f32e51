"""What is pushed with an image and refers to it: bill of materials, provenance, signature, template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cfn.problems import Command
from pipeline.assembly.build import Build
from pipeline.assembly.dependencies.dependency_layers import runtime_lock
from pipeline.assembly.dependencies.installation import Lock, read_lock
from pipeline.assembly.model import CheckedImage, FunctionSource
from pipeline.assembly.proof.attestations import attest, sign_image
from pipeline.assembly.proof.provenance import (
    Origin,
    Parameters,
    builder_versions,
    provenance,
    provenance_of_copy,
    provenance_of_dockerfile,
)
from pipeline.assembly.revision import tree_of
from pipeline.core.errors import NextStep, ReleaseError
from pipeline.core.events import Report, step
from pipeline.ledger.kept_templates import keeper_of, template_referrer
from pipeline.oci.values import Artifact, ImageReference
from pipeline.release.deployment import Deployment

if TYPE_CHECKING:
    from pipeline.assembly.proof.kms import KmsKey
    from pipeline.assembly.proof.signing import Signer


def referrers(deployment: Deployment, image: CheckedImage, repository_uri: str) -> tuple[Artifact, ...]:
    """The artifacts of an image in a repository; one image of a release has the pipeline's template, too."""
    build, supply = deployment.build, deployment.supply
    if supply is None:
        found = (*evidence(build, image), *signatures(build, image, repository_uri))
    else:
        found = supply.artifacts(image, build.store)
    if image.function != keeper_of(source.name for source in build.sources):
        return found
    return (*found, template_referrer(image.image, deployment.templates.pipeline, build.store))


def evidence(build: Build, image: CheckedImage) -> tuple[Artifact, ...]:
    """The image's bill of materials, if the build has them, and its provenance, signed if there is a key.

    Without a handler no lock says what is in an image, so it gets no bill of materials.
    """
    (source,) = (source for source in build.sources if source.name == image.function)
    versions, signer = builder_versions(), _signer(build.proof.signing_key, build.store.root)
    if not source.handler:
        about = provenance_of_copy if source.prebuilt is not None else provenance_of_dockerfile
        statement = about(image.image, source, _origin(build, source), versions)
        return (attest(image.image, statement, signer, build.store),)
    parameters = Parameters(build.slim, build.base, build.builder, versions)
    statement = provenance(image.image, source, _locks(image, source), _origin(build, source), parameters)
    attested = attest(image.image, statement, signer, build.store)
    if not build.sbom:
        return (attested,)
    from pipeline.assembly.sbom import sbom_referrer

    return (sbom_referrer(image.image, source, build.store), attested)


def signatures(build: Build, image: CheckedImage, repository_uri: str) -> tuple[Artifact, ...]:
    """The image's signature in a repository; empty without a key."""
    signer = _signer(build.proof.signing_key, build.store.root)
    if signer is None:
        return ()
    return (sign_image(image.image, repository_uri, signer, build.store),)


def proofs(build: Build, image: CheckedImage, repository_uri: str) -> tuple[Artifact, ...]:
    """What ``require_proof`` needs beside an image; empty if the settings require nothing."""
    return (*evidence(build, image), *signatures(build, image, repository_uri)) if build.proof.required else ()


def require_proof(deployment: Deployment, uris: Iterable[str], report: Report, *, repeat: Command = ("up",)) -> None:
    """Verify the signature and the provenance of images by digest, if the settings require them.

    repeat  the command that the user ran

    Raises ReleaseError with every image for which they do not hold, and RegistryError.
    """
    proof = deployment.build.proof
    wanted = [ImageReference.parse(uri) for uri in uris]
    if not proof.required or proof.verification_key is None or not wanted:
        return
    from pipeline.assembly.proof.key_places import verifier_of
    from pipeline.assembly.proof.verification import verify_image

    key = verifier_of(proof.verification_key)

    def judge(reference: ImageReference) -> Sequence[str]:
        assert reference.digest is not None  # noqa: S101  (images are deployed by digest)
        registry = deployment.target.registry(reference.registry)
        found = verify_image(registry, reference.repository, reference.digest, key, deployment.build.store)
        return [f"{reference.repository}@{reference.digest}: {fault}" for fault in found.faults]

    with step(report, "verify", "signatures") as running, ThreadPoolExecutor(min(len(wanted), 8)) as pool:
        faults = [fault for each in pool.map(judge, wanted) for fault in each]
        if faults:
            raise ReleaseError(
                "nothing was deployed: require_signature = true, and not every image is proven",
                "; ".join(faults),
                NextStep(
                    "Set signing_key, or sign with `cosign sign --key` under the verification_key; then repeat", repeat
                ),
            )
        running.detail = f"{len(wanted)} verified"


@cache
def _signer(key: Path | KmsKey | None, store: Path) -> Signer | None:
    """The key, read once in a run; the library costs more than a build without changes."""
    if key is None:
        return None
    from pipeline.assembly.proof.key_places import signer_of

    return signer_of(key, store / "signatures")


def _locks(image: CheckedImage, source: FunctionSource) -> dict[str, Lock]:
    found = {"dependencies": read_lock(source.requirements)} if source.requirements is not None else {}
    if any(layer.title == "runtime" for layer in image.image.layers):
        found["runtime"] = runtime_lock()
    return found


def _origin(build: Build, source: FunctionSource) -> Origin:
    commit = build.revisions.get(source.name, "")
    return Origin(commit, tree_of(source.code_folder, commit, build.store.root / "revisions")) if commit else Origin()
