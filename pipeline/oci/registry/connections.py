"""Connections to registries: proxies and certificates as ``requests`` and botocore find them, and deadlines.

A socket's timeout bounds one read, so a peer that sends a byte now and then is never given up. A ``Deadline`` bounds a
whole exchange: when it has passed, the connection is shut down and the blocked call fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

if TYPE_CHECKING:  # 0.1 s to import, which a build without a registry does not need
    from urllib3 import PoolManager

BLOCK = 128 * 1024  # bytes read, sent or handed on at a time
CONNECT_SECONDS = 10.0
# Silence after which an exchange reports what it waits for.
QUIET_SECONDS = 5.0
_TICK = 0.1
_POOL = 16
# In botocore's order, then that of requests.
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Unusable(Exception):
    """A proxy or a certificate bundle that cannot be used."""


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine, where registries speak plain HTTP by Docker's convention."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", name) is not None


def proxy_for(url: str) -> str | None:
    """The proxy that ``requests`` would use for ``url``; never one for this machine.

    HTTPS_PROXY, HTTP_PROXY and ALL_PROXY count in either case, and so does NO_PROXY with its domains, ports and
    networks.
    """
    if is_loopback(urlsplit(url).netloc.rpartition("@")[2]) or not getproxies():
        return None
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def trusted() -> dict[str, str]:
    """The certificates to trust, as arguments of a pool; {} for the system's. Raises Unusable for a missing bundle."""
    for name in _BUNDLES:
        if path := os.environ.get(name):
            if not Path(path).exists():
                raise Unusable(f"{name} names {path}, which does not exist")
            return {"ca_cert_dir" if Path(path).is_dir() else "ca_certs": path}
    return {}


class Connections:
    """A pool for each proxy in use, and one without; safe for concurrent use."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str | None, bool], PoolManager] = {}
        self._lock = threading.Lock()

    def pool(self, url: str) -> PoolManager:
        """The pool for ``url``. Raises Unusable."""
        proxy = proxy_for(url)
        # Without TLS no bundle is read, so that one of the shell's cannot break what runs on this machine.
        secure = any(each.startswith("https:") for each in (url.lower(), (proxy or "").lower()))
        with self._lock:
            if (proxy, secure) not in self._pools:
                self._pools[proxy, secure] = _make_pool(proxy, trusted() if secure else {})
            return self._pools[proxy, secure]

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.clear()


def _make_pool(proxy: str | None, certificates: dict[str, str]) -> PoolManager:
    import urllib3

    settings: dict[str, Any] = {"maxsize": _POOL, "blocksize": BLOCK, **certificates}
    if proxy is None:
        pool = urllib3.PoolManager(**settings)
    else:
        from requests.utils import get_auth_from_url

        user, password = get_auth_from_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user or password else None
        try:
            pool = urllib3.proxy_from_url(proxy, proxy_headers=headers, **settings)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            # Without the URL: it may hold a password.
            raise Unusable(f"the proxy {urlsplit(proxy).hostname} cannot be used: {type(error).__name__}") from None
    pool.pool_classes_by_scheme = _watched_pools()
    return pool


def _watched_pools() -> dict[str, Any]:
    """urllib3's pools, whose connections register their socket with the deadline of the exchange."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Watched:
        sock: Any

        def _new_conn(self) -> socket.socket:
            made: socket.socket = super()._new_conn()  # type: ignore[misc]
            _watch(made)
            return made

        def putrequest(self, *arguments: Any, **settings: Any) -> None:
            _watch(self.sock)  # of a connection that is used again
            super().putrequest(*arguments, **settings)  # type: ignore[misc]

    class Plain(Watched, HTTPConnection):
        pass

    class Secure(Watched, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


_exchange: ContextVar[Deadline | None] = ContextVar("exchange", default=None)


def _watch(sock: socket.socket | None) -> None:
    deadline = _exchange.get()
    if deadline is not None and sock is not None:
        deadline.watch(sock)


class Deadline:
    """The time by which one exchange must be complete; ``quiet`` is called once when it is silent for a while."""

    def __init__(self, seconds: float, quiet: Callable[[], None]) -> None:
        self.seconds = seconds
        self.expired = False
        self._quiet: Callable[[], None] | None = quiet
        self._ends = time.monotonic() + seconds
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        _watchdog.add(self)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Connections that are used inside are this exchange's."""
        token = _exchange.set(self)
        try:
            yield
        finally:
            _exchange.reset(token)

    def watch(self, sock: socket.socket) -> None:
        # A second handle of the same connection: TLS replaces the first one, and shutting down works on either.
        with contextlib.suppress(OSError):
            own = socket.socket(fileno=os.dup(sock.fileno()))
            with self._lock:
                if self._sock is not None:
                    self._sock.close()
                self._sock = own

    @property
    def why(self) -> str:
        return f"no complete answer came within {self.seconds:.0f} s"

    def hear(self) -> None:
        """Something was received or sent."""
        self._heard = time.monotonic()

    def close(self) -> None:
        """The exchange has ended."""
        _watchdog.remove(self)
        with self._lock:
            if self._sock is not None:
                self._sock.close()
                self._sock = None

    def look(self, now: float) -> None:
        """Shut the connection down if the time is over."""
        if now - self._heard >= QUIET_SECONDS and self._quiet is not None:
            quiet, self._quiet = self._quiet, None
            with contextlib.suppress(BaseException):  # a report raises to end its own thread, not this one
                quiet()
        if now < self._ends:
            return
        self.expired = True
        with self._lock, contextlib.suppress(OSError):
            if self._sock is not None:
                self._sock.shutdown(socket.SHUT_RDWR)


class _Watchdog:
    """One thread that looks at all deadlines, and ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: set[Deadline] = set()
        self._running = False

    def add(self, deadline: Deadline) -> None:
        with self._lock:
            self._deadlines.add(deadline)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="registry deadlines", daemon=True).start()

    def remove(self, deadline: Deadline) -> None:
        with self._lock:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        while True:
            time.sleep(_TICK)
            with self._lock:
                deadlines = list(self._deadlines)
                if not deadlines:
                    self._running = False
                    return
            now = time.monotonic()
            for deadline in deadlines:
                deadline.look(now)


_watchdog = _Watchdog()
