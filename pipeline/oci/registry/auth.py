"""Who we are to a registry: logins, Docker's credential configuration, and the Basic and Bearer challenges.

Docker's configuration is only read, never written. A password or a token appears in no error, log or ``repr``.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from pipeline.core.documents import parse_json
from pipeline.core.errors import CredentialsError, RegistryError

HELPER_SECONDS = 30.0
# The specification of token authentication: a token without ``expires_in`` lives for 60 s.
_TOKEN_SECONDS = 60.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHALLENGE_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login: a user name with a password, or an identity token that is exchanged for access tokens."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def current(self) -> Credentials | None:
        return self

    def renewed(self) -> Credentials | None:
        """Fixed credentials cannot be renewed: what a registry refused once, it refuses again."""
        return None

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class CredentialSource(Protocol):
    """Where a login comes from when it may have to be fetched anew, such as ECR's, which lives for 12 hours."""

    def current(self) -> Credentials | None:
        """The login to use now, or None to stay anonymous."""

    def renewed(self) -> Credentials | None:
        """Another login after the registry refused the current one, or None when there is none."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header: ``Challenge("bearer", {"realm": "https://…", …})``."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge of a header; what cannot be understood is left out.

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
    """The scope that a token for a repository is asked with."""
    return f"repository:{repository}:{'pull,push' if push else 'pull'}"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    renew_at: float  # on the monotonic clock


# What the authenticator needs of HTTP: (method, url, headers, body) -> (status, body).
Exchange = Callable[[str, str, dict[str, str], bytes | None], tuple[int, bytes]]


class Authenticator:
    """The ``Authorization`` headers for one registry, learned from its challenges; safe for concurrent use.

    Nothing is sent before the registry asks for it, so a registry without authentication never sees a password.
    """

    def __init__(self, host: str, source: CredentialSource | None, exchange: Exchange, *, plain_http: bool) -> None:
        self._host = host
        self._source = source
        self._exchange = exchange
        self._plain_http = plain_http
        # Reentrant: an exchange with the token service that fails has its own text redacted.
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
        try:
            place = urlsplit(realm)
            named = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
        except ValueError:  # half an IPv6 address, or a port that is no number
            named = False
        if not named:
            raise RegistryError(
                what,
                f"its challenge names the token service {realm!r}, which is no URL",
                "Tell the registry's operator.",
            )
        login = self._login()
        if login is not None and place.scheme == "http" and not self._plain_http:
            # A registry that is spoken to over TLS must not lure the login into the clear.
            raise RegistryError(
                what,
                f"its token service {place.hostname} would receive the login unencrypted",
                "Tell the registry's operator.",
            )
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
                f"Log in with `docker login {self._host}`, or check that the login is still valid.",
            )
        return self._parse_token(body, what)

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


def docker_credentials(host: str, *, config: Path | None = None) -> Credentials | None:
    """The login that Docker's configuration holds for a registry, or None.

    Reads ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``: ``credHelpers``, ``credsStore`` and ``auths``, in
    Docker's own order. Raises CredentialsError for a configuration or a helper that cannot be used.
    """
    path = config or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        document = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"the login for {host} was not read",
            f"{path} is not readable JSON ({error.__class__.__name__})",
            "Repair the file, or log in again with `docker login`.",
        ) from error
    if not isinstance(document, dict):
        return None
    keys = _DOCKER_HUB_KEYS if host in _DOCKER_HUB_KEYS else (host, f"https://{host}", f"http://{host}")
    helpers = document.get("credHelpers")
    for key in keys:
        helper = helpers.get(key) if isinstance(helpers, dict) else None
        if isinstance(helper, str) and helper:
            return _ask_helper(helper, key, host)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            found = _ask_helper(store, key, host)
            if found is not None:
                return found
    auths = document.get("auths")
    for key, entry in auths.items() if isinstance(auths, dict) else ():
        if key in keys or _host_of(key) in keys:
            found = _parse_entry(entry, path, host)
            if found is not None:
                return found
    return None


def _host_of(key: str) -> str:
    """Old configurations hold URLs with a path, such as ``https://registry.example/v1/``."""
    return urlsplit(key).netloc if "://" in key else key.partition("/")[0]


def _parse_entry(entry: object, path: Path, host: str) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    identity_token = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    encoded = entry.get("auth")
    if isinstance(encoded, str) and encoded:
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            # Without the cause: its text can quote the secret.
            raise CredentialsError(
                f"the login for {host} was not read",
                f'the "auth" of {host} in {path} is not base64',
                f"Log in again with `docker login {host}`.",
            ) from None
    password = password.rstrip("\0")
    if not (username or identity_token):
        return None  # an entry without a secret says only that a helper keeps it
    return Credentials(username, password, identity_token)


def _ask_helper(helper: str, key: str, host: str) -> Credentials | None:
    """Ask ``docker-credential-<helper> get``; None when it has no login. What it prints is never repeated."""
    what = f"the login for {host} was not read"
    program = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise CredentialsError(what, f"{helper!r} is no name of a credential helper", "Correct Docker's configuration.")
    try:
        done = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=HELPER_SECONDS)
    except FileNotFoundError as error:
        raise CredentialsError(
            what,
            f"Docker's configuration names the credential helper {program}, which is not installed",
            "Install it, or remove it from Docker's configuration and log in again.",
        ) from error
    except (OSError, subprocess.TimeoutExpired):
        raise CredentialsError(
            what, f"{program} did not answer within {HELPER_SECONDS:.0f} s", f"Try `echo {key} | {program} get`."
        ) from None
    if done.returncode != 0:
        if b"not found" in done.stdout + done.stderr:
            return None
        raise CredentialsError(
            what, f"{program} ended with status {done.returncode}", f"Try `echo {key} | {program} get`."
        )
    try:
        document = parse_json(done.stdout)
        username, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(
            what, f"{program} answered something else than a login", f"Try `echo {key} | {program} get`."
        ) from None
    if not secret:
        return None
    # The helpers' own convention for an identity token.
    return Credentials(identity_token=secret) if username == "<token>" else Credentials(str(username), str(secret))
