"""Verify Signature Version 4 of a request by computing it again with botocore's signer.

    read_claim(request) -> Claim         the caller's claim: key, scope, date, signed headers, signature
    verify(request, claim, secret, now)  raises Refused unless botocore computes the same signature

Sources: AWS IAM user guide, "Signature Version 4 for API requests"; S3 API reference, "Authenticating requests".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
# The largest difference of a caller's clock.
SKEW = timedelta(minutes=15)
# The longest validity of a presigned URL.
_EXPIRES_MAX = 7 * 24 * 3600
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNSIGNED = "UNSIGNED-PAYLOAD"


class Refused(Exception):
    """A refused request. ``code`` is AWS's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. ``target`` is the raw path with its query; ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """The value of a header, or ""; several lines are joined as HTTP says."""
        return ", ".join(value for each, value in self.headers if each == name)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Claim:
    """The unverified signer and signature of a request. ``expires``: the validity of a presigned URL in seconds."""

    access_key: str
    date: str
    region: str
    service: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str
    token: str
    expires: int | None = None


def read_claim(request: Request) -> Claim:
    """Raises Refused for a request without a signature of version 4."""
    authorization, query = request.header("authorization"), request.query
    if authorization:
        algorithm, _, rest = authorization.partition(" ")
        fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        names = ("Credential", "SignedHeaders", "Signature")
        timestamp, token, expires = request.header("x-amz-date"), request.header("x-amz-security-token"), None
    elif "X-Amz-Signature" in query:
        algorithm, fields = query.get("X-Amz-Algorithm", ""), query
        names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature")
        timestamp, token = query.get("X-Amz-Date", ""), query.get("X-Amz-Security-Token", "")
        lifetime = query.get("X-Amz-Expires", "")
        expires = int(lifetime) if re.fullmatch(r"[0-9]{1,6}", lifetime) else 0
    else:
        raise Refused("MissingAuthenticationToken", "Missing Authentication Token")
    if algorithm != _ALGORITHM:
        raise Refused("IncompleteSignature", f"the signature is not of the algorithm {_ALGORITHM}")
    credential, signed, signature = (fields.get(name, "") for name in names)
    scope = credential.split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not signature or not re.fullmatch(r"\d{8}T\d{6}Z", timestamp):
        raise Refused("IncompleteSignature", "the signature has no credential scope, no value or no date")
    if "host" not in signed.split(";"):
        raise Refused("IncompleteSignature", "the Host header is not signed")
    return Claim(
        access_key=scope[0], date=scope[1], region=scope[2], service=scope[3], timestamp=timestamp,
        signed_headers=tuple(signed.split(";")), signature=signature, token=token, expires=expires,
    )  # fmt: skip


def verify(request: Request, claim: Claim, secret: str, now: datetime) -> None:
    """Raises Refused for a request that was not signed with ``secret``, or whose signature has expired."""
    _verify_time(claim, now)
    if not hmac.compare_digest(_signature(request, claim, secret).encode(), claim.signature.encode()):
        raise Refused(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
        )
    said = request.header("x-amz-content-sha256")
    # Other values are S3's marks for bodies that are not signed, or signed piece by piece.
    if _HEX_DIGEST.fullmatch(said) and hashlib.sha256(request.body).hexdigest() != said:
        raise Refused("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match the body")


def _verify_time(claim: Claim, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("IncompleteSignature", f"{claim.timestamp} is no date") from None
    if claim.date != claim.timestamp[:8]:
        raise Refused("SignatureDoesNotMatch", "the date of the credential scope is not that of the request")
    if signed_at > now + SKEW:
        raise Refused("RequestTimeTooSkewed", f"Signature not yet current: {claim.timestamp} is in the future")
    if claim.expires is None:
        if signed_at < now - SKEW:
            raise Refused("RequestTimeTooSkewed", f"Signature expired: {claim.timestamp} is too long ago")
    elif claim.expires > _EXPIRES_MAX or now > signed_at + timedelta(seconds=claim.expires):
        raise Refused("AccessDenied", "Request has expired")


def _signature(request: Request, claim: Claim, secret: str) -> str:
    """The signature that botocore computes for the request with the claim's scope, time and headers."""
    presigned = claim.expires is not None
    signer: type[SigV4Auth]
    if claim.service == "s3":
        signer = S3SigV4QueryAuth if presigned else S3SigV4Auth
    else:
        signer = SigV4QueryAuth if presigned else SigV4Auth
    headers = HTTPHeaders()
    for name, value in request.headers:
        if name in claim.signed_headers:
            headers[name] = value  # adds a line, as email.message does

    class Recomputed(signer):  # type: ignore[misc, valid-type]
        def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:  # noqa: ARG002
            """The headers that the caller signed; other SDKs sign some that botocore leaves out."""
            return headers

    auth = Recomputed(Credentials(claim.access_key, secret), claim.service, claim.region)
    path, _, query = request.target.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not (presigned and pair.startswith("X-Amz-Signature=")))
    remade = AWSRequest(request.method, f"http://host{path}{'?' if kept else ''}{kept}", data=request.body)
    if said := request.header("x-amz-content-sha256"):
        remade.headers["X-Amz-Content-SHA256"] = said
    remade.context["timestamp"] = claim.timestamp
    return str(auth.signature(auth.string_to_sign(remade, auth.canonical_request(remade)), remade))
