"""Signing keys: ECDSA over P-256 with SHA-256, which every verifier of cosign's signatures must take.

Source: cosign, SIGNATURE_SPEC.md, "Signature Schemes". Signatures are deterministic (RFC 6979), so that signing the
same image again gives the same artifact, which the registry has already.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.errors import SettingsError
from pipeline.core.files import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

PASSWORD = "TRANSACTION_PIPELINE_SIGNING_PASSWORD"  # noqa: S105  (the name of a variable)
_MOST = 64 * 1024
_MAKE = (
    "Make a pair with `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -out signing.pem` and "
    "`openssl pkey -in signing.pem -pubout -out signing.pub`."
)


class Verifier:
    """A public key. ``hint`` names it: the SHA-256 of its DER form, in hexadecimal."""

    def __init__(self, key: EllipticCurvePublicKey) -> None:
        from cryptography.hazmat.primitives import hashes, serialization

        self._key = key
        encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(encoded)
        self.hint = digest.finalize().hex()

    def verify(self, signature: bytes, content: bytes) -> bool:
        """Whether the key's owner signed ``content``."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, content, _algorithm())
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Signs, and says under which key its signatures hold."""

    @property
    def verifier(self) -> Verifier: ...

    def sign(self, content: bytes) -> bytes: ...


class FileSigner:
    """A private key."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(key.public_key())

    def sign(self, content: bytes) -> bytes:
        """The signature of ``content``, in ASN.1; the same for the same content."""
        return self._key.sign(content, _algorithm())


def read_signer(path: Path) -> FileSigner:
    """The private key in a PEM file, with the password of ``$TRANSACTION_PIPELINE_SIGNING_PASSWORD`` if it has one.

    Raises SettingsError for a file that holds no such key, or a password that is missing or wrong.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(read_regular(path, _MOST), password.encode() if password else None)
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # A password that is missing, not needed or wrong is one of these, too.
        why = f"it is no private key in PEM form, or the password in {PASSWORD} is missing or wrong"
        raise _unusable(path, why) from error
    return FileSigner(_p256(key, path))


def read_verifier(path: Path) -> Verifier:
    """The public key in a PEM file, such as ``cosign.pub``. Raises SettingsError for a file that holds none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(read_regular(path, _MOST))
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "it is no public key in PEM form") from error
    return Verifier(_p256(key, path))


def parse_verifier(der: bytes, name: str) -> Verifier:
    """The public key in DER form. Raises SettingsError for another kind of key."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return Verifier(_p256(load_der_public_key(der), name))


def _p256(key: Any, path: Path | str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1

    if not isinstance(getattr(key, "curve", None), SECP256R1):
        raise _unusable(path, "it is no ECDSA key over P-256, the scheme of cosign's signatures")
    return key


def _algorithm() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA(hashes.SHA256(), deterministic_signing=True)


def _unusable(path: Path | str, why: str) -> SettingsError:
    return SettingsError(f"the key {path} cannot be used", why, _MAKE)
