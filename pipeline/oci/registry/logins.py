"""Logins for registries, and Docker's configuration as their source.

``docker.auth`` reads the configuration, which is never written. Credential helpers are run here, because Docker's
library has no timeout for them. Passwords and tokens appear in no error, log or ``repr``.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.core.children import run_child
from pipeline.core.documents import parse_json
from pipeline.core.errors import CredentialsError

HELPER_SECONDS = 30.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Docker Hub's key in configurations and for helpers.
_DOCKER_HUB = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login: a user name with a password, or an identity token that is exchanged for access tokens."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def current(self) -> Credentials | None:
        return self

    def renewed(self) -> Credentials | None:
        """None: refused fixed credentials are refused again."""
        return None

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class CredentialSource(Protocol):
    """A source of logins that may expire, such as ECR's, which are valid for 12 hours."""

    def current(self) -> Credentials | None:
        """The login to use, or None to stay anonymous."""

    def renewed(self) -> Credentials | None:
        """A new login after the registry refused the current one, or None if there is none."""


class DockerLogin:
    """The login in Docker's configuration, read when the registry requires one."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._found: Credentials | None = None
        self._read = False

    def current(self) -> Credentials | None:
        if not self._read:
            self._found, self._read = docker_credentials(self._host), True
        return self._found

    def renewed(self) -> Credentials | None:
        """Read the configuration again: a helper or an edited file may return another login."""
        self._read = False
        return self.current()


def docker_credentials(host: str, *, config: Path | None = None) -> Credentials | None:
    """The login for a registry in Docker's configuration, or None.

    Reads ``$DOCKER_CONFIG/config.json``, by default ``~/.docker/config.json``: ``credHelpers``, ``credsStore`` and
    ``auths``. Raises CredentialsError for a configuration or a helper that cannot be used.
    """
    path = config or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        document = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(host, path, f"not readable JSON ({type(error).__name__})") from error
    if not isinstance(document, dict) or not document:
        return None
    from docker.auth import AuthConfig  # 0.1 s to import
    from docker.errors import DockerException

    try:
        parsed = AuthConfig.load_config(None, document)
        helper = parsed.get_credential_store(host)
        if helper and (found := _ask_helper(str(helper), _DOCKER_HUB if host == "docker.io" else host, host)):
            return found
        # Without helpers, which were called above.
        entry = AuthConfig({"auths": parsed.auths}).resolve_authconfig(host) or {}
    except (DockerException, ValueError, TypeError, AttributeError):
        # Without the cause: its text can quote the secret.
        raise _unreadable(host, path, "not a configuration that Docker's library can read") from None
    return _login(entry)


def _login(entry: dict[str, Any]) -> Credentials | None:
    if token := entry.get("IdentityToken"):
        return Credentials(identity_token=str(token))
    username = entry.get("username")
    # An entry without a login means that a helper stores it.
    return Credentials(str(username), str(entry.get("password") or "")) if username else None


def _unreadable(host: str, path: Path, why: str) -> CredentialsError:
    return CredentialsError(
        f"the login for {host} was not read",
        f"{path} is {why}",
        f"Repair the file, or log in again with `docker login {host}`.",
    )


def _ask_helper(helper: str, key: str, host: str) -> Credentials | None:
    """Run ``docker-credential-<helper> get``; None if it has no login. Its output is never quoted."""
    what = f"the login for {host} was not read"
    program = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise CredentialsError(
            what, f"{helper!r} is not a name of a credential helper", "Correct Docker's configuration."
        )
    try:
        done = run_child([program, "get"], content=key.encode(), seconds=HELPER_SECONDS)
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
        raise CredentialsError(what, f"{program} did not print a login", f"Try `echo {key} | {program} get`.") from None
    if not secret:
        return None
    # Helpers mark an identity token by this user name.
    return Credentials(identity_token=secret) if username == "<token>" else Credentials(str(username), str(secret))
