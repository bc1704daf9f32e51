"""What is fetched from the source registry is what its digests promise, or the release is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cfn.settings import FunctionDefinition, Settings
from pipeline.assembly.build import Build
from pipeline.assembly.dependencies.slim import Slim
from pipeline.assembly.model import CheckedImage, FunctionSource
from pipeline.assembly.proof.attestations import sign_image
from pipeline.assembly.proof.signing import FileSigner
from pipeline.core.errors import PipelineError, RegistryError
from pipeline.core.events import ignore
from pipeline.ledger.kept_templates import template_referrer
from pipeline.ledger.releases import Release, ReleaseContent
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import Artifact, Digest, ImageReference
from pipeline.promotion.recorded import Recorded
from pipeline.promotion.supply import Promotion
from pipeline.release.deployment import Deployment
from pipeline.release.push import push_image
from tests.servers.images import make_sbom, pair
from tests.servers.registry import LoopbackRegistry, Repository

NAME = "fraud-detection"
REPOSITORY = "fraud-detection-dev"


class Source:
    """A registry with one image, its bill of materials, its signature and a template."""

    def __init__(self, server: LoopbackRegistry, registry: Registry, store: BlobStore) -> None:
        self.server, self.registry = server, registry
        self.image = pair(store)[0]
        signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))
        uri = f"{server.host}/{REPOSITORY}"
        self.sbom = make_sbom(self.image, store)
        self.signature = sign_image(self.image.image, uri, signer, store)
        self.template = template_referrer(self.image.image, '{"Resources": {}}', store)
        artifacts = (self.sbom, self.signature, self.template)
        push_image(registry, uri, self.image, store, artifacts=artifacts)

    @property
    def repository(self) -> Repository:
        return self.server.repositories[REPOSITORY]

    def promotion(self) -> Promotion:
        reference = ImageReference(self.server.host, REPOSITORY, digest=self.image.image.digest)
        content = ReleaseContent({NAME: self.image.image.digest}, Digest.of(b"t"))
        release = Release(1, content, datetime(2026, 11, 23, tzinfo=UTC), "me")
        target = cast(Any, SimpleNamespace(registry=lambda _host: self.registry))
        return Promotion(target, Recorded(release, {NAME: reference}), "dev release 1", ("promote", "dev", "prod"))

    def fetch(self, store: BlobStore) -> tuple[CheckedImage, ...]:
        source = FunctionSource(FunctionDefinition(NAME), Path("images") / NAME, "handler.handle")
        build = Build((source,), self.image.image.platform, "", store, Slim())
        return self.promotion().images(Deployment(cast(Any, None), Settings("prod"), build), ignore)

    def artifacts(self, store: BlobStore) -> tuple[Artifact, ...]:
        return self.promotion().artifacts(self.image, store)


@pytest.fixture
def source(server: LoopbackRegistry, client: Callable[..., Registry], store: BlobStore) -> Source:
    return Source(server, client(), store)


@pytest.fixture
def other(tmp_path: Path) -> BlobStore:
    """The cache of another machine."""
    return BlobStore(tmp_path / "other")


def test_what_refers_to_the_image_moves_and_the_template_does_not(source: Source, other: BlobStore) -> None:
    found = {each.manifest.digest: each.tag for each in source.artifacts(other)}
    assert found == {source.sbom.manifest.digest: None, source.signature.manifest.digest: source.signature.tag}
    assert all(other.has(blob.digest) for each in (source.sbom, source.signature) for blob in each.blobs)


@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
def test_a_tampered_image_is_refused_and_not_kept(source: Source, other: BlobStore, what: str) -> None:
    image = source.image.image
    if what == "manifest":
        digest = image.digest
        content, media_type = source.repository.manifests[str(digest)]
        source.repository.manifests[str(digest)] = content.replace(b"{", b"{ ", 1), media_type
    else:
        digest = image.layers[0].descriptor.digest if what == "layer" else image.config_descriptor.digest
        content = source.repository.blobs[str(digest)]
        source.repository.blobs[str(digest)] = bytes([content[0] ^ 1]) + content[1:]
    with pytest.raises(PipelineError) as refused:
        source.fetch(other)
    assert NAME in f"{refused.value.what} {refused.value.why}" or digest.hex in refused.value.what
    assert not other.has(digest)


@pytest.mark.parametrize("what", ["sbom", "signature"])
@pytest.mark.parametrize("part", ["blob", "manifest"])
def test_a_tampered_artifact_is_refused(source: Source, other: BlobStore, what: str, part: str) -> None:
    artifact: Artifact = getattr(source, what)
    if part == "blob":
        digest = artifact.blobs[-1].digest
        content = source.repository.blobs[str(digest)]
        source.repository.blobs[str(digest)] = bytes([content[0] ^ 1]) + content[1:]
    else:
        digest = artifact.manifest.digest
        content, media_type = source.repository.manifests[str(digest)]
        source.repository.manifests[str(digest)] = content.replace(b"{", b"{ ", 1), media_type
    with pytest.raises(RegistryError) as refused:
        source.artifacts(other)
    assert digest.hex in f"{refused.value.what} {refused.value.why}"


def test_an_artifact_of_another_image_or_without_its_manifest_is_refused(source: Source, other: BlobStore) -> None:
    tag = f"sha256-{source.image.image.digest.hex}"
    index, media_type = source.repository.manifests[source.repository.tags[tag]]
    listed = json.loads(index)
    for digest, why in ((Digest.of(b"absent"), "does not have it"), (source.image.image.digest, "to another image")):
        entry = {"mediaType": "application/json", "digest": str(digest), "size": 2, "artifactType": "x"}
        content = json.dumps(listed | {"manifests": [entry]}).encode()
        source.repository.manifests[str(Digest.of(content))] = content, media_type
        source.repository.tags[tag] = str(Digest.of(content))
        with pytest.raises(RegistryError, match=why):
            source.artifacts(other)
