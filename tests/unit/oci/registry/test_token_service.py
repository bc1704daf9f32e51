"""Where a login may go: the token service that a registry names may be another host's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import RegistryError
from pipeline.core.events import Event, Note
from pipeline.oci.registry.auth import ALLOWED, Authenticator
from pipeline.oci.registry.client import Credentials, Registry
from pipeline.oci.values import Digest
from tests.servers.registry import Answered, Fault, LoopbackRegistry

Client = Callable[..., Registry]
LOGIN = Credentials("user", "secret")
EMPTY = Digest.of(b"")


class Asked:
    """An authenticator for ``place`` whose HTTP is recorded and gives a token."""

    def __init__(self, place: str, login: Credentials | None = LOGIN) -> None:
        self.sent: list[tuple[str, str, dict[str, str]]] = []
        self.events: list[Event] = []
        base = f"{'http' if place.startswith('127.') else 'https'}://{place}"
        self._authenticator = Authenticator(place, login, self._exchange, self.events.append, base=base)

    def _exchange(self, method: str, url: str, headers: dict[str, str], _body: bytes | None) -> tuple[int, bytes]:
        self.sent.append((method, url, headers))
        return 200, b'{"token": "t"}'

    def answer(self, realm: str, *scopes: str) -> str | None:
        return self._authenticator.answer(f'Bearer realm="{realm}"', frozenset(scopes), None)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]


@pytest.mark.parametrize(
    ("place", "realm", "why"),
    [
        ("registry.example", "http://registry.example/token", "would receive the login unencrypted"),
        ("registry.example", "http://auth.example/token", "would receive the login unencrypted"),
        ("127.0.0.1:5000", "http://auth.example/token", "would receive the login unencrypted"),
        ("registry.example", "http://127.0.0.1:8080/token", "names a token service on this machine"),
        ("registry.example", "https://127.0.0.1/token", "names a token service on this machine"),
        ("registry.example", "https://localhost:8443/token", "names a token service on this machine"),
        ("registry.example", "https://[::1]/token", "names a token service on this machine"),
        ("registry.example", "https://me:pw@auth.example/token", "is not an HTTP"),
        ("registry.example", "https://registry.example@auth.example/token", "is not an HTTP"),
        ("registry.example", "ftp://auth.example/token", "is not an HTTP"),
        ("registry.example", "//auth.example/token", "is not an HTTP"),
        ("registry.example", "/token", "is not an HTTP"),
        ("registry.example", "https:///token", "is not an HTTP"),
        ("registry.example", "https://auth.example:0/token", "is not an HTTP"),
        ("registry.example", "https://auth.example:99999/token", "is not an HTTP"),
    ],
)
@pytest.mark.parametrize("login", [LOGIN, None])
def test_a_realm_that_is_never_contacted(place: str, realm: str, why: str, login: Credentials | None) -> None:
    asked = Asked(place, login)
    with pytest.raises(RegistryError, match=why):
        asked.answer(realm)
    assert asked.sent == []


@pytest.mark.parametrize(
    ("place", "realm"),
    [
        ("registry.example", "https://registry.example/token"),
        ("registry.example", "https://registry.example:443/token"),
        ("registry.example:443", "https://registry.example/token"),
        ("Registry.example", "https://registry.EXAMPLE/token"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/token"),
    ],
)
def test_the_registry_s_own_token_service_needs_no_notice(place: str, realm: str) -> None:
    asked = Asked(place)
    assert asked.answer(realm) == "Bearer t"
    assert asked.sent[0][2]["Authorization"] == LOGIN.basic
    assert asked.notes == []


@pytest.mark.parametrize(
    ("place", "realm", "service"),
    [
        ("docker.io", "https://auth.docker.io/token", "auth.docker.io"),
        ("registry.example", "https://registry.example:5001/token", "registry.example:5001"),
        ("registry.example:5050", "https://registry.example/jwt/auth", "registry.example"),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token", "127.0.0.1:5001"),
    ],
)
def test_another_host_is_reported_once(place: str, realm: str, service: str) -> None:
    asked = Asked(place)
    assert asked.answer(realm, "one") == asked.answer(realm, "two") == "Bearer t"
    assert asked.notes == [f"the login for {place} goes to its token service {service}"]


def test_an_anonymous_token_is_no_matter_of_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "")
    asked = Asked("docker.io", None)
    assert asked.answer("https://auth.docker.io/token") == "Bearer t"
    assert "Authorization" not in asked.sent[0][2]
    assert asked.notes == []


@pytest.mark.parametrize(
    ("allowed", "realm", "may"),
    [
        ("auth.docker.io", "https://auth.docker.io/token", True),
        ("gitlab.example, AUTH.docker.io", "https://auth.docker.io:443/token", True),
        ("auth.docker.io:8443", "https://auth.docker.io:8443/token", True),
        ("", "https://docker.io/token", True),
        ("", "https://auth.docker.io/token", False),
        ("auth.docker.io", "https://auth.docker.io:8443/token", False),
        ("auth.docker.io", "https://auth.docker.io.evil.example/token", False),
        ("auth.docker.io", "https://evil-auth.docker.io/token", False),
        ("docker.io", "https://auth.docker.io/token", False),
        ("*", "https://auth.docker.io/token", False),
    ],
)
def test_the_setting_lists_the_hosts_that_get_a_login(
    allowed: str, realm: str, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED, allowed)
    asked = Asked("docker.io")
    if may:
        assert asked.answer(realm) == "Bearer t"
    else:
        with pytest.raises(RegistryError, match=f"is another host, and {ALLOWED} does not list it"):
            asked.answer(realm)
        assert asked.sent == []


@pytest.mark.parametrize("login", [LOGIN, Credentials(identity_token="identity")])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_login_is_never_redirected(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, login: Credentials, status: int
) -> None:
    server.auth = "bearer"
    location = {"Location": f"{other_server.url}/token"}
    server._token = lambda *_request: Answered(status, location)  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match=f"answered {status}"):
        client(credentials=login).head_blob("app", EMPTY)
    assert other_server.requests == []


@pytest.mark.parametrize("challenge", ['Bearer realm="{}/token"', "Basic"])
def test_a_challenge_behind_a_redirect_gets_no_login(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, challenge: str
) -> None:
    """Blobs are redirected to storage of another host, which is not the registry."""
    target = {"Location": f"{other_server.url}/v2/app/blobs/{EMPTY}"}
    server.faults.append(Fault("HEAD *", status=307, headers=target, times=None))
    said = {"WWW-Authenticate": challenge.format(other_server.url)}
    other_server.faults.append(Fault("HEAD *", status=401, headers=said, times=None))
    with pytest.raises(RegistryError, match="was answered 401"):
        client(credentials=LOGIN).head_blob("app", EMPTY)
    assert [line for line, _ in other_server.requests] == [f"HEAD /v2/app/blobs/{EMPTY}"]
    assert all("authorization" not in headers for _, headers in other_server.requests)


def test_a_registry_elsewhere_does_not_redirect_to_this_machine(
    server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    server.faults.append(Fault("HEAD *", status=307, headers={"Location": f"{server.url}/private"}))
    with pytest.raises(RegistryError, match="it redirects to this machine"):
        client("registry.invalid", endpoint_url="http://registry.invalid").head_blob("app", EMPTY)
    assert len(server.requests) == 1
