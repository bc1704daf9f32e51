"""Signing with a key of AWS KMS, which never leaves it; named as cosign names it, ``awskms:///alias/release``.

KMS signs with another random number each time, and a signature that differs would be another artifact. So signatures
are kept beside the blobs, and made once for a key and a content.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipeline.assembly.proof.signing import Verifier, parse_verifier
from pipeline.core.aws_answers import error_code
from pipeline.core.errors import NextStep, ReleaseError, SettingsError
from pipeline.core.records import read_record, write_record

PREFIX = "awskms://"
# cosign, KMS.md: awskms://[ENDPOINT]/[ID/ALIAS/ARN]. The endpoint is that of the target here.
_URI = re.compile(
    r"awskms:///(?P<key>(?:arn:[a-z-]+:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:)?(?:alias/|key/)?[A-Za-z0-9/_-]{1,256})"
)
# The scheme of ``pipeline.assembly.proof.signing`` (KMS developer guide, "Key spec reference").
_SPEC, _USAGE, _ALGORITHM = "ECC_NIST_P256", "SIGN_VERIFY", "ECDSA_SHA_256"
_MAKE = (
    "Make a key with `aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY`, and an alias for it with "
    "`aws kms create-alias`."
)


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A key of KMS: its id, ARN or alias.

    connect  gives a KMS client of the environment's account and region
    place    where that is, for a message
    """

    key_id: str
    place: str
    connect: Callable[[], Any] = field(compare=False)


def parse_kms_key(text: str, place: str, region: str | None, connect: Callable[[], Any]) -> KmsKey:
    """Parse ``awskms:///…``. Raises SettingsError, also for an ARN of another region than ``region``."""
    match = _URI.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"the key {text[:200]!a} cannot be used",
            "a key of KMS is written like awskms:///alias/release, with an alias, an id or an ARN",
            "Correct it in environments.toml.",
        )
    if region is not None and match["region"] not in (None, region):
        raise SettingsError(
            f"the key {text} cannot be used",
            f"it is in {match['region']}, and the environment in {region}",
            "Name a key of the environment's region, or a replica there of a multi-Region key.",
        )
    return KmsKey(match["key"], place, connect)


class KmsSigner:
    """Signs with a key of KMS. The alias is looked up once, so that all signatures of a run are of one key.

    kept  a folder for signatures

    Raises SettingsError for a key that is not there, not usable, or of another kind, and ReleaseError where KMS fails.
    """

    def __init__(self, key: KmsKey, kept: Path) -> None:
        self._client, self._name, self._kept = key.connect(), f"{PREFIX}/{key.key_id}", kept
        self._place = key.place
        found = self._ask("get_public_key", KeyId=key.key_id)
        if (found["KeyUsage"], found["KeySpec"]) != (_USAGE, _SPEC):
            raise SettingsError(
                f"the key {self._name} cannot be used",
                f"it is a {found['KeySpec']} key for {found['KeyUsage']}; signatures need {_SPEC} for {_USAGE}",
                _MAKE,
            )
        self._arn = found["KeyId"]
        self.verifier: Verifier = parse_verifier(found["PublicKey"], self._name)

    def sign(self, content: bytes) -> bytes:
        """The signature of ``content``, in ASN.1; the same for the same content while the folder is kept."""
        digest = hashlib.sha256(content).digest()
        record = self._kept / f"{self.verifier.hint}-{digest.hex()}.json"
        known = read_record(record) or {}
        try:
            signature = base64.b64decode(known.get("signature", ""), validate=True)
        except (TypeError, ValueError):
            signature = b""
        if signature and self.verifier.verify(signature, content):
            return signature
        answer = self._ask("sign", KeyId=self._arn, Message=digest, MessageType="DIGEST", SigningAlgorithm=_ALGORITHM)
        signature = answer["Signature"]
        if not self.verifier.verify(signature, content):
            raise ReleaseError(
                "nothing was signed", f"the signature of {self._name} does not verify under its own public key",
                "Run it again; if it stays, look at the key in the KMS console.",
            )  # fmt: skip
        write_record(record, {"signature": base64.b64encode(signature).decode()})
        return bytes(signature)

    def _ask(self, operation: str, **request: Any) -> Any:
        try:
            return getattr(self._client, operation)(**request)
        except ClientError as problem:
            code, what = error_code(problem), f"the key {self._name} cannot be used"
            action = f"kms:{'Sign' if operation == 'sign' else 'GetPublicKey'}"
            if code == "NotFoundException":
                why = f"there is no such key or alias in the account and region of {self._place}"
                raise SettingsError(what, why, _MAKE) from problem
            if code in ("AccessDeniedException", "AccessDenied"):
                why = f"the caller may not {action}, or the key's policy does not let it"
                raise SettingsError(
                    what, why, NextStep("Allow it; the least policy is printed by", ("doctor", "--policy", "up"))
                ) from problem
            if code in ("DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException",
                        "UnsupportedOperationException"):  # fmt: skip
                why = str(problem.response.get("Error", {}).get("Message", code))
                raise SettingsError(what, f"{code}: {why}", "Enable the key, or name another.") from problem
            raise ReleaseError(
                "nothing was signed", f"KMS answered {code} to {action}", "Run it again; every step is safe to repeat."
            ) from problem


def read_kms_verifier(key: KmsKey) -> Verifier:
    """The public half of a key of KMS; needs kms:GetPublicKey alone. Raises what KmsSigner does."""
    return KmsSigner(key, Path()).verifier
