"""The rehearsal stack: candidate images as functions that only a rehearsal calls, and the role it runs under.

It is made from the template of the release that is rehearsed, so that a changed memory, timeout or variable is
rehearsed too, and it exists only while a rehearsal runs. Nothing in it can write but to its own log group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cfn.functions import interface_statements
from cfn.lambdas import lambda_trust_policy
from cfn.names import pascal_case
from cfn.policies import allow, policy_document

LOG_GROUP, FUNCTION_ROLE, ROLE = "LogGroup", "FunctionRole", "Role"
ROLE_OUTPUT = "RoleArn"
# The properties of a function in the pipeline template that decide what it answers, and how fast.
_KEPT = ("Architectures", "EphemeralStorage", "MemorySize", "Timeout")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A function to rehearse.

    name        its folder
    image       URI of the image, by digest
    properties  of the function in the pipeline template
    variables   the environment of the running function: its values stand in for intrinsics of ``properties``
    network     VpcConfig of the running function, with ids; {} for a function outside a VPC
    """

    name: str
    image: str
    properties: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    network: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def logical_id(self) -> str:
        return f"{pascal_case(self.name)}Function"

    @property
    def output(self) -> str:
        """The output of the stack with the function's name."""
        return f"{self.logical_id}Name"


def rehearsal_template(candidates: Sequence[Candidate], table_arn: str = "") -> str:
    """The template of the rehearsal stack, as canonical JSON.

    table_arn  the state table, whose records the rehearsal's role may read; "" for none

    Names are generated, so that a function's name of any length has room for them. Concurrency is not reserved: that
    would take it from the account. The caller bounds it.
    """
    functions = {each.logical_id: _function(each) for each in candidates}
    network = interface_statements() if any(each.network for each in candidates) else []
    resources = {
        # Deleted with the stack.
        LOG_GROUP: {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 1}},
        FUNCTION_ROLE: _role(
            lambda_trust_policy(),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], _get(LOG_GROUP)),
            *network,
        ),
        ROLE: _role(
            policy_document(
                {
                    "Effect": "Allow",
                    # Callers of this account whom their own policies allow it.
                    "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}},
                    "Action": "sts:AssumeRole",
                }
            ),
            allow(["lambda:InvokeFunction"], [_get(name) for name in functions]),
            *(
                [
                    allow(["dynamodb:BatchGetItem"], table_arn),
                    allow(["dynamodb:Query"], f"{table_arn}/index/customer"),
                ]
                if table_arn
                else []
            ),
        ),
        **functions,
    }
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Candidate images, while they are rehearsed. It may be deleted at any time.",
        "Resources": resources,
        "Outputs": {
            ROLE_OUTPUT: {"Value": _get(ROLE)},
            **{each.output: {"Value": {"Ref": each.logical_id}} for each in candidates},
        },
    }
    return json.dumps(template, sort_keys=True, separators=(",", ":"))


def _function(candidate: Candidate) -> dict[str, Any]:
    declared = candidate.properties.get("Environment", {}).get("Variables", {})
    variables = {
        name: value if isinstance(value, str) else candidate.variables.get(name, "") for name, value in declared.items()
    }
    # As the pipeline template has it: the digest that the function answers with.
    variables["IMAGE_DIGEST"] = candidate.image.rpartition("@")[2]
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "PackageType": "Image",
            "Code": {"ImageUri": candidate.image},
            "Role": _get(FUNCTION_ROLE),
            "Environment": {"Variables": variables},
            # INFO, unlike a deployed function: the system's own lines have the durations.
            "LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "INFO", "LogGroup": {"Ref": LOG_GROUP}},
            **{name: candidate.properties[name] for name in _KEPT if name in candidate.properties},
            **({"VpcConfig": dict(candidate.network)} if candidate.network else {}),
        },
    }


def _role(trust: Mapping[str, Any], *statements: Mapping[str, Any]) -> dict[str, Any]:
    policy = {"PolicyName": "rehearsal", "PolicyDocument": policy_document(*statements)}
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust, "Policies": [policy]}}


def _get(logical_id: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, "Arn"]}
