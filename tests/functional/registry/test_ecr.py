"""Against the embedded ECR, whose registry is called like AWS's and served on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import RegistryError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, RegistryRefused
from pipeline.oci.registry.ecr import ecr_credentials
from pipeline.release.push import Push, push_image, push_images
from tests.servers.images import make_sbom, pair

HOST = "000000000000.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture
def ecr(embedded_aws: Any) -> Any:
    return embedded_aws.client("ecr")


@pytest.fixture
def repositories(ecr: Any) -> Iterator[list[str]]:
    names = ["registry-test-one", "registry-test-two"]
    for name in names:
        ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    yield names
    for name in names:
        ecr.delete_repository(repositoryName=name, force=True)


@pytest.fixture
def registry(embedded_aws: Any, ecr: Any) -> Iterator[Registry]:
    with Registry(
        HOST, endpoint_url=embedded_aws.endpoint, credentials=ecr_credentials(ecr), chunk_size=20_000
    ) as client:
        yield client


def test_pushed_images_are_seen_by_the_ecr_api(
    registry: Registry, repositories: list[str], ecr: Any, tmp_path: Path
) -> None:
    store = BlobStore(tmp_path)
    images = pair(store, shared=70_000)
    pushes = [Push(f"{HOST}/{name}", image, "v1") for name, image in zip(repositories, images, strict=True)]
    pushed = push_images(registry, pushes, store)
    for name, image, result in zip(repositories, images, pushed, strict=True):
        found = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": "v1"}])["images"][0]
        assert found["imageId"]["imageDigest"] == str(image.image.digest)
        assert found["imageManifest"].encode() == image.image.manifest
        assert result.uri == f"{HOST}/{name}@{image.image.digest}"
        assert registry.fetch_manifest(name, image.image.digest).content == image.image.manifest
    assert [one.uploaded for one in push_images(registry, pushes, store)] == [0, 0]


def test_immutable_tag(registry: Registry, repositories: list[str], tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    first, second = pair(store)
    push_image(registry, f"{HOST}/{repositories[0]}", first, store, tag="v1")
    push_image(registry, f"{HOST}/{repositories[0]}", first, store, tag="v1")
    with pytest.raises(RegistryError, match="but not tagged v1") as caught:
        push_image(registry, f"{HOST}/{repositories[0]}", second, store, tag="v1")
    assert str(first.image.digest) in caught.value.why


def test_sbom_makes_no_tag_in_ecr(registry: Registry, repositories: list[str], ecr: Any, tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    image = pair(store)[0]
    sbom = make_sbom(image, store)
    push_image(registry, f"{HOST}/{repositories[0]}", image, store, tag="v1", artifacts=(sbom,))
    details = ecr.describe_images(repositoryName=repositories[0])["imageDetails"]
    assert {one["imageDigest"]: one.get("imageTags", []) for one in details} == {
        str(image.image.digest): ["v1"],
        str(sbom.manifest.digest): [],
    }


def test_what_refers_to_an_image_is_listed_by_the_referrers_api(
    registry: Registry, repositories: list[str], tmp_path: Path
) -> None:
    store = BlobStore(tmp_path)
    image, other = pair(store)
    sbom = make_sbom(image, store)
    push_image(registry, f"{HOST}/{repositories[0]}", image, store, tag="v1", artifacts=(sbom,))
    push_image(registry, f"{HOST}/{repositories[0]}", other, store, tag="v2")
    index = registry.find_referrers(repositories[0], image.image.digest)
    assert index is not None
    (entry,) = json.loads(index.content)["manifests"]
    assert (entry["digest"], entry["artifactType"]) == (str(sbom.manifest.digest), sbom.artifact_type)
    none = registry.find_referrers(repositories[0], other.image.digest)
    assert none is not None
    assert json.loads(none.content)["manifests"] == []


def test_missing_repository(registry: Registry, repositories: list[str], tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(RegistryRefused, match="NAME_UNKNOWN") as caught:
        push_image(registry, f"{HOST}/nowhere", pair(store)[0], store)
    assert "infra" in str(caught.value.next_step)


def test_repository_that_was_deleted_and_made_anew(
    registry: Registry, repositories: list[str], ecr: Any, tmp_path: Path
) -> None:
    store = BlobStore(tmp_path)
    image = pair(store)[0]
    for _ in range(2):
        push_image(registry, f"{HOST}/{repositories[0]}", image, store, tag="v1")
        found = ecr.batch_get_image(repositoryName=repositories[0], imageIds=[{"imageDigest": str(image.image.digest)}])
        assert found["images"][0]["imageManifestMediaType"] == image.image.manifest_media_type
        ecr.delete_repository(repositoryName=repositories[0], force=True)
        ecr.create_repository(repositoryName=repositories[0])
