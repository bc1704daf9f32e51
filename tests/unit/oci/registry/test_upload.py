"""Blobs on their way into a registry."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import RegistryError
from pipeline.oci.registry.client import Registry, RegistryRefused, RegistryUnreachable, Retries
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest
from tests.servers.images import noise, sha256
from tests.servers.registry import Answered, Fault, LoopbackRegistry

Client = Callable[..., Registry]
LARGE = noise(4500)  # five chunks of 1000, the last one shorter
SMALL = noise(900, "small")


def descriptor(content: bytes) -> Descriptor:
    return Descriptor(OCI_LAYER_GZIP, Digest.of(content), len(content))


def upload(registry: Registry, content: bytes, repository: str = "app", **more: object) -> int:
    return registry.upload_blob(repository, descriptor(content), lambda: io.BytesIO(content), **more)  # type: ignore[arg-type]


def methods(server: LoopbackRegistry) -> list[str]:
    return [call.split(" ")[0] for call in server.calls]


def test_small_blob_is_sent_whole(server: LoopbackRegistry, client: Client) -> None:
    assert upload(client(), SMALL) == 900
    assert methods(server) == ["HEAD", "POST", "PUT"]
    assert server.repositories["app"].blobs == {sha256(SMALL): SMALL}


def test_large_blob_is_sent_in_chunks(server: LoopbackRegistry, client: Client) -> None:
    assert upload(client(), LARGE) == 4500
    assert methods(server) == ["HEAD", "POST", *["PATCH"] * 5, "PUT"]
    ranges = [headers["content-range"] for call, headers in server.requests if call.startswith("PATCH")]
    assert ranges == ["0-999", "1000-1999", "2000-2999", "3000-3999", "4000-4499"]
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_empty_blob(server: LoopbackRegistry, client: Client) -> None:
    upload(client(), b"")
    assert server.repositories["app"].blobs == {sha256(b""): b""}


def test_blob_that_is_there_is_not_sent(server: LoopbackRegistry, client: Client) -> None:
    server.repository("app").blobs[sha256(LARGE)] = LARGE
    assert upload(client(), LARGE) == 0
    assert methods(server) == ["HEAD"]


def test_mounted_blob_is_not_sent(server: LoopbackRegistry, client: Client) -> None:
    server.repository("other").hold(LARGE)
    assert upload(client(), LARGE, mount_from=["other"]) == 0
    assert methods(server) == ["HEAD", "POST"]
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_a_blob_that_no_manifest_refers_to_is_not_mounted(server: LoopbackRegistry, client: Client) -> None:
    server.repository("other").blobs[sha256(LARGE)] = LARGE
    assert upload(client(), LARGE, mount_from=["other"]) == 4500


def test_refused_mount_goes_on_in_the_session_it_opened(server: LoopbackRegistry, client: Client) -> None:
    server.mounts = False
    server.repository("other").blobs[sha256(LARGE)] = LARGE
    assert upload(client(), LARGE, mount_from=["other"]) == 4500
    assert methods(server).count("POST") == 1
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_mount_that_is_an_error_is_not_the_end(server: LoopbackRegistry, client: Client, status: int) -> None:
    server.faults.append(Fault("POST *", status=status))
    assert upload(client(), SMALL, mount_from=["other"]) == 900


def test_minimum_of_a_chunk_is_kept(server: LoopbackRegistry, client: Client) -> None:
    server.chunk_minimum = 2000
    upload(client(), LARGE)
    assert [headers["content-length"] for call, headers in server.requests if call.startswith("PATCH")] == [
        "2000",
        "2000",
        "500",
    ]


def test_blob_below_the_minimum_is_sent_whole(server: LoopbackRegistry, client: Client) -> None:
    server.chunk_minimum = 10_000
    upload(client(), LARGE)
    assert methods(server) == ["HEAD", "POST", "PUT"]


@pytest.mark.parametrize("after", [0, 1, 2, 500, 999, 1000])
def test_chunk_that_breaks_off_is_continued_where_it_broke(
    server: LoopbackRegistry, client: Client, after: int
) -> None:
    server.faults.append(Fault("PATCH *", "cut_request", after=after, skip=2))
    assert upload(client(), LARGE) == 4500
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}
    assert methods(server).count("POST") == 1
    assert server.received == 4500


def test_first_chunk_that_breaks_off_at_once_begins_again(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", "cut_request", after=1))
    upload(client(), LARGE)
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_chunk_whose_answer_is_lost_is_not_sent_again(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", "lose_answer", skip=1))
    upload(client(), LARGE)
    assert server.received == 4500
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_completion_whose_answer_is_lost_is_found_done(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PUT *", "lose_answer"))
    assert upload(client(), LARGE) == 4500
    assert methods(server)[-2:] == ["PUT", "HEAD"]


def test_registry_that_takes_a_part_of_a_chunk_gets_the_rest(server: LoopbackRegistry, client: Client) -> None:
    original, state = server._upload, {"first": True}

    def short(method: str, *rest: object) -> object:
        if method == "PATCH" and state["first"]:
            state["first"] = False
            rest = (*rest[:-1], rest[-1][:300])  # type: ignore[index]
        return original(method, *rest)  # type: ignore[arg-type]

    server._upload = short  # type: ignore[method-assign, assignment]
    upload(client(), LARGE)
    ranges = [headers["content-range"] for call, headers in server.requests if call.startswith("PATCH")]
    assert ranges[:3] == ["0-999", "300-1299", "1300-2299"]
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_ecr_whose_range_does_not_advance_gets_every_chunk_once(server: LoopbackRegistry, client: Client) -> None:
    server.ecr = True
    upload(client(), LARGE)
    assert server.received == 4500
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


@pytest.mark.parametrize("kind", ["cut_request", "lose_answer"])
def test_ecr_that_cannot_be_asked_how_far_it_is_gets_the_blob_anyway(
    server: LoopbackRegistry, client: Client, kind: str
) -> None:
    server.ecr = True
    server.faults.append(Fault("PATCH *", kind, after=400, skip=2))  # type: ignore[arg-type]
    upload(client(), LARGE)
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_ecr_gets_no_chunk_twice_when_a_request_is_lost(server: LoopbackRegistry, client: Client) -> None:
    server.ecr = True
    server.faults.append(Fault("PATCH *", "cut", skip=2))
    upload(client(), LARGE)
    assert methods(server).count("POST") == 1
    assert server.received == 4500


def test_upload_that_makes_progress_is_not_given_up(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", "lose_answer", times=None))
    upload(client(retries=Retries(attempts=2, base=0.001)), LARGE)
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_blob_that_is_kept_as_something_else_is_noticed(server: LoopbackRegistry, client: Client) -> None:
    original = server._upload

    def rename(method: str, *rest: object) -> object:
        answer = original(method, *rest)  # type: ignore[arg-type]
        if method == "PUT":
            answer.headers["Docker-Content-Digest"] = sha256(b"other")
        return answer

    server._upload = rename  # type: ignore[method-assign, assignment]
    with pytest.raises(RegistryError, match=f"the registry kept it as {sha256(b'other')}"):
        upload(client(), SMALL)


def test_registry_that_claims_more_than_it_was_sent_is_named(server: LoopbackRegistry, client: Client) -> None:
    server.acknowledged = lambda count: count + 10_000
    with pytest.raises(RegistryError, match="says that it has 11000 bytes, but only 1000 were sent"):
        upload(client(), LARGE)


def test_registry_without_chunks_gets_the_blob_whole(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", status=405, times=None))
    upload(client(), LARGE)
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_registry_that_mixes_chunks_up_gets_the_blob_whole(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PUT *", status=400, code="DIGEST_INVALID"))
    upload(client(), LARGE)
    assert methods(server).count("PUT") == 2
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_session_that_is_gone_begins_again(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", status=404, code="BLOB_UPLOAD_UNKNOWN", skip=3))
    upload(client(), LARGE)
    assert methods(server).count("POST") == 2
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_progress_adds_up_to_the_size_whatever_happens(server: LoopbackRegistry, client: Client) -> None:
    server.faults += [
        Fault("PATCH *", "cut_request", after=333, skip=1),
        Fault("PATCH *", status=404, skip=3),
        Fault("PATCH *", status=503, skip=5),
    ]
    counts: list[int] = []
    upload(client(), LARGE, moved=counts.append)
    assert sum(counts) == 4500


def test_dead_registry_is_given_up(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", "cut", skip=1, times=None))
    with pytest.raises(RegistryUnreachable, match=r"PATCH /v2/app/blobs/uploads/\w+ at 127.0.0.1:\d+ failed"):
        upload(client(), LARGE)


def test_wait_that_is_asked_for_is_kept(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", status=429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    upload(client(), LARGE)
    assert time.monotonic() - started >= 1
    assert server.received == 5500  # the refused chunk came twice, the others once


def test_wait_that_is_too_long_ends_it(server: LoopbackRegistry, client: Client) -> None:
    server.faults.append(Fault("PATCH *", status=429, code="TOOMANYREQUESTS", headers={"Retry-After": "86400"}))
    with pytest.raises(RegistryRefused, match=r"answered 429 \(TOOMANYREQUESTS: made for the test\)") as caught:
        upload(client(), LARGE)
    assert caught.value.status == 429


def test_damaged_copy_of_ours_is_told_from_a_bad_registry(
    server: LoopbackRegistry, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(LARGE[:-1] + b"!")
    with pytest.raises(RegistryError, match="the copy on this machine is damaged") as caught:
        client().upload_blob("app", descriptor(LARGE), lambda: path.open("rb"))
    assert str(path) in str(caught.value.next_step)
    assert server.repositories["app"].blobs == {}


def test_shortened_copy_of_ours_does_not_hang_the_registry(
    server: LoopbackRegistry, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "layer"
    path.write_bytes(LARGE[:1700])
    with pytest.raises(RegistryError, match="its 1700 bytes have the digest"):
        client().upload_blob("app", descriptor(LARGE), lambda: path.open("rb"))


def test_missing_repository_is_named_with_its_cure(server: LoopbackRegistry, client: Client) -> None:
    server.create = False
    with pytest.raises(RegistryRefused, match="NAME_UNKNOWN: the repository app does not exist") as caught:
        upload(client(), SMALL)
    assert "infra" in str(caught.value.next_step)


def test_location_that_is_no_url_is_told(server: LoopbackRegistry, client: Client) -> None:
    server._upload = lambda *_request: Answered(202, {"Location": "http://[::1"})  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="opened an upload at an address that is not a URL"):
        upload(client(), b"content")


def test_location_on_another_host_gets_no_login(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client
) -> None:
    from pipeline.oci.registry.client import Credentials

    server.auth = "basic"
    session = "elsewhere"
    other_server.repository("app").uploads[session] = bytearray()
    original = server._upload

    def elsewhere(method: str, *rest: object) -> object:
        answer = original(method, *rest)  # type: ignore[arg-type]
        answer.headers["Location"] = f"{other_server.url}/v2/app/blobs/uploads/{session}"
        return answer

    server._upload = elsewhere  # type: ignore[method-assign, assignment]
    upload(client(credentials=Credentials("user", "secret")), SMALL)
    assert other_server.repositories["app"].blobs == {sha256(SMALL): SMALL}
    assert all("authorization" not in headers for _, headers in other_server.requests)
    assert "authorization" in server.requests[-1][1]


def test_chunks_of_a_large_blob_are_not_held_in_memory(server: LoopbackRegistry, client: Client) -> None:
    read: list[int] = []

    class Spy(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.append(size or 0)
            return super().read(size)

    content = noise(1_000_000)
    client(chunk_size=600_000).upload_blob("app", descriptor(content), lambda: Spy(content))
    assert max(read) <= 128 * 1024
    assert min(read) > 0


def test_backoff_has_full_jitter_and_an_end() -> None:
    retries = Retries(attempts=5, base=1, cap=3)
    waits = [[retries.delay(attempt) for _ in range(200)] for attempt in (1, 2, 3, 4)]
    assert [round(max(wait or 0 for wait in some)) for some in waits] == [1, 2, 3, 3]
    assert all(min(wait or 0 for wait in some) < 0.2 for some in waits)
    assert retries.delay(5) is None
