"""Keys of KMS whose answers are errors, and signatures that are not what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.assembly.proof.kms import KmsKey, KmsSigner, parse_kms_key
from pipeline.core.errors import PipelineError, ReleaseError, SettingsError
from pipeline.doctor.key_policy import key_statements

ARN = "arn:aws:kms:us-east-1:000000000000:key/1234"
OURS = ec.generate_private_key(ec.SECP256R1())
THEIRS = ec.generate_private_key(ec.SECP256R1())
PUBLIC = {
    "KeyId": ARN,
    "KeySpec": "ECC_NIST_P256",
    "KeyUsage": "SIGN_VERIFY",
    "PublicKey": OURS.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
}


def signature(content: bytes, key: ec.EllipticCurvePrivateKey = OURS) -> dict[str, Any]:
    return {"KeyId": ARN, "Signature": key.sign(content, ec.ECDSA(hashes.SHA256()))}


@pytest.fixture
def kms() -> Stubber:
    client = boto3.client("kms", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    stubber = Stubber(client)
    stubber.activate()
    return stubber


def key(kms: Stubber, name: str = "alias/release") -> KmsKey:
    return KmsKey(name, "dev on aws", lambda: kms.client)


def test_a_signature_is_asked_for_once_and_of_the_key_itself(kms: Stubber, tmp_path: Path) -> None:
    kms.add_response("get_public_key", PUBLIC, {"KeyId": "alias/release"})
    request = {"KeyId": ARN, "Message": ANY, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    kms.add_response("sign", signature(b"content"), request)
    signer = KmsSigner(key(kms), tmp_path)
    first = signer.sign(b"content")
    assert signer.verifier.verify(first, b"content")
    assert signer.sign(b"content") == first
    kms.assert_no_pending_responses()


@pytest.mark.parametrize(
    "damaged", [b"", b"{}", b'{"signature": "AAAA"}', b'{"signature": 7}', b'{"signature": "\xff"}']
)
def test_a_kept_signature_that_is_damaged_is_made_again(kms: Stubber, tmp_path: Path, damaged: bytes) -> None:
    kms.add_response("get_public_key", PUBLIC)
    for _ in range(2):
        kms.add_response("sign", signature(b"content"))
    signer = KmsSigner(key(kms), tmp_path)
    signer.sign(b"content")
    (record,) = tmp_path.iterdir()
    record.write_bytes(damaged)
    assert signer.verifier.verify(signer.sign(b"content"), b"content")
    kms.assert_no_pending_responses()


def test_a_signature_of_another_key_or_content_is_never_used(kms: Stubber, tmp_path: Path) -> None:
    kms.add_response("get_public_key", PUBLIC)
    kms.add_response("sign", signature(b"content", THEIRS))
    kms.add_response("sign", signature(b"other content"))
    signer = KmsSigner(key(kms), tmp_path)
    for _ in range(2):
        with pytest.raises(ReleaseError, match="does not verify under its own public key"):
            signer.sign(b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("NotFoundException", SettingsError, "account and region of dev on aws"),
        ("AccessDeniedException", SettingsError, "may not kms:GetPublicKey"),
        ("DisabledException", SettingsError, "DisabledException"),
        ("KMSInvalidStateException", SettingsError, "KMSInvalidStateException"),
        ("ThrottlingException", ReleaseError, "KMS answered ThrottlingException to kms:GetPublicKey"),
        ("KMSInternalException", ReleaseError, "every step is safe to repeat"),
    ],
)
def test_an_error_is_explained(kms: Stubber, tmp_path: Path, code: str, error: type[PipelineError], said: str) -> None:
    kms.add_client_error("get_public_key", code, "message")
    with pytest.raises(error) as caught:
        KmsSigner(key(kms), tmp_path)
    assert said in str(caught.value)


def test_a_denied_signature_names_the_action(kms: Stubber, tmp_path: Path) -> None:
    kms.add_response("get_public_key", PUBLIC)
    kms.add_client_error("sign", "AccessDeniedException", "message")
    with pytest.raises(SettingsError, match="may not kms:Sign"):
        KmsSigner(key(kms), tmp_path).sign(b"content")


@pytest.mark.parametrize(
    "name",
    [
        "alias/release",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        ARN,
        "arn:aws-us-gov:kms:us-east-1:1" + "2" * 11 + ":alias/a",
    ],
)
def test_every_form_of_a_name_is_taken(name: str) -> None:
    assert parse_kms_key(f"awskms:///{name}", "", "us-east-1", lambda: None).key_id == name


@pytest.mark.parametrize(
    "text", ["awskms://", "awskms:///", "awskms://localhost:4566/alias/a", "awskms:///a\n", "awskms:///é"]
)
def test_no_other_is(text: str) -> None:
    with pytest.raises(SettingsError, match="is written like"):
        parse_kms_key(text, "", None, lambda: None)


def test_the_policy_lets_each_command_do_what_it_does_with_the_key() -> None:
    alias, one = KmsKey("alias/release", "", lambda: None), KmsKey(ARN, "", lambda: None)

    def actions(command: str, signing: KmsKey | None, verification: KmsKey | None) -> list[list[str]]:
        return [each["Action"] for each in key_statements(command, signing, verification, "aws", "us-east-1")]

    assert actions("up", alias, alias) == [["kms:GetPublicKey", "kms:Sign"]]
    assert actions("up", alias, one) == [["kms:GetPublicKey", "kms:Sign"], ["kms:GetPublicKey"]]
    assert actions("rollback", alias, alias) == [["kms:GetPublicKey"]]
    assert actions("rehearse", alias, alias) == [["kms:GetPublicKey", "kms:Sign"]]
    assert actions("status", alias, alias) == actions("up", None, None) == []
    (by_alias,) = key_statements("rollback", None, alias, "aws", "us-east-1")
    assert by_alias["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/release"}}
    (by_arn,) = key_statements("rollback", None, one, "aws", "us-east-1")
    assert (by_arn["Resource"], "Condition" in by_arn) == ([ARN], False)
