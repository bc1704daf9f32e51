"""Logins for Amazon ECR: a token of the ECR API, renewed before its 12 hours end."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING

from pipeline.core.errors import CredentialsError
from pipeline.oci.registry.logins import Credentials

if TYPE_CHECKING:
    from botocore.client import BaseClient

# A token that expires earlier than this is not used for a new request, because a push may take long.
RENEW_SECONDS = 30 * 60.0
# With a wrong clock every token seems to have expired; request one at most once a minute.
_KEEP_SECONDS = 60.0


class EcrCredentials:
    """Logins for ``Registry``; calls ECR when the registry requires a login or refuses the last one."""

    def __init__(self, ecr_client: BaseClient) -> None:
        self._client = ecr_client
        self._lock = threading.Lock()
        self._login: Credentials | None = None
        self._renew_at = 0.0

    def current(self) -> Credentials:
        """The login. Raises CredentialsError if ECR returns no token."""
        with self._lock:
            if self._login is None or time.monotonic() >= self._renew_at:
                return self._fetch()
            return self._login

    def renewed(self) -> Credentials:
        with self._lock:
            return self._fetch()

    def _fetch(self) -> Credentials:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        what = "no login for Amazon ECR was obtained"
        try:
            answer = self._client.get_authorization_token()  # type: ignore[attr-defined]
        except NoCredentialsError as error:
            raise CredentialsError(
                what, "there are no AWS credentials", "Set AWS_PROFILE, or log in with `aws sso login`."
            ) from error
        except ClientError as error:
            said = error.response.get("Error", {})
            raise CredentialsError(
                what,
                f"ecr:GetAuthorizationToken was answered {said.get('Code', '?')}: {said.get('Message', '')}",
                "Check that the AWS credentials are valid and allow ecr:GetAuthorizationToken.",
            ) from error
        except BotoCoreError as error:
            raise CredentialsError(
                what, f"ecr:GetAuthorizationToken failed: {error}", "Check the network, the region and the profile."
            ) from error
        try:
            data = answer["authorizationData"][0]
            username, _, password = base64.b64decode(data["authorizationToken"], validate=True).decode().partition(":")
            left = data["expiresAt"].timestamp() - time.time()
        except (LookupError, AttributeError, ValueError):
            # Without the cause: its text can quote the token.
            raise CredentialsError(
                what, "ecr:GetAuthorizationToken was answered without a readable token", "Run the command again."
            ) from None
        self._login = Credentials(username, password)
        self._renew_at = time.monotonic() + max(left - RENEW_SECONDS, _KEEP_SECONDS)
        return self._login


def ecr_credentials(ecr_client: BaseClient) -> EcrCredentials:
    """Logins for ``Registry(…, credentials=…)``; ``ecr_client`` is boto3's. Sends no request."""
    return EcrCredentials(ecr_client)
