"""Images on their way into a registry, and what is left when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.assembly.model import CheckedImage, PushedImage
from pipeline.core.errors import RegistryError
from pipeline.core.events import BytesMoved, Event, Note
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry
from pipeline.oci.values import DOCKER_MANIFEST, Digest, ImageReference
from pipeline.release.push import Push, push_image, push_images
from tests.servers.fixtures import FAST
from tests.servers.images import SBOM, from_source, make_image, make_layer, make_sbom, noise, pair
from tests.servers.registry import Fault, LoopbackRegistry, assert_whole

Client = Callable[..., Registry]
ECR = "000000000000.dkr.ecr.us-east-1.amazonaws.com"


def pushes(registry: Registry, images: list[CheckedImage], tag: str | None = "v1") -> list[Push]:
    return [Push(f"{registry.host}/{image.function}-dev", image, tag) for image in images]


def test_image_is_pushed_and_tagged(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    image = pair(store)[0]
    registry = client()
    pushed = push_image(registry, f"{registry.host}/fraud-detection-dev", image, store, tag="v1")
    assert pushed.uri == f"{registry.host}/fraud-detection-dev@{image.image.digest}"
    repository = server.repositories["fraud-detection-dev"]
    assert repository.tags == {"v1": str(image.image.digest)}
    assert repository.manifests[str(image.image.digest)][0] == image.image.manifest
    sent = sum(len(blob) for blob in repository.blobs.values())
    assert pushed.uploaded == sent + 2 * len(image.image.manifest)


def test_manifest_comes_after_the_blobs_and_the_tag_last(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    image = pair(store)[0]
    registry = client()
    push_image(registry, f"{registry.host}/app", image, store, tag="v1", artifacts=(make_sbom(image, store),))
    changing = [call for call in server.calls if call.split(" ")[0] not in ("GET", "HEAD")]
    puts = [call.rpartition("/")[2] for call in changing if "/manifests/" in call]
    assert puts[0] == str(image.image.digest)
    assert puts[-1] == "v1"
    assert changing.index(f"PUT /v2/app/manifests/{image.image.digest}") > max(
        index for index, call in enumerate(changing) if "PATCH" in call
    )
    read_back = server.calls.index(f"GET /v2/app/manifests/{image.image.digest}", 1)
    assert server.calls.index("PUT /v2/app/manifests/v1") > read_back


def test_second_push_sends_nothing(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    registry, images = client(), pair(store)
    push_images(registry, pushes(registry, images), store)
    server.calls.clear()
    events: list[Event] = []
    again = push_images(registry, pushes(registry, images), store, report=events.append)
    assert [pushed.uploaded for pushed in again] == [0, 0]
    assert {call.split(" ")[0] for call in server.calls} == {"GET", "HEAD"}
    assert len(server.calls) == 4
    assert events == []


def test_shared_blob_is_sent_once_and_mounted(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    registry, images = client(), pair(store, shared=50_000)
    pushed = push_images(registry, pushes(registry, images), store)
    assert sorted(one.uploaded > 50_000 for one in pushed) == [False, True]
    assert server.received < 60_000
    assert_whole(server)


def test_shared_blob_is_sent_twice_where_mounts_are_refused(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.mounts = False
    registry, images = client(), pair(store)
    push_images(registry, pushes(registry, images), store)
    assert [len(repository.blobs) for repository in server.repositories.values()] == [3, 3]
    assert sum("mount=" in call for call, _ in server.requests) == 1


def test_a_blob_is_mounted_from_an_image_that_is_there_already(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    registry, images = client(), pair(store, shared=50_000)
    push_images(registry, pushes(registry, images[:1]), store)
    server.received = 0
    push_images(registry, pushes(registry, images), store)
    assert server.received < 10_000
    assert_whole(server)


def test_same_layer_twice_in_an_image(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    layer = make_layer({"a": noise(5000)}, store)
    registry = client()
    push_image(registry, f"{registry.host}/app", make_image("app", [layer, layer]), store)
    assert len(server.repositories["app"].blobs) == 2


def test_progress_ends_at_the_size_of_the_image(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    events: list[Event] = []
    registry, images = client(), pair(store)
    push_images(registry, pushes(registry, images), store, report=events.append)
    for image in images:
        size = image.image.config_descriptor.size + sum(layer.descriptor.size for layer in image.image.layers)
        assert [event for event in events if isinstance(event, BytesMoved) and event.subject == image.function][
            -1
        ] == BytesMoved("push", image.function, size, size)


def test_base_layer_comes_from_its_registry_once(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, store: BlobStore, tmp_path: Path
) -> None:
    elsewhere = BlobStore(tmp_path / "elsewhere")
    layer = make_layer({"var/lang/bin/python": noise(30_000)}, elsewhere, "base")
    other_server.repository("lambda/python").blobs[str(layer.descriptor.digest)] = elsewhere.read(
        layer.descriptor.digest
    )
    base = from_source(layer, ImageReference(other_server.host, "lambda/python", "3.13"))
    images = [make_image(name, [base, make_layer({"handler.py": name.encode()}, store)]) for name in ("a", "b")]
    events: list[Event] = []
    registry = client()
    push_images(
        registry, pushes(registry, images), store, open_registry=lambda host: client(host), report=events.append
    )
    assert other_server.calls == [f"GET /v2/lambda/python/blobs/{layer.descriptor.digest}"]
    assert store.has(layer.descriptor.digest)
    assert_whole(server)
    assert any(isinstance(event, BytesMoved) and event.step == "fetch" for event in events)


def test_base_layer_that_is_there_is_not_fetched(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    elsewhere = BlobStore(store.root.parent / "elsewhere")
    layer = make_layer({"python": noise(3000)}, elsewhere, "base")
    image = make_image("a", [from_source(layer, ImageReference("base.invalid", "python"))])
    server.repository("a-dev").blobs[str(layer.descriptor.digest)] = elsewhere.read(layer.descriptor.digest)
    registry = client()
    events: list[Event] = []
    push_images(registry, pushes(registry, [image]), store, open_registry=_never, report=events.append)
    assert_whole(server)
    assert isinstance(events[-1], BytesMoved)
    assert events[-1].done == events[-1].total


def _never(host: str) -> Registry:
    raise AssertionError(f"{host} is not needed")


def test_layer_that_is_nowhere_is_named(client: Client, store: BlobStore) -> None:
    elsewhere = BlobStore(store.root.parent / "elsewhere")
    image = make_image("a", [make_layer({"x": b"1"}, elsewhere)])
    registry = client()
    with pytest.raises(
        RegistryError, match=r"the layer sha256:\w+ \(function\) was not pushed: it is not in the cache"
    ):
        push_images(registry, pushes(registry, [image]), store)


def test_damaged_blobs_are_removed_all_at_once(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    images, registry = pair(store), client()
    layers = {layer.descriptor.digest for image in images for layer in image.image.layers}
    whole = min(layers)
    contents = {digest: store.path(digest).read_bytes() for digest in layers}
    for digest in layers - {whole}:
        store.path(digest).write_bytes(contents[digest][:-1] + b"!")
    with pytest.raises(RegistryError, match=f"{len(layers) - 1} of its blobs in the cache .* were damaged") as caught:
        push_images(registry, pushes(registry, images), store)
    assert str(caught.value.next_step) == "Run the command again to create them."
    assert [digest for digest in layers if store.has(digest)] == [whole]
    for content in contents.values():
        store.add(content)
    push_images(registry, pushes(registry, images), store)
    assert_whole(server)


def test_untagged_push(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    registry = client()
    push_images(registry, pushes(registry, pair(store), tag=None), store)
    assert all(repository.manifests and not repository.tags for repository in server.repositories.values())


def test_immutable_tag_of_the_same_image_is_a_success(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.immutable = True
    registry, images = client(), pair(store)
    for _ in range(2):
        push_images(registry, pushes(registry, images), store)
    # Another tool tagged it between our read and our attempt.
    server.faults += [Fault(f"HEAD /v2/{image.function}-dev/manifests/v1", status=404) for image in images]
    assert [one.uploaded for one in push_images(registry, pushes(registry, images), store)] != [0, 0]


def test_immutable_tag_of_another_image_is_an_error(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.immutable = True
    first, second = pair(store)
    registry = client()
    push_image(registry, f"{registry.host}/app", first, store, tag="v1")
    with pytest.raises(RegistryError, match=r"pushed, but not tagged v1: in .* that tag names") as caught:
        push_image(registry, f"{registry.host}/app", second, store, tag="v1")
    assert str(first.image.digest) in caught.value.why
    assert str(second.image.digest) in caught.value.why
    assert server.repositories["app"].tags == {"v1": str(first.image.digest)}


def test_mutable_tag_moves(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    registry = client()
    for image in pair(store):
        push_image(registry, f"{registry.host}/app", image, store, tag="v1")
        assert server.repositories["app"].tags == {"v1": str(image.image.digest)}


def test_manifest_that_comes_back_changed_is_noticed(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.manifest_answer = lambda content: content + b"\n"
    registry = client()
    with pytest.raises(RegistryError, match="answered with content of the digest"):
        push_images(registry, pushes(registry, pair(store)), store)
    assert all(not repository.tags for repository in server.repositories.values())


@pytest.mark.parametrize("says_what_it_is", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_manifest_that_is_kept_as_something_else_is_set_right_or_noticed(
    server: LoopbackRegistry, client: Client, store: BlobStore, says_what_it_is: bool, stays: bool
) -> None:
    image = pair(store)[0]
    if not says_what_it_is:
        document = json.loads(image.image.manifest)
        del document["mediaType"]
        image = CheckedImage(image.function, replace(image.image, manifest=json.dumps(document).encode()))
    manifests = server.repository("app").manifests
    manifests[str(image.image.digest)] = (image.image.manifest, DOCKER_MANIFEST)
    if stays:
        server.manifest_type = DOCKER_MANIFEST
    registry = client()
    if stays:
        with pytest.raises(RegistryError, match=re.escape(DOCKER_MANIFEST)):
            push_image(registry, f"{registry.host}/app", image, store, tag="v1")
        assert server.repositories["app"].tags == {}
    else:
        push_image(registry, f"{registry.host}/app", image, store, tag="v1")
        assert manifests[str(image.image.digest)][1] == image.image.manifest_media_type


def test_manifest_that_is_taken_and_gone_is_noticed(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.faults.append(Fault("GET */manifests/*", status=404, times=None))
    registry = client()
    with pytest.raises(RegistryError, match=r"accepted the manifest sha256:.* and does not return it"):
        push_image(registry, f"{registry.host}/app", pair(store)[0], store, tag="v1")
    assert server.repositories["app"].tags == {}


@pytest.mark.parametrize("uri", ["other.example/app", "{host}/app:tag", "{host}/app@sha256:" + "0" * 64, "{host}/App"])
def test_repository_of_another_registry_is_a_mistake(client: Client, store: BlobStore, uri: str) -> None:
    registry = client()
    with pytest.raises(ValueError, match=r"App|is no repository of"):
        push_image(registry, uri.format(host=registry.host), pair(store)[0], store)


def test_aws_style_registry_is_served_by_an_emulator(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    registry = client(ECR, endpoint_url=server.url)
    pushed = push_images(registry, pushes(registry, pair(store)), store)
    assert pushed[0].repository_uri == f"{ECR}/fraud-detection-dev"
    assert_whole(server)


class TestArtifacts:
    def test_sbom_is_pushed_once(self, server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
        server.referrers = True
        image, registry = pair(store)[0], client()
        sbom = make_sbom(image, store)
        results = [
            push_image(registry, f"{registry.host}/app", image, store, artifacts=(sbom,)).uploaded for _ in range(2)
        ]
        assert results[0] > 0
        assert results[1] == 0
        assert str(sbom.manifest.digest) in server.repositories["app"].manifests
        assert server.repositories["app"].tags == {}

    def test_registry_without_referrers_is_told_by_a_tag(
        self, server: LoopbackRegistry, client: Client, store: BlobStore
    ) -> None:
        image, registry = pair(store)[0], client()
        sbom = make_sbom(image, store)
        repository = server.repository("app")
        for _ in range(2):
            repository.manifests.pop(str(sbom.manifest.digest), None)
            push_image(registry, f"{registry.host}/app", image, store, artifacts=(sbom,))
        index = json.loads(repository.manifests[repository.tags[f"sha256-{image.image.digest.hex}"]][0])
        assert [(entry["digest"], entry["artifactType"]) for entry in index["manifests"]] == [
            (str(sbom.manifest.digest), SBOM)
        ]

    def test_an_artifact_that_the_registry_refuses_is_a_note(
        self, server: LoopbackRegistry, client: Client, store: BlobStore
    ) -> None:
        image, registry = pair(store)[0], client()
        sbom = make_sbom(image, store)
        server.faults.append(Fault(f"PUT */manifests/{sbom.manifest.digest}", status=405, times=None))
        events: list[Event] = []
        pushed = push_image(
            registry, f"{registry.host}/app", image, store, tag="v1", artifacts=(sbom,), report=events.append
        )
        assert pushed.digest == image.image.digest
        assert server.repositories["app"].tags == {"v1": str(image.image.digest)}
        (note,) = [event.text for event in events if isinstance(event, Note)]
        assert note.startswith(f"fraud-detection was pushed without its {SBOM}: ")

    def test_missing_sbom_is_added_to_an_image_that_is_there(
        self, server: LoopbackRegistry, client: Client, store: BlobStore
    ) -> None:
        server.referrers = True
        image, registry = pair(store)[0], client()
        push_image(registry, f"{registry.host}/app", image, store, tag="v1")
        sbom = make_sbom(image, store)
        push_image(registry, f"{registry.host}/app", image, store, tag="v1", artifacts=(sbom,))
        assert str(sbom.manifest.digest) in server.repositories["app"].manifests


def _calls_of_a_push(tmp_path: Path) -> list[str]:
    with LoopbackRegistry() as server:
        _push(server, BlobStore(tmp_path / "rehearsal"))
        return server.calls


def _push(server: LoopbackRegistry, store: BlobStore) -> tuple[PushedImage, ...]:
    with Registry(server.host, retries=FAST, chunk_size=1000) as registry:
        return push_images(registry, pushes(registry, pair(store)), store)


FAULTS = {
    "401": (Fault("*", status=401), False),
    "403": (Fault("*", status=403), False),
    "404": (Fault("*", status=404), None),
    "429": (Fault("*", status=429), True),
    "500": (Fault("*", status=500), True),
    "503 for a while": (Fault("*", status=503, times=2), True),
    "cut": (Fault("*", "cut"), True),
    "cut in the request": (Fault("*", "cut_request", after=150), True),
    "cut in the answer": (Fault("*", "cut_answer", after=5), True),
    "answer lost": (Fault("*", "lose_answer"), True),
}


# One fault of each kind is tried in every run.
SHORT = ("401", "429", "cut", "answer lost")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.at_length) for name in FAULTS]
)
def test_fault_at_every_request_in_turn(name: str, tmp_path: Path) -> None:
    """A busy or broken registry is retried, a refusal is reported, and the next push always finishes."""
    template, survives = FAULTS[name]
    requests = len(_calls_of_a_push(tmp_path))
    assert requests > 15
    failures: list[RegistryError] = []
    for position in range(requests):
        store = BlobStore(tmp_path / "store")
        with LoopbackRegistry() as server:
            server.faults.append(replace(template, skip=position, met=0))
            try:
                _push(server, store)
            except RegistryError as error:
                failures.append(error)
            assert_whole(server)
            server.faults.clear()
            assert {one.digest for one in _push(server, store)} == {one.image.digest for one in pair(store)}
            assert [len(repository.tags) for repository in server.repositories.values()] == [1, 1]
            assert_whole(server)
    assert all(re.search(f"answered {name}|does not return it", error.why) and error.next_step for error in failures)
    match survives:
        case True:
            assert failures == []
        case False:
            # A mount that is refused is no failure, and neither is a request that comes twice.
            assert len(failures) >= requests - 2


def test_ctrl_c_in_the_middle_ends_soon_and_is_finished_by_the_next_push(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    registry, images = client(), pair(store, shared=1_000_000)

    def interrupt(event: Event) -> None:
        if threading.current_thread() is not threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        push_images(registry, pushes(registry, images), store, report=interrupt)
    assert server.received < 900_000
    assert_whole(server)
    push_images(registry, pushes(registry, images), store)
    assert_whole(server)


def test_two_pushes_of_the_same_images_at_once(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.immutable = True
    images = pair(store, shared=20_000)
    registries = [client() for _ in range(4)]
    with ThreadPoolExecutor(len(registries)) as pool:
        results = list(pool.map(lambda registry: push_images(registry, pushes(registry, images), store), registries))
    assert {tuple(one.digest for one in pushed) for pushed in results} == {tuple(one.image.digest for one in images)}
    assert [len(repository.tags) for repository in server.repositories.values()] == [1, 1]
    assert_whole(server)


def test_error_of_one_blob_does_not_wait_for_the_patience_of_another(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.faults += [
        Fault("PATCH */fraud-detection-dev/*", status=503, headers={"Retry-After": "60"}, times=None),
        Fault("PUT */compliance-checking-dev/*", status=403, times=None),
    ]
    registry, images = client(), pair(store, own=5000)
    started = time.monotonic()
    with pytest.raises(RegistryError, match="answered 403"):
        push_images(registry, pushes(registry, images), store)
    assert time.monotonic() - started < 10
    server.faults.clear()
    push_images(registry, pushes(registry, images), store)


def test_digest_of_what_is_pushed_is_known_before(store: BlobStore) -> None:
    image = pair(store)[0].image
    assert image.digest == Digest.of(image.manifest)
