"""The parts of a policy that every role is written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from troposphere import Ref


def policy_document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions: Sequence[str], resource: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def trust_of_this_account(service: str) -> dict[str, Any]:
    """A service may assume the role, for this account's resources only (IAM user guide, "The confused deputy")."""
    return policy_document(
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": Ref("AWS::AccountId")}},
        }
    )
