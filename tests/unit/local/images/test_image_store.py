"""Images come from the registry whole and verified, or not at all."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.images import image_store
from pipeline.local.images.image_pull import ImageUnavailable, local_registries
from pipeline.local.images.image_store import ImageStore
from pipeline.oci.values import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Digest,
    ImageReference,
)


@dataclass
class Registry:
    """A registry of one repository, "app"; what it has can be changed behind its back."""

    content: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def add(self, content: bytes, kind: str = "blobs") -> Digest:
        self.content[f"/v2/app/{kind}/{Digest.of(content)}"] = content
        return Digest.of(content)

    def describe(self, media_type: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(self.add(content)), "size": len(content)}

    def image(self, *layers: Mapping[str, bytes], media_type: str = OCI_LAYER_GZIP, **manifest: Any) -> ImageReference:
        plain = [archive(files) for files in layers]
        packed = [gzip.compress(content, mtime=0) for content in plain]
        config = json.dumps(
            {
                "architecture": "amd64",
                "config": {"Cmd": ["handler.handle"], "Env": ["A=b=c"], "Labels": {"x": "y"}},
                "rootfs": {"diff_ids": [str(Digest.of(content)) for content in plain]},
            }
        ).encode()
        document = {
            "mediaType": OCI_MANIFEST,
            "config": self.describe(OCI_CONFIG, config),
            "layers": [self.describe(media_type, content) for content in packed],
        } | manifest
        return ImageReference("registry", "app", digest=self.add(json.dumps(document).encode(), "manifests"))


def archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            assert query == "ns=registry"
            made.asked.append(path)
            content = made.content.get(path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path, registry: Registry) -> ImageStore:
    return ImageStore(tmp_path / "local folder", local_registries(registry.endpoint, "token"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "local folder"


def names(folder: Path, kind: str) -> set[str]:
    return {path.name for path in (folder / kind).iterdir()}


def test_an_image_is_pulled_by_digest_and_laid_out(registry: Registry, store: ImageStore) -> None:
    image = store.ensure(registry.image({"a": b"1", "b": b"1"}, {"b": b"2"}))
    assert (image.rootfs / "a").read_bytes() == b"1"
    assert (image.rootfs / "b").read_bytes() == b"2"
    assert (image.command, image.environment, image.labels) == (("handler.handle",), (("A", "b=c"),), (("x", "y"),))


def test_an_image_of_dockers_types_is_as_good(registry: Registry, store: ImageStore) -> None:
    reference = registry.image({"a": b"1"}, media_type=DOCKER_LAYER_GZIP, mediaType=DOCKER_MANIFEST)
    assert (store.ensure(reference).rootfs / "a").exists()


def test_what_is_there_is_not_fetched_again(registry: Registry, store: ImageStore, folder: Path) -> None:
    first = registry.image({"base": b"1"}, {"own": b"1"})
    store.ensure(first)
    registry.asked.clear()
    store.ensure(first)
    ImageStore(folder, local_registries(registry.endpoint, "token")).ensure(first)
    assert registry.asked == []
    store.ensure(registry.image({"base": b"1"}, {"own": b"2"}))
    assert len(registry.asked) == 3  # manifest, config and the one layer that is new


@pytest.mark.parametrize(
    "damage", ["nothing in it", "no description", "half a description", "another description", "no files"]
)
def test_what_is_damaged_on_disk_is_pulled_again(
    registry: Registry, store: ImageStore, folder: Path, damage: str
) -> None:
    reference = registry.image({"a": b"1"})
    place = store.ensure(reference).rootfs.parent
    about = place / "image.json"
    match damage:
        case "nothing in it":
            shutil.rmtree(place)
            place.mkdir()
        case "no description":
            about.unlink()
        case "half a description":
            about.write_text(about.read_text()[:-9])
        case "another description":
            about.write_text('{"config": []}')
        case _:
            shutil.rmtree(place / "rootfs")
    image = ImageStore(folder, local_registries(registry.endpoint, "token")).ensure(reference)
    assert (image.rootfs / "a").read_bytes() == b"1"
    assert not names(folder, "unpacking")


def test_a_layer_of_several_gzip_members_is_read_whole(registry: Registry, store: ImageStore) -> None:
    plain = archive({"a": b"x" * 5000})
    packed = gzip.compress(plain[:3000], mtime=0) + gzip.compress(plain[3000:], mtime=0)
    config = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": [str(Digest.of(plain))]}}).encode()
    layer = registry.describe(OCI_LAYER_GZIP, packed)
    manifest = json.dumps({"config": registry.describe(OCI_CONFIG, config), "layers": [layer]}).encode()
    image = store.ensure(ImageReference("registry", "app", digest=registry.add(manifest, "manifests")))
    assert (image.rootfs / "a").read_bytes() == b"x" * 5000


def replace(registry: Registry, kind: str, content: Callable[[bytes], bytes], which: Callable[[bytes], bool]) -> None:
    for path, old in registry.content.items():
        if f"/{kind}/" in path and which(old):
            registry.content[path] = content(old)


@pytest.mark.parametrize(
    ("kind", "change", "which", "message"),
    [
        ("manifests", lambda old: old + b" ", lambda old: True, "the registry answered"),
        ("blobs", lambda old: old.replace(b"amd64", b"arm64"), lambda old: old[:1] == b"{", "the registry answered"),
        ("blobs", lambda old: old + b" ", lambda old: old[:1] == b"{", "the registry announces"),
        (
            "blobs",
            lambda old: old[:-9] + b"x" * 9,
            lambda old: old[:2] == b"\x1f\x8b",
            "cannot be unpacked|does not match",
        ),
        ("blobs", lambda old: old[:40], lambda old: old[:2] == b"\x1f\x8b", "the registry announces 40 bytes"),
        ("blobs", lambda old: old + old, lambda old: old[:2] == b"\x1f\x8b", "the registry announces"),
        ("blobs", lambda old: bytes(len(old)), lambda old: old[:2] == b"\x1f\x8b", "cannot be unpacked"),
    ],
)
def test_a_registry_that_lies_is_found_out_and_nothing_is_left(
    registry: Registry, store: ImageStore, folder: Path, kind: str, change: Any, which: Any, message: str
) -> None:
    reference = registry.image({"a": b"content" * 100})
    right = dict(registry.content)
    replace(registry, kind, change, which)
    with pytest.raises(ImageUnavailable, match=message):
        store.ensure(reference)
    assert not names(folder, "images") | names(folder, "layers") | names(folder, "unpacking")
    registry.content.update(right)
    assert (store.ensure(reference).rootfs / "a").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifests": []}, "no image manifest"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "image index"),
        ({"mediaType": "text/plain"}, "'text/plain'"),
        ({"layers": []}, "0 layers and 1 diff ids"),
        ({"config": {}}, "cannot be unpacked"),
    ],
)
def test_what_lambda_refuses_is_refused(
    registry: Registry, store: ImageStore, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageUnavailable, match=message):
        store.ensure(registry.image({"a": b"1"}, **change))


def test_a_layer_that_is_not_gzip_is_refused(registry: Registry, store: ImageStore) -> None:
    with pytest.raises(ImageUnavailable, match="zstd"):
        store.ensure(registry.image({"a": b"1"}, media_type="application/vnd.oci.image.layer.v1.tar+zstd"))


def test_a_layer_that_climbs_is_refused_and_nothing_is_left(
    registry: Registry, store: ImageStore, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageUnavailable, match="leads out of the layer"):
        store.ensure(registry.image({"../../../../escaped": b"1"}))
    assert not list(tmp_path.rglob("escaped"))
    assert not names(folder, "images") | names(folder, "layers") | names(folder, "unpacking")


def test_a_bomb_is_given_up_early(
    registry: Registry, store: ImageStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "UNPACKED_MAX", 1 << 20)
    reference = registry.image({"zeros": bytes(64 << 20)})
    with pytest.raises(ImageUnavailable, match="more bytes than an image may have"):
        store.ensure(reference)
    assert not names(folder, "unpacking")


def test_an_image_that_is_absent_says_so(registry: Registry, store: ImageStore) -> None:
    with pytest.raises(ImageUnavailable, match="not in the registry"):
        store.ensure(ImageReference("registry", "app", digest=Digest.of(b"absent")))


def test_a_registry_that_is_away_says_so(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, local_registries("http://127.0.0.1:9", "token"))
    with pytest.raises(ImageUnavailable, match=r"cannot be pulled: .*refused"):
        store.ensure(ImageReference("registry", "app", digest=Digest.of(b"absent")))


def test_a_full_disk_says_so(registry: Registry, store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_store, "unpack_layer", unpack)
    with pytest.raises(ImageUnavailable, match="no space is left"):
        store.ensure(registry.image({"a": b"1"}))


def test_many_threads_get_one_image(registry: Registry, store: ImageStore) -> None:
    reference = registry.image({"a": b"1"})
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(store.ensure(reference).rootfs)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(registry.asked) == 3


def test_old_images_that_nothing_uses_are_removed_with_their_layers(
    registry: Registry, store: ImageStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "KEPT_UNUSED", 1)
    made = [registry.image({"base": b"1"}, {"own": bytes([number])}) for number in range(4)]
    for reference in made:
        store.ensure(reference)
    used = made[0].digest
    assert used is not None
    store.prune({used})
    assert names(folder, "images") == {used.hex, made[3].digest.hex}  # type: ignore[union-attr]
    assert len(names(folder, "layers")) == 3
    assert not names(folder, "unpacking")
    # What was removed can be had again.
    assert (store.ensure(made[1]).rootfs / "own").read_bytes() == b"\x01"


def test_an_image_that_is_damaged_on_disk_is_no_other_ones_trouble(registry: Registry, store: ImageStore) -> None:
    damaged = store.ensure(registry.image({"app/a.py": b"1"}))
    (damaged.rootfs.parent / "image.json").unlink()
    assert store.ensure(registry.image({"app/a.py": b"2"})).rootfs.is_dir()
    store.prune(set())
