"""Bases from registries, from layouts, and pinned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cfn.settings import Architecture
from pipeline.assembly.model import Base, CheckedImage, Platform, PythonVersion
from pipeline.assembly.output import write_layout
from pipeline.bases.choose import choose_base, fetch_base, layout_base, update_base
from pipeline.bases.pins import default_reference, pinned_base
from pipeline.bases.resolve import hub_name
from pipeline.core.errors import BaseImageError
from pipeline.core.events import Event, Note
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    Digest,
    ImageReference,
)
from tests.servers.images import make_image, make_layer, noise, sha256
from tests.servers.registry import Fault, LoopbackRegistry

Client = Callable[..., Registry]
ARM = Platform(Architecture.ARM64, PythonVersion(3, 13))
X86 = Platform(Architecture.X86_64, PythonVersion(3, 13))
NAME = "lambda/python"


def publish(server: LoopbackRegistry, content: bytes, media_type: str, tag: str = "3.13") -> Digest:
    repository = server.repository(NAME)
    repository.manifests[sha256(content)] = (content, media_type)
    repository.tags[tag] = sha256(content)
    return Digest.parse(sha256(content))


def publish_image(server: LoopbackRegistry, image: CheckedImage, blobs: BlobStore, tag: str = "3.13") -> Digest:
    repository = server.repository(NAME)
    for layer in image.image.layers:
        repository.blobs[str(layer.descriptor.digest)] = blobs.read(layer.descriptor.digest)
    repository.blobs[str(image.image.config_descriptor.digest)] = image.image.config
    return publish(server, image.image.manifest, image.image.manifest_media_type, tag)


def entry(digest: Digest, architecture: str, **more: Any) -> dict[str, Any]:
    platform = {"architecture": architecture, "os": "linux", **more.pop("platform", {})}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return {"mediaType": media_type, "digest": str(digest), "size": 7, "platform": platform} | more


def index(*entries: dict[str, Any], media_type: str = OCI_INDEX) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()


@pytest.fixture
def elsewhere(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "elsewhere")


@pytest.fixture
def image(elsewhere: BlobStore) -> CheckedImage:
    return make_image("base", [make_layer({"var/lang/bin/python3.13": noise(2000)}, elsewhere)], platform=ARM)


@pytest.fixture
def other(elsewhere: BlobStore) -> CheckedImage:
    return make_image("base", [make_layer({"var/lang/bin/python3.13": noise(2000, 1)}, elsewhere)], platform=X86)


@pytest.fixture
def fetch(server: LoopbackRegistry, client: Client, store: BlobStore) -> Callable[..., Base]:
    def call(reference: str = "3.13", platform: Platform = ARM) -> Base:
        separator = "@" if reference.startswith("sha256:") else ":"
        text = f"{server.host}/{NAME}{separator}{reference}"
        return fetch_base(text, platform, store, open_registry=client)

    return call


class TestInARegistry:
    def test_config_and_layers(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        image: CheckedImage,
        elsewhere: BlobStore,
        store: BlobStore,
    ) -> None:
        digest = publish_image(server, image, elsewhere)
        base = fetch()
        assert base.config == image.image.config
        assert not base.docker
        assert base.reference == ImageReference(server.host, NAME, "3.13", digest)
        assert [(layer.descriptor, layer.diff_id) for layer in base.layers] == [
            (layer.descriptor, layer.diff_id) for layer in image.image.layers
        ]
        assert all(layer.title == "base" and layer.source == base.reference for layer in base.layers)
        assert not store.has(base.layers[0].descriptor.digest)

    def test_index_is_resolved_to_the_architecture(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        image: CheckedImage,
        other: CheckedImage,
        elsewhere: BlobStore,
    ) -> None:
        arm, x86 = (publish_image(server, one, elsewhere) for one in (image, other))
        attestation = entry(
            Digest.of(b"a"), "unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"}
        )
        publish(
            server, index(entry(x86, "amd64"), entry(arm, "arm64", platform={"variant": "v8"}), attestation), OCI_INDEX
        )
        for platform, digest in ((ARM, arm), (X86, x86)):
            reference = fetch(platform=platform).reference
            assert reference is not None
            assert reference.digest == digest

    def test_image_for_newer_processors_only_is_not_taken(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        digest = publish_image(server, image, elsewhere)
        newer = entry(Digest.of(b"newer"), "arm64", platform={"variant": "v9"})
        publish(server, index(newer, entry(digest, "arm64")), OCI_INDEX)
        assert fetch().config == image.image.config

    def test_index_without_the_architecture_names_those_it_has(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        digest = publish_image(server, image, elsewhere)
        attestation = entry(digest, "unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"})
        images = (entry(digest, "s390x"), entry(digest, "arm", platform={"variant": "v7"}), attestation)
        publish(server, index(*images), OCI_INDEX)
        with pytest.raises(
            BaseImageError, match=r"it has no image for linux/arm64, only for linux/arm/v7, linux/s390x\."
        ):
            fetch()

    def test_index_with_two_fitting_images_is_ambiguous(
        self, server: LoopbackRegistry, fetch: Callable[..., Base]
    ) -> None:
        publish(server, index(entry(Digest.of(b"1"), "arm64"), entry(Digest.of(b"2"), "arm64")), OCI_INDEX)
        with pytest.raises(BaseImageError, match="it has 2 images for linux/arm64"):
            fetch()

    def test_index_in_an_index(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        inner = publish(server, index(entry(publish_image(server, image, elsewhere), "arm64")), OCI_INDEX)
        outer = entry(inner, "", mediaType=OCI_INDEX)
        del outer["platform"]
        publish(server, index(outer, media_type=DOCKER_INDEX), DOCKER_INDEX)
        assert fetch().config == image.image.config

    def test_index_of_itself_ends(self, server: LoopbackRegistry, fetch: Callable[..., Base], store: BlobStore) -> None:
        deep = Digest.of(b"nowhere")
        for _ in range(6):
            nested = entry(deep, "", mediaType=OCI_INDEX)
            del nested["platform"]
            deep = publish(server, index(nested), OCI_INDEX)
        with pytest.raises(BaseImageError, match="nested more than 4 deep"):
            fetch()

    def test_pinned_base_that_was_fetched_once_needs_no_registry(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        digest = publish_image(server, image, elsewhere)
        first = fetch(str(digest))
        server.calls.clear()
        assert fetch(str(digest)) == first
        assert server.calls == []

    def test_damaged_cache_is_fetched_again(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        image: CheckedImage,
        elsewhere: BlobStore,
        store: BlobStore,
    ) -> None:
        digest = publish_image(server, image, elsewhere)
        first = fetch(str(digest))
        for blob in (digest, image.image.config_descriptor.digest):
            store.path(blob).write_bytes(b"{}")
            assert fetch(str(digest)) == first

    def test_base_of_docker_media_types(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        publish_image(server, image, elsewhere)
        document = json.loads(image.image.manifest)
        document["mediaType"] = DOCKER_MANIFEST
        document["config"]["mediaType"] = DOCKER_CONFIG
        document["layers"][0]["mediaType"] = DOCKER_LAYER_GZIP
        publish(server, json.dumps(document).encode(), DOCKER_MANIFEST)
        assert fetch().docker

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ({"architecture": "amd64"}, "it is made for linux/amd64 and not for linux/arm64"),
            ({"os": "windows"}, "it is made for windows/arm64"),
            ({"config": {"Env": ["PYTHON_VERSION=3.12.7"]}}, "it holds Python 3.12.7 and not 3.13"),
            ({"rootfs": {"diff_ids": []}}, "its manifest has 1 layers and its config 0"),
            (
                {"architecture": "amd64", "config": {"Env": ["PYTHON_VERSION=3.1.3"]}},
                "it is made for linux/amd64 and not for linux/arm64; it holds Python 3.1.3 and not 3.13",
            ),
            ({"rootfs": None}, "its manifest or config is not understood"),
            ({"rootfs": {"diff_ids": ["md5:0"]}}, "its manifest or config is not understood"),
        ],
    )
    def test_base_that_does_not_fit(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        elsewhere: BlobStore,
        config: dict[str, object],
        why: str,
    ) -> None:
        layer = make_layer({"python": b""}, elsewhere)
        publish_image(server, make_image("base", [layer], platform=ARM, config=config), elsewhere)
        with pytest.raises(BaseImageError, match=why):
            fetch()

    def test_base_of_the_right_python(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], elsewhere: BlobStore
    ) -> None:
        config: dict[str, object] = {"config": {"Env": ["PATH=/usr/bin", "PYTHON_VERSION=3.13.1"]}}
        layer = make_layer({"python": b""}, elsewhere)
        publish_image(server, make_image("base", [layer], platform=ARM, config=config), elsewhere)
        assert len(fetch().layers) == 1

    @pytest.mark.parametrize(
        "content", [b'{"schemaVersion":1,"fsLayers":[]}', b'{"config":{}}', b'{"layers":[],"config":3}']
    )
    def test_what_is_no_image(self, server: LoopbackRegistry, fetch: Callable[..., Base], content: bytes) -> None:
        publish(server, content, "application/vnd.docker.distribution.manifest.v1+json")
        with pytest.raises(BaseImageError, match="Lambda does not run images of its kind"):
            fetch()

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"config": {"size": 5_000_000}}, "its config claims to have 5000000 bytes"),
            ({"layers": [{"urls": ["https://example/layer"]}]}, "some of its layers are not stored in registries"),
            (
                {"layers": [{"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}]},
                "some of its layers are not stored in registries",
            ),
            ({"layers": [{"size": -1}]}, "its manifest or config is not understood"),
        ],
    )
    def test_manifest_that_cannot_be_used(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        image: CheckedImage,
        elsewhere: BlobStore,
        change: dict[str, Any],
        why: str,
    ) -> None:
        publish_image(server, image, elsewhere)
        document = json.loads(image.image.manifest)
        document["config"] |= change.get("config", {})
        document["layers"][0] |= change.get("layers", [{}])[0]
        publish(server, json.dumps(document).encode(), image.image.manifest_media_type)
        with pytest.raises(BaseImageError, match=why):
            fetch()

    def test_config_of_another_content(
        self,
        server: LoopbackRegistry,
        fetch: Callable[..., Base],
        image: CheckedImage,
        elsewhere: BlobStore,
        store: BlobStore,
    ) -> None:
        publish_image(server, image, elsewhere)
        server.blob_answer = lambda content: content.replace(b"arm64", b"amd64")
        with pytest.raises(BaseImageError, match="the bytes promised as sha256:"):
            fetch()
        assert not store.has(image.image.config_descriptor.digest)

    def test_missing_tag(self, server: LoopbackRegistry, fetch: Callable[..., Base]) -> None:
        server.repository(NAME)
        with pytest.raises(BaseImageError, match=r"404 \(MANIFEST_UNKNOWN: no manifest 3\.15\)"):
            fetch("3.15")

    def test_busy_registry(
        self, server: LoopbackRegistry, fetch: Callable[..., Base], image: CheckedImage, elsewhere: BlobStore
    ) -> None:
        publish_image(server, image, elsewhere)
        server.faults.append(Fault("GET *", status=503, times=2))
        assert fetch().config == image.image.config

    def test_unreachable_registry_names_what_works_without_it(self, client: Client, store: BlobStore) -> None:
        with pytest.raises(BaseImageError, match="Connection refused") as caught:
            fetch_base("127.0.0.1:1/lambda/python:3.13", ARM, store, open_registry=client)
        assert "oci:DIR" in str(caught.value.next_step)
        assert "empty" in str(caught.value.next_step)


class TestInALayout:
    def test_layers_are_copied_into_the_store(
        self, tmp_path: Path, image: CheckedImage, elsewhere: BlobStore, store: BlobStore
    ) -> None:
        write_layout([image], tmp_path / "layout", elsewhere)
        base = choose_base(f"oci:{tmp_path / 'layout'}", ARM, store)
        assert base.config == image.image.config
        assert base.reference is None
        assert store.read(base.layers[0].descriptor.digest) == elsewhere.read(base.layers[0].descriptor.digest)
        assert all(layer.source is None for layer in base.layers)

    def test_image_is_chosen_by_architecture_or_by_name(
        self, tmp_path: Path, image: CheckedImage, other: CheckedImage, elsewhere: BlobStore, store: BlobStore
    ) -> None:
        named = CheckedImage("other", other.image)
        write_layout([image, named], tmp_path / "layout", elsewhere)
        assert layout_base(tmp_path / "layout", X86, store).config == other.image.config
        assert layout_base(tmp_path / "layout", X86, store, name="other").config == other.image.config
        with pytest.raises(BaseImageError, match="it is made for linux/amd64 and not for linux/arm64"):
            choose_base(f"oci:{tmp_path / 'layout'}:other", ARM, store)
        with pytest.raises(BaseImageError, match="the layout holds base, other"):
            choose_base(f"oci:{tmp_path / 'layout'}:missing", ARM, store)

    @pytest.mark.parametrize(
        "damage", ["no folder", "no index", "index", "version", "manifest", "layer", "short layer"]
    )
    def test_layout_that_cannot_be_used(
        self, tmp_path: Path, image: CheckedImage, elsewhere: BlobStore, store: BlobStore, damage: str
    ) -> None:
        folder = tmp_path / "layout"
        write_layout([image], folder, elsewhere)
        blobs = BlobStore(folder)
        layer = blobs.path(image.image.layers[0].descriptor.digest)
        match damage:
            case "no folder":
                folder = tmp_path / "missing"
            case "no index":
                (folder / "index.json").unlink()
            case "index":
                (folder / "index.json").write_text('{"manifests":[{"digest":"sha256:1"}]}')
            case "version":
                (folder / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
            case "manifest":
                blobs.path(image.image.digest).write_bytes(b"{}")
            case "layer":
                layer.write_bytes(layer.read_bytes()[:-1] + b"!")
            case "short layer":
                layer.write_bytes(layer.read_bytes()[:-1])
        with pytest.raises(BaseImageError, match=f"the OCI layout {folder} was not read"):
            layout_base(folder, ARM, store)
        assert not store.has(image.image.layers[0].descriptor.digest)


class TestChoice:
    def test_empty(self, store: BlobStore) -> None:
        base = choose_base("empty", ARM, store)
        assert base.layers == ()
        assert base.reference is None

    @pytest.mark.parametrize("text", ["UPPER/case", "a b", "name@sha256:12", "x:"])
    def test_what_is_no_base(self, store: BlobStore, text: str) -> None:
        with pytest.raises(BaseImageError, match="cannot be used"):
            choose_base(text, ARM, store)

    @pytest.mark.parametrize(
        ("text", "full"),
        [
            ("python:3.13", "docker.io/library/python:3.13"),
            ("team/python", "docker.io/team/python"),
            ("docker.io/python", "docker.io/library/python"),
            ("public.ecr.aws/lambda/python:3.13", "public.ecr.aws/lambda/python:3.13"),
        ],
    )
    def test_names_of_docker_hub(self, text: str, full: str) -> None:
        assert str(hub_name(ImageReference.parse(text))) == full

    @pytest.mark.parametrize("minor", [11, 12, 13, 14])
    def test_the_default_is_the_base_image_of_aws(self, minor: int) -> None:
        assert str(default_reference(PythonVersion(3, minor))) == f"public.ecr.aws/lambda/python:3.{minor}"

    def test_pinned_base_is_used(
        self,
        server: LoopbackRegistry,
        client: Client,
        store: BlobStore,
        image: CheckedImage,
        elsewhere: BlobStore,
        tmp_path: Path,
    ) -> None:
        pins = tmp_path / "bases.toml"
        old = publish_image(server, image, elsewhere)
        pins.write_text(f'[python."3.13"]\nreference = "{server.host}/{NAME}:3.13"\narm64 = "{old}"\n')
        layer = make_layer({"new": b""}, elsewhere)
        publish_image(server, make_image("base", [layer], platform=ARM), elsewhere)
        base = choose_base("", ARM, store, pins=pins, open_registry=client)
        assert base.reference == ImageReference(server.host, NAME, "3.13", old)

    @pytest.mark.parametrize(("minor", "outdated"), [(11, True), (12, False)])
    def test_a_base_of_amazon_linux_2_is_named(
        self, server: LoopbackRegistry, client: Client, store: BlobStore, elsewhere: BlobStore, minor: int,
        outdated: bool,
    ) -> None:  # fmt: skip
        python = Platform(Architecture.ARM64, PythonVersion(3, minor))
        layer = make_layer({f"var/lang/bin/python3.{minor}": b""}, elsewhere)
        publish_image(server, make_image("base", [layer], platform=python), elsewhere, f"3.{minor}")
        events = list[Event]()
        choose_base(f"{server.host}/{NAME}:3.{minor}", python, store, open_registry=client, report=events.append)
        notes = [each.text for each in events if isinstance(each, Note)]
        assert any("no security updates since 2026-06-30" in text for text in notes) is outdated

    def test_platform_without_a_pin_says_how_to_pin(self, tmp_path: Path, store: BlobStore) -> None:
        with pytest.raises(BaseImageError, match=r"no base image was chosen for linux/arm64 python3\.13") as caught:
            choose_base("", ARM, store, pins=tmp_path / "missing.toml")
        assert "build --update-base" in str(caught.value.next_step)

    @pytest.mark.parametrize(
        "content",
        ["[", "[python.x]", '[python."3.13"]\nreference = 3', '[python."3.13"]\nreference = "a"\narm64 = "x"'],
    )
    def test_pins_that_are_not_understood(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "bases.toml").write_text(content)
        with pytest.raises(BaseImageError, match=r"bases\.toml is not understood"):
            pinned_base(ARM, tmp_path / "bases.toml")


class TestUpdate:
    @pytest.fixture
    def pins(self, server: LoopbackRegistry, tmp_path: Path) -> Path:
        path = tmp_path / "bases.toml"
        path.write_text(f'[python."3.13"]\nreference = "{server.host}/{NAME}:3.13"\n')
        return path

    def test_pins_move_only_by_an_update(
        self,
        server: LoopbackRegistry,
        client: Client,
        store: BlobStore,
        image: CheckedImage,
        other: CheckedImage,
        elsewhere: BlobStore,
        pins: Path,
    ) -> None:
        arm, x86 = (publish_image(server, one, elsewhere) for one in (image, other))
        publish(server, index(entry(arm, "arm64"), entry(x86, "amd64")), OCI_INDEX)
        moved = update_base([ARM, X86], store, pins=pins, open_registry=client)
        assert {platform: (old, new.digest) for platform, (old, new) in moved.items()} == {
            ARM: (None, arm),
            X86: (None, x86),
        }
        assert pinned_base(ARM, pins).digest == arm
        assert pinned_base(X86, pins).digest == x86
        before = (pins.read_bytes(), pins.stat().st_mtime_ns)
        again = update_base([ARM], store, pins=pins, open_registry=client)
        assert again[ARM][0] == again[ARM][1]
        assert (pins.read_bytes(), pins.stat().st_mtime_ns) == before

    def test_update_that_fails_moves_nothing(
        self,
        server: LoopbackRegistry,
        client: Client,
        store: BlobStore,
        image: CheckedImage,
        elsewhere: BlobStore,
        pins: Path,
    ) -> None:
        publish_image(server, image, elsewhere)
        before = pins.read_bytes()
        with pytest.raises(BaseImageError, match="linux/arm64 and not for linux/amd64"):
            update_base([ARM, X86], store, pins=pins, open_registry=client)
        assert pins.read_bytes() == before

    def test_version_without_a_table_starts_from_the_base_image_of_aws(
        self, client: Client, store: BlobStore, pins: Path
    ) -> None:
        asked: list[str] = []

        def refuse(host: str) -> Registry:
            asked.append(host)
            return client("127.0.0.1:1")

        with pytest.raises(BaseImageError, match=r"public\.ecr\.aws/lambda/python:3\.14"):
            update_base([Platform(Architecture.ARM64, PythonVersion(3, 14))], store, pins=pins, open_registry=refuse)
        assert asked == ["public.ecr.aws"]
