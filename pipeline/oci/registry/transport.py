"""HTTP to one registry: authentication, redirects, retries, deadlines and errors.

A request is repeated when the connection is lost or the registry is busy. An upload, which must first find out how much
has arrived, gets ``ConnectionLost`` and continues itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from pipeline.core.events import Note, Report, ignore
from pipeline.core.shown import printable
from pipeline.oci.blobs import WrongContent
from pipeline.oci.registry.auth import Authenticator
from pipeline.oci.registry.connections import BLOCK, CONNECT_SECONDS, Connections, Deadline, Unusable, is_loopback
from pipeline.oci.registry.logins import CredentialSource
from pipeline.oci.registry.refusals import BUSY, RegistryRefused, RegistryUnreachable, cure, own_words
from pipeline.oci.registry.retries import Retries, retry_after

if TYPE_CHECKING:  # 0.1 s to import, which a build without a registry does not need
    from urllib3 import BaseHTTPResponse

SMALL = 64 * 1024  # limit in bytes for a response that is not content
REDIRECTS = 5
# Timeouts of a connection. A registry may take long to complete an upload before it responds.
READ_SECONDS, WRITE_SECONDS = 30.0, 120.0
# The deadline of an exchange is twice READ_SECONDS or WRITE_SECONDS, plus time for content at this many bytes a second.
SLOWEST = 16 * 1024
_EXPIRED = re.compile(rb"(?i)token has expired|reauthenticate")
_FOLLOWED, _FOLLOWED_WITH_BODY = (301, 302, 303, 307, 308), (307, 308)


class ConnectionLost(Exception):
    """The connection was lost before a complete response; it is unknown what the registry did."""


class Interrupted(Exception):
    """``Transport.interrupt`` ended the wait for the next attempt."""


@dataclass(frozen=True, slots=True)
class Body:
    """``size`` bytes from ``offset`` of content that can be opened again, so that a request can be repeated.

    moved  called with the size of each block that is sent; negative if it must be sent again
    """

    open: Callable[[], BinaryIO]
    size: int
    offset: int = 0
    moved: Callable[[int], None] = lambda _count: None

    def blocks(self) -> Iterator[bytes]:
        """Raises WrongContent if the content ends early, because the registry would wait for the rest."""
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
class Request:
    """One request to a registry, as values.

    url       absolute, or a path of the registry
    scopes    the scopes of a token (``repository_scope``)
    limit     limit in bytes of a response that is read at once; a longer one is an error
    stream    read the body of a success with ``Answer.blocks``
    expected  the size of a streamed response in bytes
    repeat    retry after connection loss and busy responses; else ConnectionLost is raised at once
    """

    method: str
    url: str
    scopes: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | bytes | None = None
    limit: int = SMALL
    stream: bool = False
    expected: int = 0
    repeat: bool = True

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")

    @property
    def seconds(self) -> float:
        """The deadline of the exchange in seconds."""
        size = self.body.size if isinstance(self.body, Body) else self.expected
        return 2 * (READ_SECONDS if self.reads else WRITE_SECONDS) + size / SLOWEST

    @property
    def all_headers(self) -> dict[str, str]:
        headers = {"User-Agent": "transaction-pipeline", "Accept-Encoding": "identity", **self.headers}
        if self.body is not None or not self.reads:
            headers["Content-Length"] = str(self.body.size if isinstance(self.body, Body) else len(self.body or b""))
        return headers

    def with_header(self, name: str, value: str | None) -> Request:
        """A copy with another value of a header, or without it."""
        headers = {key: each for key, each in self.headers.items() if key != name}
        return replace(self, headers=headers if value is None else {**headers, name: value})


@dataclass(frozen=True, slots=True)
class Answer:
    """A registry's response; ``content`` is the whole body, or the beginning of an error's body."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    stream: BaseHTTPResponse | None = None
    deadline: Deadline | None = None

    def blocks(self) -> Iterator[bytes]:
        """The body of a streamed response; raises ConnectionLost if it is shorter than announced."""
        from urllib3.exceptions import HTTPError

        if self.stream is None:
            yield self.content
            return
        try:
            for block in self.stream.stream(BLOCK, decode_content=False):
                if self.deadline is not None:
                    self.deadline.hear()
                yield block
        except (HTTPError, OSError) as error:
            raise ConnectionLost(_cause(error, self.deadline)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Return the connection to the pool; closes it if the body was not read to its end."""
        if self.stream is not None:
            self.stream.close()
            self.stream.release_conn()
        if self.deadline is not None:
            self.deadline.close()


def _may_have_expired(answer: Answer) -> bool:
    """Whether a refusal may be due to an expired token.

    ECR responds with 403, ECR Public with 400, without a challenge (aws/containers-roadmap #2835). A response to HEAD
    has no body with details.
    """
    return answer.status in (400, 403) and (answer.method == "HEAD" or _EXPIRED.search(answer.content) is not None)


class Transport:
    """Requests to the registry ``host``, at ``endpoint_url`` if that differs; safe for concurrent use."""

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
        # Like containerd for a mirror: the embedded ECR serves the registries of all regions at one address.
        self._namespace = host if host != urlsplit(self.base).netloc and endpoint_url is not None else ""
        self._report = report
        self._origin = _origin(self.base)
        self._auth = Authenticator(host, credentials, self._exchange, report, base=self.base)
        self._connections = Connections()
        self._interrupted = threading.Event()

    def close(self) -> None:
        self._connections.close()

    def request(self, request: Request) -> Answer:
        """Send a request, with a login if the registry requires one, and return the response with any status.

        Raises RegistryUnreachable without a response, RegistryError for a response above its limit.
        """
        request = replace(request, url=urljoin(f"{self.base}/", request.url))
        return self._repeated(request, self._authorised)

    def _repeated(self, request: Request, send: Callable[[Request], Answer]) -> Answer:
        attempt, started = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                answer = send(request)
            except ConnectionLost as lost:
                if not request.repeat:
                    raise
                spent = time.monotonic() - started
                delay = self.retries.delay(attempt) if spent < self.retries.silence else None
                if delay is None:
                    raise self.unreachable(request, str(lost)) from lost
                self.pause(delay, f"the connection for {self._name(request.method, request.url)} was lost")
                continue
            if answer.status not in BUSY or not request.repeat:
                return answer
            delay = self.retries.delay(attempt, retry_after(answer.headers))
            if delay is None:
                return answer
            answer.close()
            self.pause(delay, f"{self._name(request.method, request.url)} was answered {answer.status}")

    def pause(self, seconds: float, why: str) -> None:
        if seconds >= 2:
            self._report(Note(f"{why}; next try in {seconds:.0f} s"))
        if self._interrupted.wait(seconds):
            raise Interrupted

    def interrupt(self) -> None:
        """End all current waits with Interrupted; does not affect later ones."""
        under_way, self._interrupted = self._interrupted, threading.Event()
        under_way.set()

    def refusal(self, answer: Answer, what: str) -> RegistryRefused:
        """The error for a refusal, with status, the registry's code and message, and a next step."""
        answer.close()
        code, message = own_words(answer.content)
        said = ": ".join(part for part in (code, message) if part)
        why = f"{self._name(answer.method, answer.url)} was answered {answer.status}"
        error = RegistryRefused(
            what, self._auth.redact(f"{why} ({said})" if said else why), cure(self.host, answer.status, code)
        )
        error.status, error.code = answer.status, code
        return error

    def unreachable(self, request: Request, why: str) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the registry {self.host} was not reached",
            self._auth.redact(f"{self._name(request.method, request.url)} failed: {why}"),
            "Check the registry's address, the network and the proxy settings, then run the command again: "
            "completed transfers are kept.",
        )

    def _authorised(self, request: Request) -> Answer:
        """One request, repeated with a login if the registry requires one, and with a new one if it has expired."""
        ours = _origin(request.url) == self._origin
        if ours and self._namespace:
            separator = "&" if "?" in request.url else "?"
            request = replace(request, url=f"{request.url}{separator}{urlencode({'ns': self._namespace})}")
        header = self._auth.header(request.scopes) if ours else None
        for last in (False, False, True):
            answer = self._follow(request.with_header("Authorization", header) if header is not None else request)
            # Ignore the challenge of another host after a redirect: it must not choose who gets the login.
            if last or _origin(answer.url) != self._origin:
                break
            renewed: str | None = None
            if answer.status == 401:
                renewed = self._auth.answer(answer.headers.get("WWW-Authenticate", ""), request.scopes, header)
            elif header is not None and _may_have_expired(answer):
                renewed = self._auth.after_expiry(request.scopes, header)
            if renewed is None:
                break
            answer.close()
            header = renewed
        return answer

    def _follow(self, request: Request) -> Answer:
        """One request and its redirects. The Authorization header is never sent to another origin."""
        for _ in range(REDIRECTS):
            answer = self._send(request)
            location = answer.headers.get("Location")
            followed = _FOLLOWED if request.reads else _FOLLOWED_WITH_BODY
            if answer.status not in followed or location is None:
                return answer
            answer.close()
            target = join_url(request.url, location)
            if target is None:
                raise self.unreachable(request, "it redirects to a non-HTTP(S) URL")
            if request.url.startswith("https:") and not target.startswith("https:"):
                raise self.unreachable(request, "it redirects from HTTPS to plain HTTP")
            if is_loopback(_origin(target)[1]) and not is_loopback(self._origin[1]):
                raise self.unreachable(request, "it redirects to this machine")
            if _origin(target) != _origin(request.url):
                request = request.with_header("Authorization", None)
            request = replace(request, url=target)
        raise self.unreachable(request, f"it redirects more than {REDIRECTS} times")

    def _send(self, request: Request) -> Answer:
        """One exchange, within its deadline."""
        waiting = f"waiting for {self._name(request.method, request.url)}"
        deadline = Deadline(request.seconds, lambda: self._report(Note(waiting)))
        streamed = False
        try:
            answer = self._exchanged(request, deadline)
            streamed = answer.stream is not None
        finally:
            if not streamed:
                deadline.close()
        return answer

    def _exchanged(self, request: Request, deadline: Deadline) -> Answer:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError, LocationValueError, SSLError

        body, counted = request.body, 0

        def counting(blocks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal counted
            for block in blocks:
                counted += len(block)
                deadline.hear()
                yield block

        try:
            with deadline.watching():
                raw = self._connections.pool(request.url).request(
                    request.method,
                    request.url,
                    body=counting(body.blocks()) if isinstance(body, Body) else body,
                    headers=request.all_headers,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS if request.reads else WRITE_SECONDS),
                )
        except Unusable as error:
            raise self.unreachable(request, str(error)) from error
        except LocationValueError as error:
            raise self.unreachable(request, "the address is not a URL") from error
        except (HTTPError, OSError) as error:
            _take_back(body, counted)
            if isinstance(error, SSLError) and "CERTIFICATE" in str(error).upper():
                raise self.unreachable(request, f"its certificate is not trusted ({_cause(error)})") from error
            raise ConnectionLost(_cause(error, deadline)) from error
        if request.stream and raw.status < 300:
            return Answer(request.method, request.url, raw.status, raw.headers, stream=raw, deadline=deadline)
        limit = request.limit
        try:
            first = b"" if request.method == "HEAD" else _read(raw, limit + 1)
            if len(first) > limit:
                raw.close()  # a connection with unread bytes cannot be reused
        except (HTTPError, OSError) as error:
            raw.close()
            raise ConnectionLost(_cause(error, deadline)) from error
        finally:
            raw.release_conn()
        if deadline.expired:
            # A truncated response without an announced length looks complete.
            raise ConnectionLost(deadline.why)
        if raw.status >= 300:
            _take_back(body, counted)
        if len(first) > limit:
            if raw.status < 300:
                raise self.unreachable(request, f"its answer is longer than {limit} bytes")
            first = first[:limit]
        return Answer(request.method, request.url, raw.status, raw.headers, content=first)

    def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """A request to a token service, for the authenticator: with retries, without redirects."""
        answer = self._repeated(Request(method, url, headers=headers, body=body), self._send)
        return answer.status, answer.content

    def _name(self, method: str, url: str) -> str:
        """A request for messages, without the query, which may contain a signature."""
        parts = urlsplit(url)
        place = self.host if _origin(url) == self._origin else parts.netloc.rpartition("@")[2]
        return f"{method} {parts.path} at {place}"


def _take_back(body: Body | bytes | None, counted: int) -> None:
    """Subtract the bytes of a failed request from the progress."""
    if isinstance(body, Body) and counted:
        body.moved(-counted)


def join_url(base: str, location: str) -> str | None:
    """The target of a ``Location`` header, relative to ``base``; None if it is not an HTTP(S) URL."""
    try:
        target = urljoin(base, location)
        scheme, place = _origin(target)
    except ValueError:  # half an IPv6 address, or a port that is no number
        return None
    return target if scheme in ("http", "https") and not place.startswith(":") else None


def _read(raw: BaseHTTPResponse, most: int) -> bytes:
    """At most ``most`` bytes; reads to the end, where urllib3 detects a truncated body."""
    content = bytearray()
    while len(content) < most and (block := raw.read(most - len(content), decode_content=False)):
        content += block
    return bytes(content)


def _origin(url: str) -> tuple[str, str]:
    """Scheme and ``host:port``, which may get the same Authorization."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    name = parts.hostname or ""
    return parts.scheme, f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _cause(error: BaseException, deadline: Deadline | None = None) -> str:
    """The innermost cause: urllib3 wraps an OSError up to three times."""
    if deadline is not None and deadline.expired:
        return deadline.why
    for inner in (getattr(error, "reason", None), error.args[-1] if error.args else None, error.__cause__):
        if isinstance(inner, BaseException):
            return _cause(inner)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error).__name__ == "IncompleteRead":
        return "the answer ended early"
    text = re.sub(r"<[^<>]*>|HTTPS?Connection\([^)]*\)", "", str(error))
    return printable(text).strip(" :,()'\"")[:200] or type(error).__name__
