"""A registry's Basic and Bearer challenges, and the tokens that answer them.

A challenge may name a token service on another host (Docker's token authentication; Docker Hub and GitLab do that), and
that host then gets the login. It is bound: HTTPS only, off this machine never to this machine, no redirects, one notice
for each host, and TRANSACTION_PIPELINE_TOKEN_SERVICES lists the hosts that are allowed when it is set. A password or a
token appears in no error, log or ``repr``.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlencode, urlsplit

from pipeline.core.documents import parse_json
from pipeline.core.errors import RegistryError
from pipeline.core.events import Note, Report
from pipeline.oci.registry.connections import is_loopback
from pipeline.oci.registry.logins import Credentials, CredentialSource

_DEFAULT_PORT = ":443"
# Hosts (``host`` or ``host:port``, separated by commas or spaces) that may be sent the login of another host.
ALLOWED = "TRANSACTION_PIPELINE_TOKEN_SERVICES"
# The specification of token authentication: a token without ``expires_in`` lives for 60 s.
_TOKEN_SECONDS = 60.0
_CHALLENGE_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header: ``Challenge("bearer", {"realm": "https://…", …})``."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge in a header; those that cannot be parsed are left out.

    >>> parse_challenges('Bearer realm="https://auth.example/token",service="registry"')[0].parameters["service"]
    'registry'
    """
    found: list[Challenge] = []
    rest = header.strip()
    while rest:
        scheme = re.match(r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s+|$|(?=,))", rest)
        if scheme is None:
            break
        rest = rest[scheme.end() :]
        parameters: dict[str, str] = {}
        while (match := _CHALLENGE_PARAMETER.match(rest)) is not None:
            quoted = match[2]
            parameters[match[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match[3]
            rest = rest[match.end() :].lstrip()
            if not rest.startswith(","):
                break
            rest = rest[1:].lstrip()
        found.append(Challenge(scheme[1].lower(), parameters))
        rest = rest.lstrip(", ")
    return tuple(found)


def repository_scope(repository: str, *, push: bool) -> str:
    """The scope to request in a token for a repository."""
    return f"repository:{repository}:{'pull,push' if push else 'pull'}"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    renew_at: float  # on the monotonic clock


# HTTP without redirects, for the authenticator: (method, url, headers, body) -> (status, body).
Exchange = Callable[[str, str, dict[str, str], bytes | None], tuple[int, bytes]]


class Authenticator:
    """The ``Authorization`` headers for one registry, learned from its challenges; safe for concurrent use.

    Nothing is sent before the registry asks for it, so a registry without authentication never sees a password.

    host  the registry's name, for messages
    base  the URL that requests go to
    """

    def __init__(
        self, host: str, source: CredentialSource | None, exchange: Exchange, report: Report, *, base: str
    ) -> None:
        self._host = host
        self._base = urlsplit(base)
        self._place = self._base.netloc.rpartition("@")[2]
        self._source = source
        self._exchange = exchange
        self._report = report
        self._told: set[str] = set()
        # Reentrant: the error of a failed exchange with the token service is redacted while the lock is held.
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], _Token] = {}
        self._secrets: set[str] = set()

    def header(self, scopes: frozenset[str]) -> str | None:
        """The header to send along now, or None while the registry has not asked for one."""
        with self._lock:
            if self._challenge is None:
                return None
            return self._header(self._challenge, scopes)

    def answer(self, www_authenticate: str, scopes: frozenset[str], refused: str | None) -> str | None:
        """Another header after a 401 to a request that carried ``refused``, or None when there is nothing else to try.

        Raises RegistryError when the token service refuses, CredentialsError when a login cannot be read.
        """
        with self._lock:
            challenges = {challenge.scheme: challenge for challenge in parse_challenges(www_authenticate)}
            chosen = challenges.get("bearer") or challenges.get("basic")
            if chosen is not None:
                self._challenge = chosen
            if self._challenge is None:
                return None
            return self._renew(self._challenge, scopes, refused)

    def after_expiry(self, scopes: frozenset[str], refused: str) -> str | None:
        """Another header after the registry said, without a challenge, that the token in ``refused`` has expired."""
        with self._lock:
            return self._renew(self._challenge, scopes, refused) if self._challenge is not None else None

    def redact(self, text: str) -> str:
        """``text`` without any secret that this authenticator ever used."""
        with self._lock:
            for secret in self._secrets:
                text = text.replace(secret, "[hidden]")
        return text

    def _renew(self, challenge: Challenge, scopes: frozenset[str], refused: str | None) -> str | None:
        """A header other than ``refused``; another thread may have fetched it meanwhile."""
        if refused is not None:
            cached = self._tokens.get(scopes)
            if cached is not None and cached.header == refused:
                del self._tokens[scopes]
        header = self._header(challenge, scopes)
        if header != refused:
            return header
        if self._source is None or self._remember(self._source.renewed()) is None:
            return None
        self._tokens.pop(scopes, None)
        header = self._header(challenge, scopes)
        return header if header != refused else None

    def _header(self, challenge: Challenge, scopes: frozenset[str]) -> str | None:
        if challenge.scheme == "basic":
            login = self._login()
            return self._keep(login.basic) if login is not None else None
        token = self._tokens.get(scopes)
        if token is None or time.monotonic() >= token.renew_at:
            token = self._tokens[scopes] = self._fetch_token(challenge, scopes)
        return token.header

    def _login(self) -> Credentials | None:
        return self._remember(self._source.current()) if self._source is not None else None

    def _remember(self, login: Credentials | None) -> Credentials | None:
        if login is not None:
            secrets = (login.password, login.identity_token, login.basic.partition(" ")[2])
            self._secrets.update(secret for secret in secrets if secret)
        return login

    def _keep(self, header: str) -> str:
        self._secrets.add(header.partition(" ")[2])
        return header

    def _fetch_token(self, challenge: Challenge, scopes: frozenset[str]) -> _Token:
        what = f"no token for {self._host} was obtained"
        realm = challenge.parameters.get("realm", "")
        place = self._judge_realm(realm, what)
        login = self._login()
        if login is not None:
            self._judge_service(place, what)
        service = challenge.parameters.get("service", "")
        headers = {"Accept": "application/json"}
        if login is not None and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "service": service}
            form |= {"client_id": "transaction-pipeline", "scope": " ".join(sorted(scopes))}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            status, body = self._exchange("POST", realm, headers, urlencode(form).encode())
        else:
            if login is not None:
                headers["Authorization"] = login.basic
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in sorted(scopes)]
            separator = "&" if place.query else "?"
            status, body = self._exchange("GET", f"{realm}{separator}{urlencode(query)}", headers, None)
        if status != 200:
            raise RegistryError(
                what,
                f"the token service {place.hostname} answered {status}",
                "Tell the registry's operator: a redirect is not followed with a login."
                if 300 <= status < 400
                else f"Log in with `docker login {self._host}`, or check that the login is still valid.",
            )
        return self._parse_token(body, what)

    def _judge_realm(self, realm: str, what: str) -> SplitResult:
        """The address of the token service. Raises RegistryError for one that must not be contacted."""
        operator = "Tell the registry's operator."
        try:
            place = urlsplit(realm)
            named = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0 and "@" not in realm
        except ValueError:  # half an IPv6 address, or a port that is no number
            named = False
        if not named:
            why = f"its challenge names the token service {realm[:200]!r}, which is not an HTTP(S) URL"
            raise RegistryError(what, why, operator)
        here = is_loopback(self._place)
        if not here and is_loopback(place.netloc):
            why = f"its challenge names a token service on this machine, {place.netloc}"
            raise RegistryError(what, why, operator)
        if place.scheme == "http" and not (here and self._base.scheme == "http" and is_loopback(place.netloc)):
            # Also without a login: the token itself is a secret.
            why = f"its token service {place.hostname} would receive the login unencrypted"
            raise RegistryError(what, why, operator)
        return place

    def _judge_service(self, place: SplitResult, what: str) -> None:
        """Whether the login may go to ``place``, and a notice if that is another host than the registry's.

        Raises RegistryError if ALLOWED is set and does not list it.
        """
        service = place.netloc.lower().removesuffix(_DEFAULT_PORT)
        if service == self._place.lower().removesuffix(_DEFAULT_PORT):
            return
        allowed = os.environ.get(ALLOWED)
        if allowed is not None and service not in re.split(r"[,\s]+", allowed.lower()):
            raise RegistryError(
                what,
                f"its token service {service} is another host, and {ALLOWED} does not list it",
                f"If {service} may be sent the login for {self._host}, add it to {ALLOWED}.",
            )
        if service not in self._told:
            self._told.add(service)
            self._report(Note(f"the login for {self._host} goes to its token service {service}"))

    def _parse_token(self, body: bytes, what: str) -> _Token:
        try:
            document = parse_json(body)
            value = document.get("token") or document.get("access_token")
            seconds = float(document.get("expires_in") or _TOKEN_SECONDS)
        except (ValueError, TypeError, AttributeError, OverflowError):
            value, seconds = None, 0.0
        if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
            raise RegistryError(what, "the token service answered without a token", "Tell the registry's operator.")
        # A tenth of its life is left for the request that carries it.
        return _Token(self._keep(f"Bearer {value}"), time.monotonic() + seconds * 0.9)
