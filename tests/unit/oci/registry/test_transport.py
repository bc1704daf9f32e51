"""TLS, proxies, waits and other matters of plain HTTP."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import NextStep
from pipeline.core.events import Event, Note
from pipeline.oci.registry.client import Credentials, Registry, RegistryUnreachable, Retries
from pipeline.oci.registry.connections import is_loopback
from pipeline.oci.registry.refusals import cure, is_ecr
from pipeline.oci.registry.retries import retry_after
from pipeline.oci.values import Digest
from tests.servers.registry import Fault, LoopbackRegistry

Client = Callable[..., Registry]
EMPTY = Digest.of(b"")


def test_trusted_certificate(
    secure: LoopbackRegistry, client: Client, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert client(endpoint_url=secure.url).head_blob("app", EMPTY) is None
    assert len(secure.calls) == 1


def test_untrusted_certificate_is_told_at_once(secure: LoopbackRegistry, client: Client) -> None:
    patient = Retries(attempts=10, base=60)
    with pytest.raises(RegistryUnreachable, match=r"its certificate is not trusted \(.*self-signed certificate"):
        client(endpoint_url=secure.url, retries=patient).head_blob("app", EMPTY)


def test_redirect_out_of_tls_is_not_followed(
    secure: LoopbackRegistry,
    server: LoopbackRegistry,
    client: Client,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.faults.append(Fault("HEAD *", status=307, headers={"Location": f"{server.url}/v2/app/blobs/x"}))
    with pytest.raises(RegistryUnreachable, match="redirects from HTTPS to plain HTTP"):
        client(endpoint_url=secure.url).head_blob("app", EMPTY)
    assert server.calls == []


def test_login_is_not_lured_out_of_tls(
    secure: LoopbackRegistry,
    server: LoopbackRegistry,
    client: Client,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    challenge = {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'}
    secure.faults.append(Fault("HEAD *", status=401, headers=challenge))
    from pipeline.core.errors import RegistryError

    with pytest.raises(RegistryError, match="would receive the login unencrypted"):
        client(endpoint_url=secure.url, credentials=Credentials("user", "secret")).head_blob("app", EMPTY)
    assert server.calls == []


def test_upload_is_not_lured_out_of_tls(
    secure: LoopbackRegistry,
    server: LoopbackRegistry,
    client: Client,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    from pipeline.core.errors import RegistryError
    from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor
    from tests.servers.registry import Answered

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure._upload = lambda *_request: Answered(202, {"Location": f"{server.url}/v2/app/blobs/uploads/1"})  # type: ignore[method-assign]
    descriptor = Descriptor(OCI_LAYER_GZIP, Digest.of(b"x"), 1)
    with pytest.raises(RegistryError, match="asks for the content unencrypted"):
        client(endpoint_url=secure.url).upload_blob("app", descriptor, lambda: io.BytesIO(b"x"))
    assert server.calls == []


def test_proxy_of_the_environment_is_used(
    server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    registry = client("registry.invalid", endpoint_url="http://registry.invalid")
    assert registry.head_blob("app", EMPTY) is None
    assert server.requests[0][0].startswith("HEAD http://registry.invalid/v2/app/blobs/")
    monkeypatch.setenv("no_proxy", "registry.invalid")
    with pytest.raises(RegistryUnreachable):
        client("registry.invalid", endpoint_url="http://registry.invalid").head_blob("app", EMPTY)


def test_proxy_is_not_used_for_this_machine(
    server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert client().head_blob("app", EMPTY) is None


def test_long_wait_is_told(server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def wait(seconds: float) -> bool:
        slept.append(seconds)
        return False

    events: list[Event] = []
    server.faults.append(Fault("HEAD *", status=503, headers={"Retry-After": "30"}))
    registry = client(report=events.append)
    monkeypatch.setattr(registry._transport._interrupted, "wait", wait)
    registry.head_blob("app", EMPTY)
    assert [round(seconds) for seconds in slept] == [30]
    assert len(events) == 1
    assert isinstance(events[0], Note)
    assert "was answered 503; next try in 30 s" in events[0].text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), (" 0 ", 0), ("", None), ("soon", None), ("-3", None), ("1.5", None), ("\xb2", None), ("9" * 5000, None)],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 58 < (retry_after({"Retry-After": in_a_minute}) or 0) <= 60
    assert retry_after({"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("localhost:5000", True), ("127.0.0.1:80", True),
        ("127.9.8.7", True), ("[::1]:5000", True),
        ("127.0.0.1.example", False), ("localhost.example:5000", False), ("10.0.0.1", False), ("registry", False),
    ],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "ecr"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", True),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True),
        ("123456789012.dkr-ecr.us-east-1.on.aws", True),
        ("public.ecr.aws", False),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example", False),
        ("ghcr.io", False),
    ],
)
def test_hosts_of_ecr(host: str, ecr: bool) -> None:
    assert is_ecr(host) is ecr


@pytest.mark.parametrize("host", ["123456789012.dkr.ecr.eu-central-1.amazonaws.com", "ghcr.io"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_every_refusal_has_a_next_step(host: str, status: int) -> None:
    step = NextStep.of(cure(host, status, ""))
    assert step.text.endswith(".") or step.commands


def test_hung_registry_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryUnreachable, match=r"[Tt]imed out"):
            client(host).head_blob("app", EMPTY)
