"""Errors of the sources of AWS credentials, which botocore raises as exceptions of many kinds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.core.errors import CredentialsError


@contextmanager
def configuration_explained() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (BotoCoreError, UnicodeDecodeError) as problem:
        raise CredentialsError(
            "AWS was not contacted",
            str(problem),
            "Correct the AWS configuration, or use another profile with AWS_PROFILE.",
        ) from problem


@contextmanager
def credentials_explained(session: Any) -> Iterator[None]:
    """Turn whatever a source of credentials raises into an error with a cause and a next step.

    That is not botocore's exceptions alone: a credential_process that prints no JSON is a ValueError, an absent token
    file of a web identity an OSError, credentials that are expired when they come a RuntimeError, and a code that
    cannot be asked for without a terminal an EOFError.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (
        BotoCoreError, ClientError, ValueError, OSError, LookupError, TypeError, AttributeError, RuntimeError, EOFError,
    ) as problem:  # fmt: skip
        raise no_credentials("AWS was not contacted", problem, session) from problem


def assume_role(session: Any, role: str) -> None:
    """Let a botocore session use a role, which botocore assumes with the credentials that the session would find.

    Without such credentials the session finds none. The role is assumed, and later renewed, when it is first used.
    """
    from botocore.credentials import AssumeRoleCredentialFetcher

    # Not session.get_credentials, whose result the session keeps.
    source = session.get_component("credential_provider").load_credentials()
    if source is None:
        return
    use_renewed(session, AssumeRoleCredentialFetcher(session.create_client, source, role).fetch_credentials)


def use_renewed(session: Any, fetch: Callable[[], Mapping[str, str]]) -> None:
    """Let a botocore session use only credentials that ``fetch`` gives when they are first used, and before they end.

    fetch  gives access_key, secret_key, token and expiry_time, an ISO 8601 time
    """
    from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials

    class Assumed(CredentialProvider):
        METHOD = "assume-role"

        def load(self) -> Any:
            return DeferredRefreshableCredentials(fetch, self.METHOD)

    session.register_component("credential_provider", CredentialResolver([Assumed()]))


def no_credentials(what: str, problem: Exception, session: Any = None) -> CredentialsError:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
        UnauthorizedSSOTokenError,
    )

    name = (session and session.profile) or os.environ.get("AWS_PROFILE") or "default"
    signed_out = isinstance(problem, SSOError | TokenRetrievalError | UnauthorizedSSOTokenError)
    if signed_out or (isinstance(problem, ClientError) and problem.operation_name == "GetRoleCredentials"):
        return CredentialsError(what, str(problem), f"Sign in: aws sso login --profile {shlex.quote(name)}")
    if isinstance(problem, ClientError) and problem.operation_name == "AssumeRole":
        return CredentialsError(what, str(problem), "Let the caller assume the role, or correct its ARN.")
    if isinstance(problem, PartialCredentialsError):
        return CredentialsError(what, str(problem), "Set both keys, or neither to use another source of credentials.")
    if isinstance(problem, CredentialRetrievalError | BotoCoreError | ClientError):
        return CredentialsError(
            what, str(problem), f"Renew the credentials of the profile {name}, or use another with AWS_PROFILE."
        )
    if isinstance(problem, OSError):
        why = f"the credentials of the profile {name} were not read: {problem.strerror} ({problem.filename})"
        return CredentialsError(
            what, why, "Correct the path in the AWS configuration or in AWS_WEB_IDENTITY_TOKEN_FILE."
        )
    if isinstance(problem, EOFError):
        why = f"the profile {name} asks for an MFA code, and there is no terminal to type it"
        return CredentialsError(what, why, "Run it in a terminal, or export the credentials of a session with MFA.")
    if are_expired(problem):
        why = f"the source of the credentials of the profile {name} gives credentials that are expired"
        return CredentialsError(what, why, "Renew them where they come from, or use another profile with AWS_PROFILE.")
    return _unreadable(what, problem, name, session)


def are_expired(problem: Exception) -> bool:
    return isinstance(problem, RuntimeError) and "still expired" in str(problem)


def _unreadable(what: str, problem: Exception, name: str, session: Any) -> CredentialsError:
    """For an exception that does not say where the credentials come from.

    Its text is not shown if a process printed it, because it can hold a secret.
    """
    settings = session.get_scoped_config() if session is not None else {}
    if os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return CredentialsError(
            what,
            f"no credentials came from AWS_CONTAINER_CREDENTIALS_FULL_URI: {problem}",
            "Correct it, or unset it to use another source of credentials.",
        )
    if "credential_process" not in settings:
        return CredentialsError(
            what,
            f"the credentials of the profile {name} were not read ({type(problem).__name__})",
            "Correct the AWS configuration; a token file (AWS_WEB_IDENTITY_TOKEN_FILE) has to be text.",
        )
    why = f"the credential_process of the profile {name} did not print credentials as JSON"
    return CredentialsError(what, why, "Correct credential_process in the AWS configuration (~/.aws/config).")


def require_printable(credentials: Any, source: str) -> None:
    """Raise CredentialsError if a key cannot be a header's value, such as with a line break that was copied along.

    credentials  botocore's ReadOnlyCredentials
    source       botocore's name of where they came from
    """
    named = {"access key": credentials.access_key, "secret key": credentials.secret_key}
    if credentials.token is not None:
        named["session token"] = credentials.token
    for name, value in named.items():
        if not isinstance(value, str) or not value or not value.isprintable():
            raise CredentialsError(
                "AWS was not contacted",
                f"the {name} from {source} is not a printable text",
                "Correct it at its source; a line break may have been copied along.",
            )
