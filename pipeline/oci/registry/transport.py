"""HTTP to one registry: authentication, redirects, retries and errors; knows nothing of blobs and manifests.

Every request is either repeated here when the connection is lost or the registry is busy, or, for an upload that must
find out first how far it came, reported as ``ConnectionLost`` for its caller to continue.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.core.events import Note, Report, ignore
from pipeline.oci.blobs import WrongContent
from pipeline.oci.registry.auth import Authenticator, CredentialSource
from pipeline.oci.registry.refusals import BUSY, RegistryRefused, RegistryUnreachable, cure, own_words, printable
from pipeline.oci.registry.retries import Retries, retry_after

if TYPE_CHECKING:  # 0.1 s to import, which a build without a registry does not need
    from urllib3 import BaseHTTPResponse, PoolManager

BLOCK = 128 * 1024  # bytes read, sent or handed on at a time
SMALL = 64 * 1024  # what an answer that is not content may have, in bytes
REDIRECTS = 5
CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
_EXPIRED = re.compile(rb"(?i)token has expired|reauthenticate")


class ConnectionLost(Exception):
    """The connection broke before a whole answer came; what the registry did is not known."""


class Interrupted(Exception):
    """A wait for the next attempt was ended by ``Transport.interrupt``."""


@dataclass(frozen=True, slots=True)
class Body:
    """``size`` bytes from ``offset`` of something that can be opened again, so a refused request can be repeated.

    moved  told the count of every block that was handed to the connection, negative when a repetition takes it back
    """

    open: Callable[[], BinaryIO]
    size: int
    offset: int = 0
    moved: Callable[[int], None] = lambda _count: None

    def blocks(self) -> Iterator[bytes]:
        """Raises WrongContent when the content ends early: a registry would wait for the rest."""
        with self.open() as stream:
            stream.seek(self.offset)
            left = self.size
            while left:
                block = stream.read(min(BLOCK, left))
                if not block:
                    raise WrongContent(f"the content ends {left} bytes early")
                left -= len(block)
                self.moved(len(block))
                yield block


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry answered; ``content`` is the whole body, or its readable beginning for an error."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    stream: BaseHTTPResponse | None = None

    def blocks(self) -> Iterator[bytes]:
        """The body of a streamed answer; raises ConnectionLost when it breaks off before its announced length."""
        from urllib3.exceptions import HTTPError

        if self.stream is None:
            yield self.content
            return
        try:
            yield from self.stream.stream(BLOCK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise ConnectionLost(_cause(error)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back; one with an unread rest is closed instead."""
        if self.stream is not None:
            self.stream.close()
            self.stream.release_conn()


def _may_have_expired(answer: Answer) -> bool:
    """Whether a refusal can be about the age of a token rather than about rights.

    ECR tells of it with 403, ECR Public with 400, and neither with a challenge (aws/containers-roadmap #2835). An
    answer to HEAD has no words.
    """
    return answer.status in (400, 403) and (answer.method == "HEAD" or _EXPIRED.search(answer.content) is not None)


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine, where registries speak plain HTTP by Docker's convention."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", name) is not None


class Transport:
    """Requests to the registry ``host``, served at ``endpoint_url`` when that differs; safe for concurrent use."""

    def __init__(
        self,
        host: str,
        *,
        endpoint_url: str | None = None,
        credentials: CredentialSource | None = None,
        retries: Retries | None = None,
        report: Report = ignore,
    ) -> None:
        self.host = host
        self.base = (endpoint_url or f"{'http' if is_loopback(host) else 'https'}://{host}").rstrip("/")
        self.retries = retries or Retries()
        self._report = report
        self._origin = _origin(self.base)
        self._auth = Authenticator(
            host,
            credentials,
            self._exchange,
            plain_http=self.base.startswith("http://") and is_loopback(self._origin[1]),
        )
        self._pool: PoolManager | None = None
        self._pool_lock = threading.Lock()
        self._interrupted = threading.Event()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.clear()

    def request(
        self,
        method: str,
        url: str,
        *,
        scopes: frozenset[str] = frozenset(),
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        limit: int = SMALL,
        stream: bool = False,
        repeat: bool = True,
    ) -> Answer:
        """Send one request; ``url`` may be a path of the registry. Any status is returned, also an error's.

        limit   the largest body that is read, in bytes; a longer one raises RegistryError
        stream  leave the body of a success to ``Answer.blocks``
        repeat  repeat on connection loss and on busy answers; without it ConnectionLost is raised at once
        Raises RegistryUnreachable when no answer came.
        """
        target = urljoin(f"{self.base}/", url)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._authorised(method, target, scopes, dict(headers or {}), body, limit, stream)
            except ConnectionLost as lost:
                if not repeat:
                    raise
                delay = self.retries.delay(attempt)
                if delay is None:
                    raise self.unreachable(method, target, str(lost)) from lost
                self.pause(delay, f"the connection for {self._name(method, target)} was lost")
                continue
            if answer.status not in BUSY or not repeat:
                return answer
            delay = self.retries.delay(attempt, retry_after(answer.headers))
            if delay is None:
                return answer
            answer.close()
            self.pause(delay, f"{self._name(method, target)} was answered {answer.status}")

    def pause(self, seconds: float, why: str) -> None:
        if seconds >= 2:
            self._report(Note(f"{why}; next try in {seconds:.0f} s"))
        if self._interrupted.wait(seconds):
            raise Interrupted

    def interrupt(self) -> None:
        """End every wait that is under way, with Interrupted; waits that begin later are not concerned."""
        under_way, self._interrupted = self._interrupted, threading.Event()
        under_way.set()

    def refusal(self, answer: Answer, what: str) -> RegistryRefused:
        """The error for an answer that says no: its status, the registry's own code and message, and the cure."""
        answer.close()
        code, message = own_words(answer.content)
        said = ": ".join(part for part in (code, message) if part)
        why = f"{self._name(answer.method, answer.url)} was answered {answer.status}"
        error = RegistryRefused(
            what, self._auth.redact(f"{why} ({said})" if said else why), cure(self.host, answer.status, code)
        )
        error.status, error.code = answer.status, code
        return error

    def unreachable(self, method: str, url: str, why: str) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the registry {self.host} was not reached",
            self._auth.redact(f"{self._name(method, url)} failed: {why}"),
            "Check the registry's address, the network and the proxy settings, then run the command again: "
            "what was already moved is kept.",
        )

    def _authorised(
        self,
        method: str,
        url: str,
        scopes: frozenset[str],
        headers: dict[str, str],
        body: Body | bytes | None,
        limit: int,
        stream: bool,
    ) -> Answer:
        """One request, repeated with a login when the registry wants one, and with a new one when that has ended."""
        ours = _origin(url) == self._origin
        header = self._auth.header(scopes) if ours else None
        for last in (False, False, True):
            sent = headers | {"Authorization": header} if header is not None else headers
            answer = self._follow(method, url, sent, body, limit, stream)
            if last or not ours:
                break
            renewed: str | None = None
            if answer.status == 401:
                renewed = self._auth.answer(answer.headers.get("WWW-Authenticate", ""), scopes, header)
            elif header is not None and _may_have_expired(answer):
                renewed = self._auth.after_expiry(scopes, header)
            if renewed is None:
                break
            header = renewed
        return answer

    def _follow(
        self, method: str, url: str, headers: dict[str, str], body: Body | bytes | None, limit: int, stream: bool
    ) -> Answer:
        """One request and its redirects. Another origin never sees the Authorization of ours."""
        for _ in range(REDIRECTS):
            answer = self._send(method, url, headers, body, limit, stream)
            location = answer.headers.get("Location")
            followed = (301, 302, 303, 307, 308) if method in ("GET", "HEAD") else (307, 308)
            if answer.status not in followed or location is None:
                return answer
            answer.close()
            target = join_url(url, location)
            if target is None:
                raise self.unreachable(method, url, "it redirects to an address that is no URL of http or https")
            if url.startswith("https:") and not target.startswith("https:"):
                raise self.unreachable(method, url, "it redirects from https to something less safe")
            if _origin(target) != _origin(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise self.unreachable(method, url, f"it redirects more than {REDIRECTS} times")

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: Body | bytes | None, limit: int, stream: bool
    ) -> Answer:
        from urllib3.exceptions import HTTPError, LocationValueError, SSLError

        headers = {"User-Agent": "transaction-pipeline", "Accept-Encoding": "identity"} | headers
        length = body.size if isinstance(body, Body) else len(body or b"")
        if body is not None or method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(length)
        counted = 0

        def counting(blocks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal counted
            for block in blocks:
                counted += len(block)
                yield block

        content = counting(body.blocks()) if isinstance(body, Body) else body
        try:
            raw = self._connections().request(
                method, url, body=content, headers=headers, redirect=False, retries=False, preload_content=False
            )
        except LocationValueError as error:
            raise self.unreachable(method, url, "the address is no URL") from error
        except (HTTPError, OSError) as error:
            self._take_back(body, counted)
            if isinstance(error, SSLError) and "CERTIFICATE" in str(error).upper():
                raise self.unreachable(method, url, f"its certificate is not trusted ({_cause(error)})") from error
            raise ConnectionLost(_cause(error)) from error
        if stream and raw.status < 300:
            return Answer(method, url, raw.status, raw.headers, stream=raw)
        try:
            first = b"" if method == "HEAD" else _read(raw, limit + 1)
            if len(first) > limit:
                raw.close()  # a connection with an unread rest cannot be used again
        except (HTTPError, OSError) as error:
            raw.close()
            raise ConnectionLost(_cause(error)) from error
        finally:
            raw.release_conn()
        if raw.status >= 300:
            self._take_back(body, counted)
        if len(first) > limit:
            if raw.status < 300:
                raise self.unreachable(method, url, f"its answer is longer than {limit} bytes")
            first = first[:limit]
        return Answer(method, url, raw.status, raw.headers, content=first)

    @staticmethod
    def _take_back(body: Body | bytes | None, counted: int) -> None:
        """Bytes that went out with a request that failed did not arrive, as far as progress is concerned."""
        if isinstance(body, Body) and counted:
            body.moved(-counted)

    def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """A request to a token service, for the authenticator; repeated like any other."""
        attempt = 0
        while True:
            attempt += 1
            wait: float | None = None
            try:
                answer = self._follow(method, url, headers, body, SMALL, stream=False)
            except ConnectionLost as lost:
                delay = self.retries.delay(attempt)
                if delay is None:
                    raise self.unreachable(method, url, str(lost)) from lost
            else:
                wait = retry_after(answer.headers)
                delay = self.retries.delay(attempt, wait) if answer.status in BUSY else None
                if delay is None:
                    return answer.status, answer.content
            self.pause(delay, f"{self._name(method, url)} failed")

    def _connections(self) -> PoolManager:
        import urllib3

        with self._pool_lock:
            if self._pool is None:
                name = urlsplit(self.base).hostname or ""
                proxies = getproxies()
                proxy = proxies.get(urlsplit(self.base).scheme)
                timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
                if proxy and not is_loopback(self._origin[1]) and not proxy_bypass(name):
                    self._pool = urllib3.ProxyManager(proxy, maxsize=16, timeout=timeout, blocksize=BLOCK)
                else:
                    self._pool = urllib3.PoolManager(maxsize=16, timeout=timeout, blocksize=BLOCK)
            return self._pool

    def _name(self, method: str, url: str) -> str:
        """A request as people read it, without the query: an upload's location can carry a signature."""
        parts = urlsplit(url)
        place = self.host if _origin(url) == self._origin else parts.netloc.rpartition("@")[2]
        return f"{method} {parts.path} at {place}"


def join_url(base: str, location: str) -> str | None:
    """Where a ``Location`` leads, seen from ``base``; None when that is no address of HTTP."""
    try:
        target = urljoin(base, location)
        scheme, place = _origin(target)
    except ValueError:  # half an IPv6 address, or a port that is no number
        return None
    return target if scheme in ("http", "https") and not place.startswith(":") else None


def _read(raw: BaseHTTPResponse, most: int) -> bytes:
    """At most ``most`` bytes; reads to the end, since only there urllib3 notices a body that was cut short."""
    content = bytearray()
    while len(content) < most and (block := raw.read(most - len(content), decode_content=False)):
        content += block
    return bytes(content)


def _origin(url: str) -> tuple[str, str]:
    """Scheme and ``host:port``: what may see the same Authorization."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    name = parts.hostname or ""
    return parts.scheme, f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _cause(error: BaseException) -> str:
    """The innermost cause, for people: urllib3 wraps an OSError up to three times."""
    for inner in (getattr(error, "reason", None), error.args[-1] if error.args else None, error.__cause__):
        if isinstance(inner, BaseException):
            return _cause(inner)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error).__name__ == "IncompleteRead":
        return "the answer ended early"
    text = re.sub(r"<[^<>]*>|HTTPS?Connection\([^)]*\)", "", str(error))
    return printable(text).strip(" :,()'\"")[:200] or type(error).__name__
