"""Which deployed manifest an image keeps: one of the same config, and no other."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfn.names import image_parameter
from pipeline.assembly.model import CheckedImage
from pipeline.core.events import Note
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, Retries
from pipeline.oci.values import DOCKER_MANIFEST, Descriptor, Digest, Layer, Manifest
from pipeline.release.push import push_image
from pipeline.release.recompressed import keep_deployed, with_manifest
from tests.servers.images import make_image, make_layer
from tests.servers.registry import LoopbackRegistry

FILES = {"var/task/handler.py": b"def handle(event, context):\n    return event\n" * 40}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def server() -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry() as running:
        yield running


def recompressed(layer: Layer, store: BlobStore) -> Layer:
    """The same tar, as another library compresses it."""
    content = gzip.compress(gzip.decompress(store.read(layer.descriptor.digest)), 1, mtime=0)
    return replace(layer, descriptor=Descriptor(layer.descriptor.media_type, store.add(content), len(content)))


@pytest.fixture
def two(store: BlobStore) -> tuple[CheckedImage, CheckedImage]:
    """One image as two machines build it."""
    layer = make_layer(FILES, store)
    return make_image("fraud-detection", [layer]), make_image("fraud-detection", [recompressed(layer, store)])


def test_one_image_of_two_machines_has_one_config(two: tuple[CheckedImage, CheckedImage]) -> None:
    deployed, built = (each.image for each in two)
    assert deployed.config == built.config
    assert deployed.digest != built.digest
    kept = with_manifest(built, Manifest(deployed.manifest, deployed.manifest_media_type))
    assert kept == deployed


def test_an_image_that_was_chosen_by_its_digest_is_not_exchanged(two: tuple[CheckedImage, CheckedImage]) -> None:
    deployed, chosen = two[0], replace(two[1], exact=True)
    uris = {image_parameter(chosen.function): f"registry.example/f@{deployed.image.digest}"}
    asked = keep_deployed([chosen], uris, lambda host: pytest.fail(f"{host} was asked"), lambda _: None)
    assert asked == (chosen,)


def _with(manifest: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(manifest) | changes).encode()


OTHER_CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{'0' * 64}", "size": 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: _with(manifest, config=OTHER_CONFIG),
        lambda manifest: _with(manifest, layers=[]),
        lambda manifest: _with(manifest, layers=[{"digest": "none"}]),
        lambda manifest: _with(manifest, layers=None),
        lambda _manifest: b"[]",
        lambda _manifest: b"{",
    ],
)
def test_a_manifest_of_something_else_is_not_kept(
    two: tuple[CheckedImage, CheckedImage], change: Callable[[bytes], bytes]
) -> None:
    deployed, built = (each.image for each in two)
    assert with_manifest(built, Manifest(change(deployed.manifest), deployed.manifest_media_type)) is None


def test_a_manifest_of_another_family_is_not_kept(two: tuple[CheckedImage, CheckedImage]) -> None:
    deployed, built = (each.image for each in two)
    assert with_manifest(built, Manifest(deployed.manifest, DOCKER_MANIFEST)) is None


class Comparison:
    """``keep_deployed`` against a registry that has one deployed image."""

    def __init__(self, server: LoopbackRegistry) -> None:
        self.server = server
        self.notes: list[str] = []

    def keep(self, image: CheckedImage, digest: Digest, host: str | None = None) -> CheckedImage:
        uri = f"{host or self.server.host}/fraud@{digest}"
        deployed = {image_parameter(image.function): uri}

        def report(event: object) -> None:
            assert isinstance(event, Note)
            self.notes.append(event.text)

        def connect(host: str) -> Registry:
            return Registry(host, retries=Retries(attempts=1))

        [kept] = keep_deployed([image], deployed, connect, report)
        return kept


@pytest.fixture
def comparison(server: LoopbackRegistry) -> Comparison:
    return Comparison(server)


def test_an_image_that_runs_already_costs_one_manifest_read(
    comparison: Comparison, two: tuple[CheckedImage, CheckedImage], store: BlobStore
) -> None:
    deployed, built = two
    with Registry(comparison.server.host) as registry:
        push_image(registry, f"{registry.host}/fraud", deployed, store)
    comparison.server.calls.clear()
    kept = comparison.keep(built, deployed.image.digest)
    assert kept == deployed
    assert len(comparison.server.calls) == 1


def test_the_same_digest_costs_no_request(comparison: Comparison, two: tuple[CheckedImage, CheckedImage]) -> None:
    _, built = two
    assert comparison.keep(built, built.image.digest) is built
    assert comparison.server.calls == []


def test_an_image_that_was_deleted_from_the_registry_is_not_kept(
    comparison: Comparison, two: tuple[CheckedImage, CheckedImage]
) -> None:
    deployed, built = two
    assert comparison.keep(built, deployed.image.digest) is built
    assert comparison.notes == []


def test_an_unreachable_registry_is_left_to_the_push(
    comparison: Comparison, two: tuple[CheckedImage, CheckedImage]
) -> None:
    deployed, built = two
    assert comparison.keep(built, deployed.image.digest, host="127.0.0.1:1") is built
    assert len(comparison.notes) == 1
    assert "fraud-detection was not compared with what is deployed" in comparison.notes[0]
