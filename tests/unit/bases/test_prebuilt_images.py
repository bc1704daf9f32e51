"""Images that are copied as they are: from a registry on loopback, and from a layout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cfn.settings import Architecture, FunctionDefinition
from pipeline.assembly.check import check_image
from pipeline.assembly.model import CheckedImage, FunctionSource, Image, Platform, PythonVersion
from pipeline.assembly.output import write_layout
from pipeline.assembly.prebuilt import parse_prebuilt
from pipeline.bases.prebuilt_images import fetch_prebuilt, require_digests
from pipeline.core.errors import BaseImageError, CheckFailed, RegistryError, SourceError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    Descriptor,
    Digest,
    Layer,
)
from tests.servers.images import describe, make_image, make_layer, noise, sha256
from tests.servers.registry import Fault, LoopbackRegistry

ARM = Platform(Architecture.ARM64, PythonVersion(3, 13))
NAME = "team/app"
Copy = Callable[..., Image]


def publish(server: LoopbackRegistry, content: bytes, media_type: str, tag: str = "1") -> Digest:
    repository = server.repository(NAME)
    repository.manifests[sha256(content)] = (content, media_type)
    repository.tags[tag] = sha256(content)
    return Digest.parse(sha256(content))


def publish_image(server: LoopbackRegistry, image: Image, blobs: BlobStore) -> Digest:
    repository = server.repository(NAME)
    for layer in image.layers:
        repository.blobs[str(layer.descriptor.digest)] = blobs.read(layer.descriptor.digest)
    repository.blobs[str(image.config_descriptor.digest)] = image.config
    return publish(server, image.manifest, image.manifest_media_type)


@pytest.fixture
def elsewhere(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "elsewhere")


def node_image(store: BlobStore, *, layers: list[Layer] | None = None, seed: int = 0) -> CheckedImage:
    """An image of another language: no Python, and no handler of ours."""
    run = {"Entrypoint": ["/lambda-entrypoint.sh"], "Cmd": ["index.handler"], "WorkingDir": "/var/task"}
    own = layers or [make_layer({"var/task/index.js": noise(200, seed)}, store)]
    return make_image("app", own, platform=ARM, config={"config": run})


@pytest.fixture
def image(elsewhere: BlobStore) -> Image:
    return node_image(elsewhere).image


@pytest.fixture
def copy(server: LoopbackRegistry, client: Callable[..., Registry], store: BlobStore) -> Copy:
    def call(reference: object, platform: Platform = ARM) -> Image:
        separator = "@" if isinstance(reference, Digest) else ":"
        prebuilt = parse_prebuilt(f"{server.host}/{NAME}{separator}{reference}", Path())
        return fetch_prebuilt("f", prebuilt, platform, store, open_registry=client)

    return call


def source_of(text: str) -> FunctionSource:
    return FunctionSource(FunctionDefinition("f"), Path("images/f"), "", prebuilt=parse_prebuilt(text, Path()))


def test_every_byte_is_kept_and_read_once(
    server: LoopbackRegistry, copy: Copy, image: Image, elsewhere: BlobStore, store: BlobStore
) -> None:
    digest = publish_image(server, image, elsewhere)
    copied = copy(digest)
    assert (copied.digest, copied.config) == (digest, image.config)
    assert all(store.has(layer.descriptor.digest) for layer in copied.layers)
    server.calls.clear()
    assert copy(digest) == copied
    assert server.calls == []


def test_a_copy_passes_the_check_of_every_image(
    server: LoopbackRegistry, copy: Copy, image: Image, elsewhere: BlobStore, store: BlobStore
) -> None:
    digest = publish_image(server, image, elsewhere)
    checked = check_image(copy(digest), source_of(f"{server.host}/{NAME}@{digest}"), store)
    assert checked.exact
    assert checked.image.digest == digest


def test_a_manifest_that_lambda_refuses_is_judged_before_its_layers_are_fetched(
    server: LoopbackRegistry, copy: Copy, elsewhere: BlobStore
) -> None:
    layer = make_layer({"var/task/index.js": b"1"}, elsewhere)
    plain = gzip.decompress(elsewhere.read(layer.descriptor.digest))
    tar = "application/vnd.oci.image.layer.v1.tar"
    flat = replace(
        layer, descriptor=replace(layer.descriptor, media_type=tar, digest=elsewhere.add(plain), size=len(plain))
    )
    digest = publish_image(server, node_image(elsewhere, layers=[flat]).image, elsewhere)
    with pytest.raises(CheckFailed) as caught:
        copy(digest)
    assert {finding.rule for finding in caught.value.findings} == {"layer-type"}
    assert not [call for call in server.calls if str(flat.descriptor.digest) in call]


def test_a_layer_that_lambda_refuses_stops_a_copy(
    server: LoopbackRegistry, copy: Copy, elsewhere: BlobStore, store: BlobStore
) -> None:
    content = b"no archive"
    wrong = Layer(Descriptor(OCI_LAYER_GZIP, elsewhere.add(content), len(content)), Digest.of(content), "function")
    digest = publish_image(server, node_image(elsewhere, layers=[wrong]).image, elsewhere)
    with pytest.raises(CheckFailed) as caught:
        check_image(copy(digest), source_of(f"{server.host}/{NAME}@{digest}"), store)
    assert {finding.rule for finding in caught.value.findings} == {"layer-compression"}


def test_an_image_for_another_architecture_is_found_by_the_check(
    server: LoopbackRegistry, copy: Copy, image: Image, elsewhere: BlobStore
) -> None:
    intel = replace(ARM, architecture=Architecture.X86_64)
    with pytest.raises(CheckFailed, match="made for arm64, the function runs on amd64"):
        copy(publish_image(server, image, elsewhere), intel)


def test_of_an_index_the_image_of_the_platform_is_copied(
    server: LoopbackRegistry, copy: Copy, elsewhere: BlobStore
) -> None:
    digests = {}
    for number, architecture in enumerate(("arm64", "amd64")):
        made = node_image(elsewhere, seed=number).image
        digests[architecture] = publish_image(server, made, elsewhere)
    children = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(digest), "size": 7,
         "platform": {"os": "linux", "architecture": architecture}}
        for architecture, digest in digests.items()
    ]  # fmt: skip
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    assert copy(publish(server, index, OCI_INDEX)).digest == digests["arm64"]


def test_docker_media_types_are_kept(
    server: LoopbackRegistry, copy: Copy, image: Image, elsewhere: BlobStore, store: BlobStore
) -> None:
    layers = [replace(each.descriptor, media_type=DOCKER_LAYER_GZIP) for each in image.layers]
    config = replace(image.config_descriptor, media_type=DOCKER_CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": describe(config)}
    content = json.dumps(manifest | {"layers": [describe(each) for each in layers]}).encode()
    publish_image(server, image, elsewhere)
    digest = publish(server, content, DOCKER_MANIFEST)
    copied = copy(digest)
    assert (copied.manifest, copied.manifest_media_type) == (content, DOCKER_MANIFEST)
    assert check_image(copied, source_of(f"{server.host}/{NAME}@{digest}"), store).image == copied


def test_what_a_registry_alters_is_not_kept(
    server: LoopbackRegistry, copy: Copy, image: Image, elsewhere: BlobStore, store: BlobStore
) -> None:
    digest = publish_image(server, image, elsewhere)
    (layer,) = image.layers
    server.repository(NAME).blobs[str(layer.descriptor.digest)] = b"x" * layer.descriptor.size
    with pytest.raises(RegistryError, match="was not fetched"):
        copy(digest)
    assert not store.has(layer.descriptor.digest)


def test_a_copy_that_broke_off_is_continued(
    server: LoopbackRegistry, copy: Copy, elsewhere: BlobStore, store: BlobStore
) -> None:
    layers = [make_layer({f"var/task/{number}.js": noise(500, number)}, elsewhere) for number in range(3)]
    digest = publish_image(server, node_image(elsewhere, layers=layers).image, elsewhere)
    server.faults.append(Fault(f"GET */blobs/{layers[2].descriptor.digest}", "status", 404))
    with pytest.raises(RegistryError):
        copy(digest)
    server.calls.clear()
    assert copy(digest).digest == digest
    assert [call for call in server.calls if "/blobs/" in call] == [
        f"GET /v2/{NAME}/blobs/{layers[2].descriptor.digest}"
    ]


def test_a_tag_is_refused_with_the_digest_that_it_has_now(
    server: LoopbackRegistry, copy: Copy, client: Callable[..., Registry], image: Image, elsewhere: BlobStore
) -> None:
    digest = publish_image(server, image, elsewhere)
    with pytest.raises(SourceError) as caught:
        copy("1")
    assert f"it names {server.host}/{NAME}:1@{digest} now" in caught.value.why
    sources = [source_of(f"{server.host}/{NAME}:{tag}") for tag in ("1", "2")]
    with pytest.raises(SourceError) as caught:
        require_digests(sources, open_registry=client)
    assert f"it names {server.host}/{NAME}:1@{digest} now" in caught.value.why
    assert f"{server.host}/{NAME} has no tag 2" in caught.value.why


def test_a_tag_of_a_registry_that_does_not_answer_is_refused_all_the_same(client: Callable[..., Registry]) -> None:
    with pytest.raises(SourceError, match="has no digest, and a tag can be moved; its digest was not found out"):
        require_digests([source_of("127.0.0.1:1/app:1")], open_registry=client)


def test_images_by_digest_ask_no_registry(server: LoopbackRegistry, client: Callable[..., Registry]) -> None:
    sources = [source_of(f"{server.host}/{NAME}@sha256:{'a' * 64}"), source_of("oci:x"), source_of("docker-daemon:x")]
    require_digests(sources, open_registry=client)
    assert server.calls == []


def test_a_missing_image_says_which_function_and_where(server: LoopbackRegistry, copy: Copy) -> None:
    server.repository(NAME)
    with pytest.raises(BaseImageError) as caught:
        copy(Digest.of(b"nothing"))
    assert caught.value.what.startswith(f"f was not copied from {server.host}/{NAME}@")


def test_an_artifact_is_no_image(server: LoopbackRegistry, copy: Copy) -> None:
    content = json.dumps({"schemaVersion": 2, "artifactType": "text/plain", "layers": []}).encode()
    with pytest.raises(BaseImageError, match="Lambda does not run images of its kind"):
        copy(publish(server, content, "application/vnd.oci.image.manifest.v1+json"))


def test_an_image_of_a_layout_is_copied_whole(tmp_path: Path, elsewhere: BlobStore, store: BlobStore) -> None:
    made = [replace(node_image(elsewhere, seed=number), function=f"app-{number}") for number in range(2)]
    write_layout(made, tmp_path / "layout", elsewhere)
    copied = fetch_prebuilt("f", parse_prebuilt("oci:layout:app-1", tmp_path), ARM, store)
    assert copied.manifest == made[1].image.manifest
    assert all(store.has(layer.descriptor.digest) for layer in copied.layers)
    with pytest.raises(BaseImageError, match="the layout holds app-0, app-1"):
        fetch_prebuilt("f", parse_prebuilt("oci:layout:other", tmp_path), ARM, store)
    with pytest.raises(BaseImageError, match="it has 2 images for linux/arm64"):
        fetch_prebuilt("f", parse_prebuilt("oci:layout", tmp_path), ARM, store)
