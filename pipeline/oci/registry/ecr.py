"""Amazon ECR's API: logins, renewed before their 12 hours end, and what a repository has, in one request."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import CredentialsError
from pipeline.oci.registry.logins import Credentials
from pipeline.oci.values import MANIFEST_TYPES, Digest, Manifest

if TYPE_CHECKING:
    from botocore.client import BaseClient

# A token that expires earlier than this is not used for a new request, because a push may take long.
RENEW_SECONDS = 30 * 60.0
# With a wrong clock every token seems to have expired; request one at most once a minute.
_KEEP_SECONDS = 60.0
# API_BatchGetImage: imageIds has 1 to 100 members.
_IMAGES_MOST = 100

Lookup = Callable[[str, Sequence[Digest | str]], dict[str, Manifest]]


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


def ecr_lookup(ecr_client: BaseClient) -> Lookup:
    """What a repository has among digests and tags, by BatchGetImage: up to 100 in one request instead of one in each.

    A manifest is listed under what it was asked by. What is not listed may be there all the same: an answer that cannot
    be used, such as a refusal, counts as none, and the registry's own answer then says why. Sends no request itself.
    """

    def lookup(repository: str, references: Sequence[Digest | str]) -> dict[str, Manifest]:
        found: dict[str, Manifest] = {}
        for first in range(0, len(references), _IMAGES_MOST):
            found |= _batch(ecr_client, repository, references[first : first + _IMAGES_MOST])
        return found

    return lookup


def _batch(client: BaseClient, repository: str, references: Sequence[Digest | str]) -> dict[str, Manifest]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.batch_get_image(  # type: ignore[attr-defined]
            repositoryName=repository,
            imageIds=[
                {"imageDigest": str(each)} if isinstance(each, Digest) else {"imageTag": each} for each in references
            ],
            acceptedMediaTypes=list(MANIFEST_TYPES),
        )
    except (BotoCoreError, ClientError):
        return {}
    found: dict[str, Manifest] = {}
    for image in answer.get("images", ()):
        named = image.get("imageId", {})
        manifest = Manifest(image.get("imageManifest", "").encode(), image.get("imageManifestMediaType", ""))
        # Only the exact bytes of the digest count.
        if str(manifest.digest) == named.get("imageDigest"):
            found[str(manifest.digest)] = manifest
            if (tag := named.get("imageTag")) in references:
                found[tag] = manifest
    return found
