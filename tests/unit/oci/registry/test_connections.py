"""Proxies, certificates and deadlines, as other tools on the machine have them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.core.errors import CredentialsError
from pipeline.core.events import Event, Note
from pipeline.local.host.control import LocalAws
from pipeline.oci.blobs import BlobStore
from pipeline.oci.registry import connections
from pipeline.oci.registry.client import Registry, RegistryUnreachable, Retries
from pipeline.oci.registry.connections import proxy_for
from pipeline.oci.values import OCI_LAYER_GZIP, Descriptor, Digest
from pipeline.target import local_target
from tests.servers.registry import LoopbackRegistry

Client = Callable[..., Registry]
EMPTY = Digest.of(b"")


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"HTTPS_PROXY": PROXY}, "https://ghcr.io/v2/", PROXY),
        ({"https_proxy": PROXY}, "https://ghcr.io/v2/", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://ghcr.io/v2/", None),
        ({"ALL_PROXY": PROXY}, "https://ghcr.io/v2/", PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://ghcr.io/v2/", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "ghcr.io"}, "https://ghcr.io/v2/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".amazonaws.com, ghcr.io"}, "https://api.ecr.amazonaws.com/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "ghcr.io:443"}, "https://ghcr.io:5000/v2/", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/v2/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://ghcr.io/v2/", None),
        # Never for this machine, whatever the variables say.
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, "http://127.0.0.1:4566/v2/", None),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, "http://localhost:5000/v2/", None),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, "http://[::1]:5000/v2/", None),
    ],
)
def test_the_proxy_of_a_url(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


def test_credentials_of_a_proxy_are_sent_to_it(
    server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("://", "://me:s%40cret@"))
    assert client("registry.invalid", endpoint_url="http://registry.invalid").head_blob("app", EMPTY) is None
    [(line, headers)] = server.requests
    assert line.startswith("HEAD http://registry.invalid/v2/app/blobs/")
    assert headers["proxy-authorization"] == "Basic bWU6c0BjcmV0"  # me:s@cret


def test_each_host_has_its_own_proxy(
    server: LoopbackRegistry, other_server: LoopbackRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect may lead to a host that NO_PROXY names, or from one."""
    from tests.servers.registry import Fault

    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "other.invalid")
    server.faults.append(Fault("HEAD *", status=307, headers={"Location": "http://other.invalid/v2/x"}))
    registry = client("registry.invalid", endpoint_url="http://registry.invalid", retries=Retries(attempts=1))
    with pytest.raises(RegistryUnreachable, match=r"(?i)name"):
        registry.head_blob("app", EMPTY)
    assert len(server.calls) == 1


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "gopher://me:secret@proxy.invalid"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    proxy: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(RegistryUnreachable, match=r"the proxy .* cannot be used") as caught:
        client("registry.invalid", endpoint_url="http://registry.invalid").head_blob("app", EMPTY)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_bundle_is_trusted(
    name: str, secure: LoopbackRegistry, client: Client, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(certificate))
    assert client(endpoint_url=secure.url).head_blob("app", EMPTY) is None


def test_a_missing_certificate_bundle_is_named(
    secure: LoopbackRegistry, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with pytest.raises(RegistryUnreachable, match=r"AWS_CA_BUNDLE names .*absent\.pem, which does not exist"):
        client(endpoint_url=secure.url).head_blob("app", EMPTY)


@contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server whose connections are handled by ``serve``; gives its ``host:port``."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
                over.wait(10)
            except OSError:
                pass

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def drip(text: bytes) -> Callable[[socket.socket], None]:
    """Sends ``text`` a byte at a time, for longer than any test has."""

    def serve(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return serve


MANIFEST = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000


@pytest.mark.parametrize(
    "serve",
    [
        lambda _connection: None,
        drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 2000),
        lambda connection: (connection.sendall(MANIFEST[:45]), drip(MANIFEST[45:])(connection)),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{"),
    ],
    ids=["silent", "headers that drip", "a manifest that drips", "a negative length"],
)
def test_an_answer_has_a_deadline(
    serve: Callable[[socket.socket], None], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.4)
    started = time.monotonic()
    retries = Retries(attempts=6, base=0.001, silence=0.3)
    with peer(serve) as host, pytest.raises(RegistryUnreachable, match=r"within 1 s|[Tt]imed out"):
        client(host, retries=retries).fetch_manifest("app", "latest")
    assert time.monotonic() - started < 8


def test_a_handshake_has_a_deadline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.4)
    record = b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + b"x" * 1000
    with peer(drip(record)) as host, pytest.raises(RegistryUnreachable, match="within 1 s"):
        client(host, endpoint_url=f"https://{host}", retries=Retries(attempts=1)).head_blob("app", EMPTY)


def test_a_blob_that_drips_has_a_deadline(client: Client, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.4)
    with peer(lambda connection: (connection.sendall(MANIFEST[:45]), drip(MANIFEST[45:])(connection))) as host:
        descriptor = Descriptor(OCI_LAYER_GZIP, EMPTY, 1000)
        with pytest.raises(RegistryUnreachable, match=r"broke off after .* of 1000 bytes"):
            client(host).fetch_blob("app", descriptor, store)
    assert list(store.unfinished()) == []


def test_what_is_waited_for_is_reported_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.6)
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.2)
    events: list[Event] = []
    with peer(lambda _connection: None) as host, pytest.raises(RegistryUnreachable):
        client(host, retries=Retries(attempts=1), report=events.append).fetch_manifest("app", "latest")
    assert [event.text for event in events if isinstance(event, Note)] == [
        f"waiting for GET /v2/app/manifests/latest at {host}"
    ]


def test_no_thread_stays_when_nothing_is_waited_for(server: LoopbackRegistry, client: Client) -> None:
    client().head_blob("app", EMPTY)
    ends = time.monotonic() + 5
    while any(thread.name == "registry deadlines" for thread in threading.enumerate()):
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_target_reports_what_its_registry_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.oci.registry.transport.READ_SECONDS", 0.6)
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr("pipeline.target.LOCAL_ATTEMPTS", 1)
    events: list[Event] = []
    with peer(lambda _connection: None) as host:
        local = LocalAws(f"http://{host}", f"http://{host}", "us-east-1", "key", "secret", 0, Path("local"))
        target = local_target(local, None, events.append)
        for each in (target, target.in_region("eu-west-1")):
            with pytest.raises((RegistryUnreachable, CredentialsError)):
                each.registry(host).head_blob("app", EMPTY)
    assert [event.text for event in events if isinstance(event, Note)] == [
        f"waiting for HEAD /v2/app/blobs/{EMPTY} at {host}"
    ] * 2
