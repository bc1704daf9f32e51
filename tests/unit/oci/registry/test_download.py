"""Manifests and blobs on their way out of a registry: what is wrong is never kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pipeline.core.errors import RegistryError
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry.client import Registry, RegistryRefused, RegistryUnreachable, Retries
from pipeline.oci.values import DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Digest, Manifest
from tests.servers.images import noise, pair, sha256
from tests.servers.registry import Answered, Fault, LoopbackRegistry

Client = Callable[..., Registry]
CONTENT = noise(400_000)
BLOB = Descriptor(OCI_LAYER_GZIP, Digest.of(CONTENT), len(CONTENT))


@pytest.fixture(autouse=True)
def _blob(server: LoopbackRegistry) -> None:
    server.repository("app").blobs[str(BLOB.digest)] = CONTENT


def fetch(registry: Registry, store: BlobStore) -> None:
    registry.fetch_blob("app", BLOB, store)


def test_blob_is_stored_once(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    moved: list[int] = []
    for _ in range(2):
        client().fetch_blob("app", BLOB, store, moved=moved.append)
    assert store.read(BLOB.digest) == CONTENT
    assert server.calls == [f"GET /v2/app/blobs/{BLOB.digest}"]
    assert sum(moved) == len(CONTENT)


@pytest.mark.parametrize("after", [0, 1, 65536, 399_999])
def test_blob_that_breaks_off_is_continued(
    server: LoopbackRegistry, client: Client, store: BlobStore, after: int
) -> None:
    server.faults.append(Fault("GET *", "cut_answer", after=after))
    fetch(client(), store)
    assert store.read(BLOB.digest) == CONTENT
    assert len(server.calls) == 2
    assert server.requests[1][1].get("range") == (f"bytes={after}-" if after else None)


def test_download_that_makes_progress_is_not_given_up(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.faults.append(Fault("GET *", "cut_answer", after=150_000, times=2))
    fetch(client(retries=Retries(attempts=2, base=0.001)), store)
    assert len(server.calls) == 3


def test_manifest_that_is_kept_as_something_else_is_noticed(server: LoopbackRegistry, client: Client) -> None:
    original = server._manifest

    def rename(*request: object) -> object:
        answer = original(*request)  # type: ignore[arg-type]
        answer.headers["Docker-Content-Digest"] = sha256(b"other")
        return answer

    server._manifest = rename  # type: ignore[method-assign, assignment]
    with pytest.raises(RegistryError, match=f"the registry kept it as {sha256(b'other')} instead of"):
        client().put_manifest("app", Manifest(b'{"manifests":[]}', OCI_INDEX), tag="1")


def test_range_that_is_ignored_is_skipped(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    original = server._blob
    server._blob = lambda *request: original(*request[:-1], {})  # type: ignore[method-assign]
    server.faults.append(Fault("GET *", "cut_answer", after=100_000))
    fetch(client(), store)
    assert store.read(BLOB.digest) == CONTENT


def test_blob_of_another_content_is_not_kept(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.blob_answer = lambda content: content[:-1] + b"!"
    with pytest.raises(RegistryError, match=f"the bytes promised as {BLOB.digest} are sha256:"):
        fetch(client(), store)
    assert not store.has(BLOB.digest)
    assert list(store.path(BLOB.digest).parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "announced"), [(lambda content: content[:-1], 399_999), (lambda content: content + b"!", 400_001)]
)
def test_blob_that_is_announced_with_another_size_is_not_read(
    server: LoopbackRegistry, client: Client, store: BlobStore, change: Callable[[bytes], bytes], announced: int
) -> None:
    server.blob_answer = change
    with pytest.raises(RegistryError, match=f"announces {announced} bytes where the manifest promises 400000"):
        fetch(client(), store)


@pytest.mark.parametrize("times", [1, None])
def test_truncated_blob_is_continued_or_given_up(
    server: LoopbackRegistry, client: Client, store: BlobStore, times: int | None
) -> None:
    server.faults.append(Fault("GET *", "cut_answer", after=10, times=times))
    if times is None:
        with pytest.raises(RegistryUnreachable, match="broke off after 40 of 400000 bytes: the answer ended early"):
            fetch(client(), store)
        assert not store.has(BLOB.digest)
    else:
        fetch(client(), store)
        assert store.has(BLOB.digest)


def test_blob_without_an_announced_length_that_ends_early_is_noticed(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.lengths = lambda _length: None
    server.blob_answer = lambda content: content[:1000]
    with pytest.raises(RegistryError, match="broke off after 1000 of 400000 bytes"):
        fetch(client(), store)


def test_blob_without_an_announced_length_that_never_ends_is_given_up(
    server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.lengths = lambda _length: None
    server.blob_answer = lambda content: content * 3
    with pytest.raises(RegistryError, match="runs past its 400000 bytes"):
        fetch(client(), store)
    assert not store.has(BLOB.digest)


def test_missing_blob(client: Client, store: BlobStore) -> None:
    missing = Descriptor(OCI_LAYER_GZIP, Digest.of(b"missing"), 7)
    with pytest.raises(RegistryRefused, match=r"404 \(BLOB_UNKNOWN"):
        client().fetch_blob("app", missing, store)
    assert client().head_blob("app", missing.digest) is None
    assert client().head_blob("app", BLOB.digest) == 400_000


def put(server: LoopbackRegistry, content: bytes, media_type: str = OCI_MANIFEST, tag: str = "1") -> str:
    digest = sha256(content)
    server.repository("app").manifests[digest] = (content, media_type)
    server.repository("app").tags[tag] = digest
    return digest


def manifest(store: BlobStore) -> bytes:
    return pair(store)[0].image.manifest


def test_manifest_by_tag_and_by_digest(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    content = manifest(store)
    digest = Digest.parse(put(server, content))
    for reference in ("1", digest):
        assert client().fetch_manifest("app", reference) == Manifest(content, OCI_MANIFEST)
        assert client().head_manifest("app", reference) == digest


def test_missing_manifest(server: LoopbackRegistry, client: Client) -> None:
    assert client().find_manifest("app", "2") is None
    assert client().head_manifest("app", "2") is None
    with pytest.raises(RegistryRefused, match=r"404 \(MANIFEST_UNKNOWN") as caught:
        client().fetch_manifest("app", "2")
    assert str(caught.value.next_step) == "Check the tag or the digest."


@pytest.mark.parametrize("by_tag", [True, False])
def test_manifest_of_another_content_is_refused(
    server: LoopbackRegistry, client: Client, store: BlobStore, by_tag: bool
) -> None:
    digest = put(server, manifest(store))
    server.manifest_answer = lambda content: content + b" "
    with pytest.raises(RegistryError, match=f"answered with content of the digest sha256:[0-9a-f]+ for {digest}"):
        client().fetch_manifest("app", "1" if by_tag else Digest.parse(digest))


def test_manifest_that_breaks_off_is_fetched_again(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    put(server, manifest(store))
    server.faults.append(Fault("GET *", "cut_answer", after=10))
    assert client().fetch_manifest("app", "1").content == manifest(store)


@pytest.mark.parametrize(
    ("content", "media_type", "why"),
    [
        (b"<html>", "text/html; charset=utf-8", "is no image manifest but a web page"),
        (b"[]", OCI_MANIFEST, "is no image manifest"),
        (b"[" * 100_000, OCI_MANIFEST, "is no image manifest"),
        (json.dumps({"layers": [], "manifests": []}).encode(), OCI_INDEX, "is no image manifest"),
        (
            json.dumps({"mediaType": OCI_MANIFEST, "layers": []}).encode(),
            DOCKER_MANIFEST,
            r"it calls itself .* and the registry",
        ),
        (b" " * (4 * 1024 * 1024 + 1), OCI_MANIFEST, "longer than 4194304 bytes"),
    ],
)
def test_what_is_no_manifest_is_refused(
    server: LoopbackRegistry, client: Client, content: bytes, media_type: str, why: str
) -> None:
    put(server, content, media_type)
    with pytest.raises(RegistryError, match=why):
        client().fetch_manifest("app", "1")


def test_media_type_is_the_registrys_when_the_manifest_has_none(server: LoopbackRegistry, client: Client) -> None:
    put(server, b'{"layers":[]}', f"{DOCKER_MANIFEST}; charset=utf-8")
    assert client().fetch_manifest("app", "1").media_type == DOCKER_MANIFEST


def test_redirected_blob_goes_without_the_login(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    from pipeline.oci.registry.client import Credentials

    server.auth, server.blob_host = "basic", other_server.url
    other_server.repository("app").blobs[str(BLOB.digest)] = CONTENT
    fetch(client(credentials=Credentials("user", "secret")), store)
    assert store.read(BLOB.digest) == CONTENT
    assert "authorization" in server.requests[-1][1]
    assert [sorted(headers) for _, headers in other_server.requests] == [["accept-encoding", "host", "user-agent"]]


def test_redirects_without_end_are_given_up(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.blob_host = server.url
    with pytest.raises(RegistryUnreachable, match="redirects more than 5 times"):
        fetch(client(), store)


def test_redirect_to_a_file_is_not_followed(server: LoopbackRegistry, client: Client, store: BlobStore) -> None:
    server.blob_host = "file:///etc"
    with pytest.raises(RegistryUnreachable, match="redirects to a non-HTTP"):
        fetch(client(), store)


@pytest.mark.parametrize("location", ["http://[::1", "http://registry.example:port/", "http://registry.example:99999/"])
def test_redirect_to_half_an_address_is_told(
    server: LoopbackRegistry, client: Client, store: BlobStore, location: str
) -> None:
    server.faults.append(Fault("GET *", status=307, headers={"Location": location}))
    with pytest.raises(RegistryUnreachable, match="redirects to a non-HTTP"):
        fetch(client(), store)


@pytest.mark.parametrize("body", ["[" * 50_000, '{"errors":[[[1]]]}'])
def test_refusal_in_words_that_cannot_be_read_is_told(
    server: LoopbackRegistry, client: Client, store: BlobStore, body: str
) -> None:
    server._blob = lambda *_request: Answered(403, {}, body.encode())  # type: ignore[method-assign]
    with pytest.raises(RegistryRefused, match="answered 403"):
        fetch(client(), store)


def test_query_of_a_location_is_in_no_error(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, store: BlobStore
) -> None:
    server.blob_host = other_server.url
    with pytest.raises(RegistryError, match="404") as caught:
        fetch(client(), store)
    assert "signature" not in str(caught.value)
    assert other_server.host in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_registry_is_asked_again(server: LoopbackRegistry, client: Client, store: BlobStore, status: int) -> None:
    server.faults.append(Fault("GET *", status=status, times=2))
    fetch(client(), store)
    assert len(server.calls) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_refusal_is_not_repeated(server: LoopbackRegistry, client: Client, store: BlobStore, status: int) -> None:
    server.faults.append(Fault("GET *", status=status, code="DENIED", message="no\nsuch\x1b[31m thing", times=None))
    with pytest.raises(RegistryRefused, match=rf"answered {status} \(DENIED: no such \[31m thing\)"):
        fetch(client(), store)
    assert len(server.calls) == 1


def test_nobody_listening_is_unreachable(client: Client, store: BlobStore) -> None:
    with pytest.raises(RegistryUnreachable, match=r"was not reached: GET .* failed: Connection refused"):
        fetch(client("127.0.0.1:1"), store)


def test_name_that_does_not_resolve_is_unreachable(client: Client) -> None:
    with pytest.raises(RegistryUnreachable, match=r"the registry registry\.invalid was not reached"):
        client("registry.invalid").find_manifest("app", "1")


def test_something_else_than_http_is_unreachable(client: Client) -> None:
    import socket
    import threading

    def greet() -> None:
        for _ in range(4):
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(RegistryUnreachable):
            client(f"127.0.0.1:{listener.getsockname()[1]}").find_manifest("app", "1")
        thread.join()


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000])
def test_length_that_is_no_number_is_as_good_as_none(
    server: LoopbackRegistry, client: Client, store: BlobStore, length: str
) -> None:
    server._blob = lambda *_request: Answered(200, {"Content-Length": length}, CONTENT)  # type: ignore[method-assign]
    server.lengths = lambda _length: None
    fetch(client(), store)
    assert store.read(BLOB.digest) == CONTENT
