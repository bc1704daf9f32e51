"""Images signed with a key of KMS: released, verified, and refused with a key that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

SETTINGS = """
[project]
name = "sealed"
[defaults]
signing_key = "KEY"
verification_key = "KEY"
require_signature = true
"""
HANDLER = "def handle(event, context):\n    return 1\n"


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("sealed"), embedded_aws)
    project.write("images/hello/function.toml", 'handler = "handler.handle"\n')
    project.write("images/hello/handler.py", HANDLER)
    choose(project, "alias/sealed")
    yield project
    project.run("down", code=(0, 1))


def choose(project: Project, key: str) -> None:
    project.write("environments.toml", SETTINGS.replace("KEY", f"awskms:///{key}"))


def make_key(project: Project, spec: str = "ECC_NIST_P256", usage: str = "SIGN_VERIFY") -> Any:
    return project.aws.client("kms").create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]


def image(project: Project) -> str:
    (function,) = project.json("status")["functions"]
    return str(function["image"])


def test_a_key_that_is_absent_stops_before_anything_is_released(project: Project) -> None:
    error = project.json("up", code=1)
    assert error["what"] == "the key awskms:///alias/sealed cannot be used"
    assert "no such key or alias" in error["why"]


def test_a_release_is_signed_and_verifies(project: Project) -> None:
    kms = project.aws.client("kms")
    kms.create_alias(AliasName="alias/sealed", TargetKeyId=make_key(project))
    assert project.json("up")["changed"]
    assert not project.json("up")["changed"]
    assert project.json("verify", image(project))["faults"] == []
    # The public half in a file, as somebody without the account has it.
    der = kms.get_public_key(KeyId="alias/sealed")["PublicKey"]
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_der_public_key(der).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    project.write("public.pem", public.decode())
    assert project.json("verify", image(project), "--key", "public.pem")["faults"] == []


def test_a_signature_is_made_once(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Without the kept ones KMS signs again, which is another signature, and as good."""
    before = image(project)
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(tmp_path))
    project.write("images/hello/handler.py", HANDLER + "\n")
    assert project.json("up")["changed"]
    project.write("images/hello/handler.py", HANDLER)
    assert project.json("up")["changed"]
    assert image(project) == before
    assert project.json("verify", before)["faults"] == []


def test_an_alias_of_another_key_signs_what_is_released_next(project: Project) -> None:
    kms = project.aws.client("kms")
    kms.update_alias(AliasName="alias/sealed", TargetKeyId=make_key(project))
    assert project.json("verify", image(project), code=1)["faults"]
    project.run("up")
    assert project.json("verify", image(project))["faults"] == []
    assert project.json("verify", image(project), "--key", "public.pem")["faults"] == []


@pytest.mark.parametrize(
    ("spec", "usage", "said"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "symmetric"),
        ("RSA_2048", "SIGN_VERIFY", "it is a RSA_2048 key for SIGN_VERIFY"),
        ("RSA_2048", "ENCRYPT_DECRYPT", "it is a RSA_2048 key for ENCRYPT_DECRYPT"),
        ("ECC_NIST_P384", "SIGN_VERIFY", "it is a ECC_NIST_P384 key for SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "it is a ECC_SECG_P256K1 key for SIGN_VERIFY"),
    ],
)
def test_a_key_of_another_kind_is_named(project: Project, spec: str, usage: str, said: str) -> None:
    choose(project, make_key(project, spec, usage))
    project.write("images/hello/handler.py", HANDLER + "# changed\n")
    assert said in project.json("up", code=1)["why"]


def test_a_key_that_is_disabled_changes_nothing(project: Project) -> None:
    key, before = make_key(project), image(project)
    project.aws.client("kms").disable_key(KeyId=key)
    choose(project, key)
    error = project.json("up", code=1)
    assert "DisabledException" in error["why"]
    assert image(project) == before


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("arn:aws:kms:eu-west-1:000000000000:alias/sealed", "it is in eu-west-1, and the environment in us-east-1"),
        ("", "is written like awskms:///alias/release"),
        ("alias/a b", "is written like"),
        ("alias/../x?y", "is written like"),
    ],
)
def test_a_name_that_cannot_be_one(project: Project, key: str, said: str) -> None:
    choose(project, key)
    assert said in project.json("up", "--region", "us-east-1", code=1)["why"]
