"""What a command may do with the KMS keys of ``signing_key`` and ``verification_key``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.assembly.proof.kms import KmsKey

# Commands that push signed images, and those that hold images against require_signature.
_SIGNING = ("up", "rehearse")
_VERIFYING = ("up", "promote", "rollback")


def key_statements(
    command: str, signing: KmsKey | None, verification: KmsKey | None, partition: str, region: str
) -> Iterator[dict[str, Any]]:
    """The statements of an IAM policy; none for a command that uses neither key."""
    if signing is not None and command in _SIGNING:
        yield _statement(["kms:GetPublicKey", "kms:Sign"], signing, partition, region)
    if verification is not None and command in _VERIFYING and (verification != signing or command not in _SIGNING):
        yield _statement(["kms:GetPublicKey"], verification, partition, region)


def _statement(actions: list[str], key: KmsKey, partition: str, region: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": [f"arn:{partition}:kms:{region}:*:key/*"]}
    if alias := re.search(r"alias/.+", key.key_id):
        # An alias has no permissions of its own (KMS developer guide, "ABAC for AWS KMS", kms:ResourceAliases).
        return {**statement, "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias[0]}}}
    own = key.key_id if key.key_id.startswith("arn:") else f"arn:{partition}:kms:{region}:*:key/{key.key_id}"
    return {**statement, "Resource": [own.replace("key/key/", "key/")]}
