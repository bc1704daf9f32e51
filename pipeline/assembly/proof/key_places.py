"""Signing and verification keys, wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.assembly.proof.signing import Signer, Verifier, read_signer, read_verifier

if TYPE_CHECKING:
    from pipeline.assembly.proof.kms import KmsKey


def signer_of(key: Path | KmsKey, kept: Path) -> Signer:
    """Read a private key; kept: the folder for signatures of KMS. Raises what the key's reader does."""
    if isinstance(key, Path):
        return read_signer(key)
    from pipeline.assembly.proof.kms import KmsSigner

    return KmsSigner(key, kept)


def verifier_of(key: Path | KmsKey) -> Verifier:
    """Read a public key. Raises what the key's reader does."""
    if isinstance(key, Path):
        return read_verifier(key)
    from pipeline.assembly.proof.kms import read_kms_verifier

    return read_kms_verifier(key)
