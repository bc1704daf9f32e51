"""Challenges, tokens that end in the middle, and secrets that must not leak."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pipeline.core.errors import RegistryError
from pipeline.oci.registry.auth import parse_challenges
from pipeline.oci.registry.client import Credentials, Registry, RegistryRefused
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest
from tests.servers.images import noise, sha256
from tests.servers.registry import Fault, LoopbackRegistry

Client = Callable[..., Registry]
LOGIN = Credentials("user", "secret")
LARGE = noise(4500)


def upload(registry: Registry, content: bytes = LARGE, **more: object) -> int:
    descriptor = Descriptor(OCI_LAYER_GZIP, Digest.of(content), len(content))
    return registry.upload_blob("app", descriptor, lambda: io.BytesIO(content), **more)  # type: ignore[arg-type]


class Renewable:
    """A login that a registry may refuse, and then another one."""

    def __init__(self, *passwords: str) -> None:
        self.passwords = list(passwords)
        self.renewals = 0

    def current(self) -> Credentials:
        return Credentials("user", self.passwords[0])

    def renewed(self) -> Credentials | None:
        self.renewals += 1
        if len(self.passwords) > 1:
            self.passwords.pop(0)
        return self.current()


@pytest.mark.parametrize(
    ("header", "schemes", "parameters"),
    [
        ('Basic realm="a b"', ["basic"], {"realm": "a b"}),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            ["bearer"],
            {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"},
        ),
        (
            'Bearer realm="https://a/t" , error=invalid_token',
            ["bearer"],
            {"realm": "https://a/t", "error": "invalid_token"},
        ),
        ('Negotiate, Bearer realm="x", Basic realm="y"', ["negotiate", "bearer", "basic"], {}),
        (r'Bearer realm="a\"b"', ["bearer"], {"realm": 'a"b'}),
        ("", [], {}),
        ("=,=", [], {}),
    ],
)
def test_challenges(header: str, schemes: list[str], parameters: dict[str, str]) -> None:
    found = parse_challenges(header)
    assert [challenge.scheme for challenge in found] == schemes
    assert not found or found[0].parameters == parameters


def test_nothing_is_sent_to_a_registry_that_does_not_ask(server: LoopbackRegistry, client: Client) -> None:
    upload(client(credentials=LOGIN))
    assert all("authorization" not in headers for _, headers in server.requests)


def test_basic_login_is_sent_after_the_challenge(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "basic"
    upload(client(credentials=LOGIN))
    sent = ["authorization" in headers for _, headers in server.requests]
    assert sent == [False, *[True] * (len(sent) - 1)]


def test_bearer_token_is_fetched_once_for_a_scope(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    upload(client(credentials=LOGIN))
    assert server.token_requests == [{"service": ["loopback"], "scope": ["repository:app:pull,push"]}]
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_anonymous_token(server: LoopbackRegistry, client: Client) -> None:
    server.auth, server.anonymous = "bearer", True
    server.repository("app").blobs[sha256(LARGE)] = LARGE
    assert client().head_blob("app", Digest.of(LARGE)) == 4500
    assert server.token_requests == [{"service": ["loopback"], "scope": ["repository:app:pull"]}]


def test_mount_asks_for_both_repositories(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    server.repository("other").hold(LARGE)
    assert upload(client(credentials=LOGIN), mount_from=["other"]) == 0
    assert server.token_requests[-1]["scope"] == ["repository:app:pull,push", "repository:other:pull"]


def test_identity_token_is_exchanged(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    upload(client(credentials=Credentials(identity_token="identity")))
    assert server.token_requests[0]["grant_type"] == ["refresh_token"]


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_token_that_ends_in_the_middle_is_renewed(server: LoopbackRegistry, client: Client, uses: int) -> None:
    server.auth, server.token_uses = "bearer", uses
    counts: list[int] = []
    assert upload(client(credentials=LOGIN), moved=counts.append) == 4500
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}
    assert sum(counts) == 4500


@pytest.mark.parametrize(("announced", "life"), [(100, 100), (None, 60)])
def test_token_is_renewed_before_its_end(
    server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, announced: int | None, life: int
) -> None:
    server.auth, server.token_seconds = "bearer", announced
    now = [1000.0]
    monkeypatch.setattr("pipeline.oci.registry.auth.time", SimpleNamespace(monotonic=lambda: now[0]))
    registry = client(credentials=LOGIN)
    fetched = []
    for moment in (0, life * 0.89, life * 0.91):
        now[0] = 1000 + moment
        registry.head_blob("app", Digest.of(LARGE))
        fetched.append(len(server.token_requests))
    assert fetched == [1, 1, 2]
    assert not any(call.startswith("HEAD") and "authorization" not in headers for call, headers in server.requests[1:])


@pytest.mark.parametrize("status", [401, 403, 400])
def test_login_that_ends_in_the_middle_is_renewed_however_that_is_told(
    server: LoopbackRegistry, client: Client, status: int
) -> None:
    server.auth, server.expired = "basic", status
    source = Renewable("secret", "next")

    def expire(received: int) -> None:
        if received > 2000:
            server.logins = [Credentials("user", "next").basic.removeprefix("Basic ")]

    server.on_received = expire
    assert upload(client(credentials=source)) == 4500
    assert source.renewals == 1
    assert server.repositories["app"].blobs == {sha256(LARGE): LARGE}


def test_wrong_login_is_told_once_with_the_cure(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "basic"
    source = Renewable("wrong", "also-wrong")
    with pytest.raises(RegistryRefused, match=r"answered 401") as caught:
        upload(client(credentials=source))
    assert "docker login" in str(caught.value.next_step)
    assert len(server.calls) == 3
    assert source.renewals == 1


def test_login_that_cannot_be_renewed_is_tried_once(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "basic"
    with pytest.raises(RegistryRefused, match="answered 401"):
        upload(client(credentials=Credentials("user", "wrong")))
    assert len(server.calls) == 2


def test_no_login(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "basic"
    with pytest.raises(RegistryRefused, match=r"answered 401"):
        upload(client())
    assert len(server.calls) == 1


def test_refused_token_is_told(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    with pytest.raises(RegistryError, match=r"the token service 127\.0\.0\.1 answered 401"):
        upload(client(credentials=Credentials("user", "wrong")))


def test_busy_token_service_is_asked_again(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    server.faults += [Fault("GET /token", status=503), Fault("GET /token", "cut", skip=1)]
    upload(client(credentials=LOGIN))
    assert len(server.token_requests) == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"token":7}', b'{"token":"a\\nb"}', b'{"token":"a","expires_in":"x"}', b"[" * 50_000],
)
def test_token_service_without_a_token_is_told(server: LoopbackRegistry, client: Client, answer: bytes) -> None:
    from tests.servers.registry import Answered

    server.auth = "bearer"
    server._token = lambda *_request: Answered(200, {}, answer)  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="without a token"):
        upload(client(credentials=LOGIN))


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "not a url", "http://[::1", "https://x:port/"])
def test_token_service_that_is_no_url_is_told(server: LoopbackRegistry, client: Client, realm: str) -> None:
    server.faults.append(
        Fault("HEAD *", status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}, times=None)
    )
    with pytest.raises(RegistryError, match=r"names the token service .*, which is not an HTTP"):
        upload(client(credentials=LOGIN))


def test_secrets_are_in_no_error_and_no_repr(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    registry = client(credentials=LOGIN)
    registry.head_blob("app", Digest.of(b""))
    token = next(iter(server.tokens))
    server.faults.append(
        Fault("POST *", status=400, message=f"you sent Bearer {token} for secret and {LOGIN.basic}", times=None)
    )
    with pytest.raises(RegistryRefused) as caught:
        upload(registry)
    for secret in (token, "secret", LOGIN.basic.removeprefix("Basic ")):
        assert secret not in str(caught.value)
    assert "you sent Bearer [hidden]" in str(caught.value)
    assert "secret" not in repr(LOGIN) + repr(registry)


def test_threads_share_one_token(server: LoopbackRegistry, client: Client) -> None:
    server.auth = "bearer"
    registry = client(credentials=LOGIN)
    threads = [threading.Thread(target=registry.head_blob, args=("app", Digest.of(b""))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.token_requests) == 1
