"""A push to a registry whose API reads many manifests at once: what it says saves requests, and never replaces one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from pipeline.assembly.model import PushedImage
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.ecr import ecr_lookup
from pipeline.oci.values import Digest
from pipeline.release.push import push_image
from tests.servers.images import make_sbom, pair
from tests.servers.registry import LoopbackRegistry, assert_whole

Client = Callable[..., Registry]
Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Ecr:
    """ECR's API over the content of a loopback registry. change: what becomes of its answer."""

    def __init__(self, server: LoopbackRegistry, change: Answer = lambda answer: answer) -> None:
        self.server, self.change, self.asked = server, change, list[int]()

    def batch_get_image(self, *, repositoryName: str, imageIds: list[dict[str, str]], **_more: Any) -> Any:
        assert 1 <= len(imageIds) <= 100
        self.asked.append(len(imageIds))
        repository = self.server.repositories.get(repositoryName)
        if repository is None:
            raise ClientError({"Error": {"Code": "RepositoryNotFoundException"}}, "BatchGetImage")
        images = []
        for each in imageIds:
            digest = each.get("imageDigest") or repository.tags.get(each["imageTag"], "")
            if digest in repository.manifests:
                content, media_type = repository.manifests[digest][:2]
                images.append({
                    "imageId": {"imageDigest": digest, **each},
                    "imageManifest": content.decode(),
                    "imageManifestMediaType": media_type,
                })  # fmt: skip
        return self.change({"images": images, "failures": []})


def push(registry: Registry, store: BlobStore, number: int = 0) -> PushedImage:
    image = pair(store)[number]
    return push_image(registry, f"{registry.host}/app", image, store, tag="v1", artifacts=(make_sbom(image, store),))


def test_a_push_that_changes_nothing_is_one_request(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    ecr = Ecr(server)
    registry = client(lookup=ecr_lookup(cast(Any, ecr)))
    assert push(registry, store).uploaded > 0
    server.calls.clear()
    assert push(registry, store).uploaded == 0
    assert server.calls == []
    assert ecr.asked == [3, 3]  # the image, its bill of materials, the tag


def corrupted(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "images": [{**each, "imageManifest": each["imageManifest"] + " "} for each in answer["images"]]}


@pytest.mark.parametrize("change", [corrupted, lambda _answer: {"images": []}, lambda _answer: {}])
def test_an_answer_that_cannot_be_used_is_replaced_by_the_registrys(
    server: LoopbackRegistry, client: Client, store: BlobStore, change: Answer
) -> None:
    registry = client(lookup=ecr_lookup(cast(Any, Ecr(server, change))))
    push(registry, store)
    server.calls.clear()
    assert push(registry, store).uploaded == 0
    assert {call.split(" ")[0] for call in server.calls} == {"GET", "HEAD"}


def test_what_is_missing_is_pushed(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.referrers = True
    registry = client(lookup=ecr_lookup(cast(Any, Ecr(server))))
    push(registry, store)
    repository = server.repositories["app"]
    repository.tags.clear()
    (sbom,) = (digest for digest in repository.manifests if digest != str(pair(store)[0].image.digest))
    del repository.manifests[sbom]
    assert push(registry, store).uploaded > 0
    assert sbom in repository.manifests
    assert repository.tags == {"v1": str(pair(store)[0].image.digest)}
    assert_whole(server)


def test_a_tag_of_another_image_is_moved(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.referrers = True
    registry = client(lookup=ecr_lookup(cast(Any, Ecr(server))))
    push(registry, store, 1)
    assert push(registry, store).digest == pair(store)[0].image.digest
    assert server.repositories["app"].tags == {"v1": str(pair(store)[0].image.digest)}


def test_one_request_reads_at_most_a_hundred() -> None:
    ecr = Ecr(cast(Any, SimpleNamespace(repositories={"app": SimpleNamespace(tags={}, manifests={})})))
    assert ecr_lookup(cast(Any, ecr))("app", [Digest.of(b"%d" % number) for number in range(201)]) == {}
    assert ecr.asked == [100, 100, 1]
